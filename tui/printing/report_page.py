"""Write a report folder: report.html, and each table and figure as a separate file."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from knscope.store.errors import UserError
from knscope.tui.printing import writing
from knscope.tui.printing.format import cell, visible

if TYPE_CHECKING:
    from knscope.analysis.report.chapters import Chapter
    from knscope.analysis.statistics.table import Table

STEM = 200
"""Bytes of a file's name at most, without its ending and number."""
TITLES = {
    "a": "same relation (a)", "b": "other relation (b)", "c": "same answer (c)", "c_facts": "facts with (c)",
    "vs_a": "lead over (a)", "vs_c": "lead over (c)", "p_a": "p against (a)", "p_b": "p against (b)", "p_c": "p against (c)",
    "langs": "languages", "lang": "language", "sr": "SR (eq. 11)", "specific": "specific SR", "d": "d, in log p", "kl": "KL, in nats",
    "lam": "λ", "auroc": "AUROC", "f1": "F1", "p_10": "p, lowest tenth", "p_90": "p, highest tenth", "own": "own, facts",
    "strict_vs_kn": "knowledge neurons less these", "size": "size |N|", "neurons": "mean neurons",
    "dkn.neurons": "neurons", "models.neurons": "neurons", "dkn.paper": "by the paper's rule", "paper_rate": "their rate",
    "edits.paper": "SR in the paper",
    "factcheck.paper": "F1 in the paper", "paper_accuracy": "accuracy in the paper", "enrichment.n": "neurons, pooled",
}  # fmt: skip
"""What a stranger calls a column, in every table or in one of a name; any other is shown with spaces, and an interval as one."""
WORDS = {
    "fact": "a subject and its answer in a relation, asked in one or several languages by templates; a query is one prompt",
    "known": "every token of the answer is what the model says first",
    "N, knowledge neurons": "MLP neurons whose attribution score on a prompt is more than τ times the largest one, in at least the "
    "template share of the fact's prompts (eq. 6-7)",
    "LIKN": "language-independent: in N of every language named (eq. 8)",
    "DKN, degenerate pair": "either neuron can be set to 0 at a loss of p of at most T_low, both only at more than T_high (eq. 9-10)",
    "interval": "95 %, over subjects: all facts about one subject move together; ~ marks fewer than ten, and fewer than five have none",
    "control": "the same count where nothing should be found; only what is above it means something",
}
"""What a reader must know who has seen nothing else of this."""
LONG = 24
"""Rows of a table above which the page shows it only when asked."""
LINE = 60
"""Characters of a cell above which it may take several lines."""
_TABLE_FILES, _FIGURE_FILES = ("csv", "tex"), ("pdf", "svg")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #ccc } h3 { margin-top: 2rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 2px 10px 2px 0; text-align: left; vertical-align: top } th { border-bottom: 1px solid #999 }
.number { text-align: right } .wide { overflow-x: auto } .notes { color: #666; font-size: 13px }
td { white-space: nowrap } td.long { white-space: normal; min-width: 20rem }
.failed { color: #b00 } figure { margin: 1rem 0; overflow-x: auto } img { max-width: none }
.found { background: #f6f6f4; padding: .5rem 1rem } .found h2 { margin-top: .5rem }
dt { font-weight: 600 } dd { margin: 0 0 .3rem 1rem } .said { margin: .3rem 0 }
"""


class Report:
    """Writes to a temporary folder, which is renamed when the report is complete."""

    def __init__(self, folder: Path, title: str) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists; choose a new folder, or remove this one")
        self._folder, self._title = folder, title
        self._parts: list[str] = []
        self.failures: list[str] = []
        """Figures that could not be drawn, and why."""
        self._stems = set[str]()
        self._found: list[tuple[str, str, list[str]]] = []
        """Of each chapter its anchor, its title, and what its tables come to."""
        self._contents: list[tuple[str, list[tuple[str, str]]]] = []
        """Title of each part of the page, with anchor and title of each of its tables."""

    def write(
        self, sources: Sequence[Table], chapters: Iterable[Chapter], experiments: Mapping[str, str] | None = None
    ) -> tuple[int, int]:
        """Write all chapters. Returns the number of tables and figures.

        :param experiments: the file of each run, as TOML

        :raises UserError: a file cannot be written; the folder is removed
        """
        from knscope.store.export import whole

        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._folder} cannot be written ({error.strerror}); choose another folder") from error
        with whole(self._folder) as self._place:
            for part in ("tables", "figures"):
                (self._place / part).mkdir(parents=True)
            self._parts.append(f"<h1>{escape(self._title)}</h1>")
            self._begin("facts, models and runs", "sources")
            figures = sum(self._table(table, table.name) for table in sources)
            self._experiments(experiments or {})
            count = len(sources)
            for chapter in chapters:
                figures += self._chapter(chapter)
                count += len(chapter.tables)
            self._page()
        return count, figures

    def _experiments(self, experiments: Mapping[str, str]) -> None:
        """A file for each run, which computes the same again, and its part of the page."""
        for run, text in experiments.items():
            name = f"{self._stem(run)}.toml"
            (self._place / "experiments").mkdir(exist_ok=True)
            (self._place / "experiments" / name).write_text(text, encoding="utf-8")
            self._parts.append(f"<details><summary>experiment of run {escape(run)}</summary><pre>{escape(text)}</pre>")
            self._parts.append(f'<p class=notes><a href="experiments/{escape(name)}">.toml</a></p></details>')

    def _chapter(self, chapter: Chapter) -> int:
        from knscope.analysis.report import sentences
        from knscope.analysis.stored.standing import captioned, thresholds

        view = chapter.view
        title, anchor = f"{view.model}, {view.method}", f"chapter-{len(self._found) + 1}"
        # Edits and claims are about the paper's two languages, the others about those of the view: each says which.
        said = [sentences.of_table(table.name, table.frame, view.langs) for table in chapter.tables]
        which = f"Which method: {chapter.which}." if chapter.which else ""
        self._found.append((anchor, title, [one for one in (*said, which) if one]))
        self._begin(title, anchor)
        self._parts.append(f"<p class=notes>{escape(', '.join(view.langs))}. {escape(thresholds(view))}</p>")
        return sum(
            self._table(
                captioned(table, view),
                f"{view.model}-{view.method}-{table.name}",
                table.title.removesuffix(f": {title}"),
                one,
            )
            for table, one in zip(chapter.tables, said, strict=True)
        )

    def _begin(self, title: str, anchor: str) -> None:
        """A part of the page, to which the tables that follow belong."""
        self._contents.append((title, []))
        self._parts.append(f'<h2 id="{anchor}">{escape(title)}</h2>')

    def _table(self, table: Table, name: str, heading: str = "", said: str = "") -> int:
        """One table's files and its part of the page; 1 if it has a figure.

        :param heading: its title within its part of the page
        :param said: what it comes to
        """
        from knscope.analysis.figures.drawing import is_drawn

        stem = self._stem(name)
        for ending in _TABLE_FILES:
            writing.write([table], self._place / "tables" / f"{stem}.{ending}")
        files = [f"tables/{stem}.{ending}" for ending in _TABLE_FILES]
        heading = heading or table.title
        self._contents[-1][1].append((stem, heading))
        self._parts.append(f'<h3 id="{escape(stem)}">{escape(heading)}</h3>')
        self._parts += [f"<p class=said>{escape(said)}</p>"] if said else []
        drawn = is_drawn(table) and self._figure(table, stem)
        if drawn:
            files += [f"figures/{stem}.{ending}" for ending in _FIGURE_FILES]
            self._parts.append(f'<figure><img src="figures/{escape(stem)}.svg" alt="{escape(table.title)}"></figure>')
        self._parts += [_html(table), _notes(table)]
        links = " · ".join(f'<a href="{escape(one)}">{escape(Path(one).suffix)}</a>' for one in files)
        self._parts.append(f"<p class=notes>{links}</p>")
        return int(drawn)

    def _figure(self, table: Table, stem: str) -> bool:
        """Write a figure's files, or say on the page why there are none: the tables do not depend on it."""
        from knscope.analysis.figures.drawing import UndrawableError

        paths = [self._place / "figures" / f"{stem}.{ending}" for ending in _FIGURE_FILES]
        try:
            for path in paths:
                writing.write([table], path)
        except UndrawableError as error:
            for path in paths:
                path.unlink(missing_ok=True)
            self.failures.append(str(error))
            self._parts.append(f"<p class=failed>{escape(str(error))}</p>")
            return False
        return True

    def _stem(self, name: str) -> str:
        """A unique file name for a table, short enough for the file system."""
        short = re.sub(r"[^\w.+=-]+", "-", name).encode()[-STEM:].decode(errors="ignore")
        names = (short, *(f"{short}-{number}" for number in range(2, len(self._stems) + 3)))
        stem = next(one for one in names if one not in self._stems)
        self._stems.add(stem)
        return stem

    def _first(self) -> str:
        """What stands first: a chapter's name, which leads there, and what its tables come to."""
        rows = []
        for anchor, title, said in self._found:
            lines = "".join(f"<li>{escape(one)}</li>" for one in said)
            rows.append(f'<p><a href="#{anchor}">{escape(title)}</a></p><ul>{lines}</ul>')
        found = f"<section class=found><h2>What it comes to</h2>{''.join(rows)}</section>" if rows else ""
        words = "".join(f"<dt>{escape(word)}</dt><dd>{escape(means)}</dd>" for word, means in WORDS.items())
        links = "".join(
            f"<li>{escape(part)}: "
            + " · ".join(f'<a href="#{escape(stem)}">{escape(title)}</a>' for stem, title in tables)
            + "</li>"
            for part, tables in self._contents
        )
        return f"{found}<nav><h2>Contents</h2><ul>{links}</ul></nav><section><h2>Words</h2><dl>{words}</dl></section>"

    def _page(self) -> None:
        body = "\n".join([self._parts[0], self._first(), *self._parts[1:]])
        head = "<meta charset=utf-8><meta name=viewport content='width=device-width'>"
        head += f"<title>{escape(self._title)}</title><style>{_STYLE}</style>"
        (self._place / "report.html").write_text(
            f"<!doctype html><html lang=en>{head}\n{body}\n</html>\n", encoding="utf-8"
        )


def escape(text: str) -> str:
    return html.escape(visible(text))


def _html(table: Table) -> str:
    shown = table.frame.drop(table.aside)
    kinds = [" class=number" if dtype.is_numeric() else "" for dtype in shown.schema.values()]
    head = "".join(
        f"<th{kind}>{escape(_titled(table, name))}</th>" for name, kind in zip(shown.columns, kinds, strict=True)
    )
    rows = "\n".join(
        f"<tr>{''.join(_cell(cell(value), kind) for value, kind in zip(row, kinds, strict=True))}</tr>"
        for row in shown.iter_rows()
    )
    whole = f"<div class=wide><table><tr>{head}</tr>\n{rows}</table></div>"
    if shown.height <= LONG:
        return whole
    return f"<details><summary>{shown.height:,} rows</summary>{whole}</details>"


def _cell(text: str, kind: str) -> str:
    """Numbers, intervals and names stay in one line."""
    return f"<td{kind or ' class=long' * (len(text) > LINE)}>{escape(text)}</td>"


def _titled(table: Table, column: str) -> str:
    """What the page calls a column of a table."""
    if column.endswith("interval"):
        return "95 % interval"
    return TITLES.get(f"{table.name}.{column}", TITLES.get(column, column.replace("_", " ")))


def _notes(table: Table) -> str:
    """The notes below a table, in which its columns are called as they are above."""
    shown = [name for name in table.frame.columns if "_" in name and name not in table.aside]
    named = re.compile(rf"\b({'|'.join(map(re.escape, shown))})\b") if shown else None
    notes = [named.sub(lambda found: _titled(table, found[0]), note) if named else note for note in table.notes]
    return f"<ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
