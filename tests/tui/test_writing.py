"""Tables as LaTeX, and a report as a folder."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from matplotlib.figure import Figure

from knscope.analysis.figures import drawing
from knscope.analysis.statistics.table import Table
from knscope.store import UserError
from knscope.tui.cli import run_app
from knscope.tui.printing import writing
from knscope.tui.printing.latex import escaped, latex
from knscope.tui.printing.report_page import Report

TABLE = Table(
    "edits",
    "editing 100 % of {N} & more",
    pl.DataFrame(
        {
            "edited_set": ["a_b", "50 % & $x$", "C:\\~^"],
            "d": [0.5, -1.25, 2.5e-7],
            "d_interval": ["0.25…1.0", "unbounded", "~-1…0.5"],
            "d_low": [0.25, None, None],
            "facts": [1200, -3, None],
        }
    ),
    ("a note of\ntwo lines",),
    ("d_low",),
)


def test_a_table_is_one_latex_environment_with_every_cell_escaped() -> None:
    text = latex(TABLE)
    assert text.startswith("% editing 100 % of {N} & more\n% a note of\n% two lines\n\\begin{table}\n")
    assert r"\caption{editing 100 \% of \{N\} \& more}" in text and r"\label{tab:edits}" in text
    assert r"\begin{tabular}{lrlr}" in text and r"edited set & d & d interval & facts \\" in text
    assert r"a\_b & 0.500 & $[0.25, 1.0]$ & 1,200 \\" in text
    assert r"50 \% \& \$x\$ & $-1.250$ & unbounded & $-3$ \\" in text
    assert (
        r"C:\textbackslash{}\textasciitilde{}\textasciicircum{} & $2.5\cdot 10^{-7}$ & $\sim[-1, 0.5]$ & -- \\" in text
    )
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}, "as many cells in every row"
    assert all(text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1 for name in ("table", "tabular"))


def test_latex_escapes_every_special_character() -> None:
    left = escaped("".join(map(chr, range(32, 127))))
    assert not re.search(r"(?<!\\)[$&%#_]", left) and not set("~^|`") & set(left)
    assert escaped(r"$\frac{1}$") == r"\$\textbackslash{}frac\{1\}\$"
    assert escaped("a\x1b[0m\n\nb\0") == "a·[0m··b·", "no paragraph, no character that LaTeX refuses"
    assert escaped("Δp × 2 −1") == r"$\Delta$p $\times$ 2 $-$1", "signs that plain LaTeX has no letter for"
    assert escaped("a---b–c") == "a-{}-{}-b--c", "hyphens are no dash"


def test_latex_rows_starting_with_a_bracket_are_protected() -> None:
    text = latex(Table("t", "t", pl.DataFrame({"template": ["[X] is", "*", "1$…2_"]})))
    assert re.findall(r"^ +(\S.*) \\\\$", text, re.MULTILINE) == [
        "template", "{}[X] is", "{}*", r"1\$\ldots{}2\_",
    ]  # fmt: skip


def test_format_of_follows_the_ending_and_refuses_unknown_ones(tmp_path: Path) -> None:
    assert [writing.format_of(Path(f"a.{ending}")) for ending in writing.ENDINGS] == list(writing.ENDINGS)
    assert writing.format_of(Path("a.txt"), "latex") == "tex"
    for path in (Path("a.doc"), Path("a")):
        with pytest.raises(UserError, match=r"end the name in \.csv, .* or \.png"):
            writing.format_of(path)
    assert "3 rows written" in writing.write([TABLE], tmp_path / "a.tex")
    assert (tmp_path / "a.tex").read_text("utf-8") == latex(TABLE)


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("href", "src") and value}


def test_a_report_holds_every_table_and_figure_that_its_page_names(
    made_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "report"
    assert run_app(["report", str(made_store), "-o", str(folder)]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    page = Links()
    page.feed((folder / "report.html").read_text("utf-8"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"report.html"}
    anchors = {name for name in page.found if name.startswith("#")}
    text = (folder / "report.html").read_text("utf-8")
    assert anchors and all(f'id="{name[1:]}"' in text for name in anchors) and "What it comes to" in text
    heads, said_there = re.findall(r"<th[^>]*>([^<]*)</th>", text), re.findall(r"<p class=said>(.*?)</p>", text)
    assert {"lead over (a)", "same answer (c)", "95 % interval", "by the paper&#x27;s rule"} <= {*heads}
    assert not [head for head in heads if "_" in head or (head.endswith(" interval") and head != "95 % interval")]
    assert "lead over (a), lead over (c): interval (95 %)" in text and ">vs_a" not in text
    assert "<dt>LIKN</dt>" in text and all(f"<li>{one}</li>" in text for one in said_there) and said_there
    assert page.found - anchors == files and not list(folder.parent.glob(".*"))
    counted = [len([name for name in files if name.endswith(ending)]) for ending in (".csv", ".tex", ".pdf", ".svg")]
    assert counted[0] == counted[1] and counted[2] == counted[3]
    assert f"{counted[0]} tables and {counted[2]} figures written" in said
    assert any("likn" in name for name in files) and any("dkn" in name for name in files)
    for name in files:
        if name.endswith(".svg"):
            ET.parse(folder / name)
        if name.endswith(".csv"):
            assert pl.read_csv(folder / name).width > 1


def test_a_report_names_a_figure_that_cannot_be_drawn_and_keeps_the_rest(
    made_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(frame: pl.DataFrame) -> Figure:
        raise ZeroDivisionError("no <pairs>")

    monkeypatch.setattr(drawing, "_DRAWN", {**drawing._DRAWN, "dkn": fails})
    assert run_app(["report", str(made_store), "-o", str(tmp_path / "r"), "--method", "amig"]) == 0
    said, page = capsys.readouterr().err.replace("\n", " "), (tmp_path / "r" / "report.html").read_text("utf-8")
    files = [path.name for path in (tmp_path / "r").rglob("*.*")]
    assert "the figure could not be drawn (ZeroDivisionError: no <pairs>)" in said
    assert "the figure could not be drawn (ZeroDivisionError: no &lt;pairs&gt;)" in page
    assert not any("dkn.svg" in name or "dkn.pdf" in name for name in files)
    assert any("dkn.csv" in name for name in files) and any("likn.svg" in name for name in files)
    assert "dkn.svg" not in page


def test_report_gives_tables_unique_short_file_names(tmp_path: Path) -> None:
    frame = pl.DataFrame({"layer": [0, 1], "en share": [0.5, 0.2]})
    tables = [Table("sql", "by layer", frame)] * 2 + [replace(TABLE, name=name * 300) for name in ("层", "层", "ab")]
    assert Report(tmp_path / "r[1]?", "title").write(tables, []) == (5, 2)
    files = sorted(path.name for path in (tmp_path / "r[1]?").rglob("*.*"))
    assert len(files) == 1 + 5 * 2 + 2 * 2 and {"sql.csv", "sql-2.csv", "sql-2.svg"} < set(files)
    assert [path.name for path in tmp_path.iterdir()] == ["r[1]?"]


def test_writing_replaces_a_file_atomically_under_any_name(tmp_path: Path) -> None:
    """A draft has a folder of its own: its name cannot be foreseen, and the file's may be as long as any."""
    (tmp_path / "kept").write_text("kept")
    for name in ("n" * 251 + ".csv", "a?b.csv", "[1].csv", "%s\\.csv"):
        (tmp_path / f".{name}.part"[:255]).symlink_to(tmp_path / "kept")
        writing.write([TABLE], tmp_path / name)
        assert pl.read_csv((tmp_path / name).read_bytes()).height == 3
    assert (tmp_path / "kept").read_text() == "kept"
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_report_covers_the_models_and_methods_asked_for(made_store: Path, tmp_path: Path) -> None:
    asked = ["report", str(made_store), "-o", str(tmp_path / "r"), "--langs", "en,fr", "--tau", "0.4"]
    assert run_app(asked) == 0
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert (
        "τ en 0.4, τ fr 0.4" in page
        and "en + fr" in page
        and "zh" not in re.sub(r"facts known.*?</table>", "", page, flags=re.S)
    )


def test_failed_report_overwrites_and_leaves_no_files(
    made_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for place, why in (
        ("taken", "exists; choose a new folder"),
        ("file", "exists"),
        ("file/below", "cannot be written"),
    ):
        assert run_app(["report", str(made_store), "-o", str(tmp_path / place)]) == 2
        assert why in capsys.readouterr().err
    assert run_app(["report", str(made_store), "-o", str(tmp_path / "r"), "--langs", "xx"]) == 2
    assert "has no results" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name[0] not in "cds") == [
        "file",
        "mine.txt",
        "taken",
    ]
