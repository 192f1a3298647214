"""Panes that show one table of the paper as `knscope.analysis.statistics.table` builds it: edits and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult

from knscope.store.view import sql_literal
from knscope.tui.messages import RowEntered, RowMoved
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText
from knscope.tui.widgets.roc_plot import roc_text

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.factcheck.auroc import Curve
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

_EDITS_SQL = """\
SELECT q.fact, q.lang, q.subject, q.object, e.operation, s.n AS neurons, e.p_before, e.p_after, e.rank_before, e.rank_after
FROM edit e JOIN query q USING (query) JOIN edited_set s USING (model, "set")
WHERE e.model = {model} AND list_contains({langs}, q.lang)
ORDER BY q.fact, q.lang, e.operation, neurons"""
_CLAIMS_SQL = """\
SELECT c.relation, c.lang, c.fact, c.object, c.correct, c.part, c.p_root, c.is_argmax,
    avg(n.activation) AS activation, avg(n.attribution) AS attribution
FROM claim c JOIN claim_neuron n USING (key)
WHERE c.model = {model} AND c.method = {method} AND list_contains({langs}, c.lang)
GROUP BY ALL ORDER BY c.lang, c.relation, c.fact, c.correct DESC"""
ROOMY = 18
"""Height of a pane that holds a table and a curve."""


def interval(text: str | None) -> str:
    """`[1.2…3.4]` of what the table says in full: two digits are what an interval's end is good for."""
    if text is None or "…" not in text:
        return cells.NOTHING if text is None else text
    rough, ends = ("~", text[1:]) if text.startswith("~") else ("", text)
    return (
        f"{rough}["
        + "…".join(
            f"{float(end):.{1 if abs(float(end)) < 1e-3 else 2}g}" if abs(float(end)) < 100 else f"{float(end):,.0f}"
            for end in ends.split("…")
        )
        + "]"
    )


def figure(value: float | None) -> str:
    return cells.NOTHING if value is None else f"{value:.3g}"


def rate(value: float | None) -> str:
    """Two decimals: what is beyond them is noise here, and takes room from the names."""
    return cells.NOTHING if value is None else f"{value:.2f}"


def with_intervals(frame: pl.DataFrame, *names: str, shown: Callable[[float | None], str] = figure) -> pl.DataFrame:
    """The same with a column `_name` for every `name`: the figure and its interval in one text, for narrow panes."""
    import polars as pl

    def together(name: str) -> list[str]:
        pairs = frame.select(name, f"{name}_interval").iter_rows()
        return [f"{shown(value)} {interval(text) if text else ''}".rstrip() for value, text in pairs]

    return frame.with_columns(pl.Series(f"_{name}", together(name), pl.String) for name in names)


def _figures(*named: tuple[str, str, int]) -> tuple[Column, ...]:
    return tuple(Column(name, title, figure, right=True, drop=drop) for name, title, drop in named)


class TablePane(Pane):
    """A table; what its notes say stands in the help, what is missing below it."""

    INTEGRALS = True
    STORED = ""
    """The table of the store that this one is made from."""
    EMPTY = "Nothing stored."
    COLUMNS: Sequence[Column] = ()

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._notes: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield self.note
        yield self.sentence
        yield PlainText("", classes="summary")
        yield FrameTable(self.id or "")
        yield self.foot

    def help_text(self) -> str:
        return "\n".join((super().help_text(), "", *self._notes))

    def show_table(self, table: Table, shown: Shown, sentence: str) -> None:
        """The table under its sentence, or what to do where nothing is stored."""
        self.tell(sentence)
        self._notes = table.notes
        self.entitle(f"{self.TITLE} · {shown.subject}")
        one = not table.frame.is_empty() and table.frame["lang"].n_unique() == 1
        columns = tuple(column for column in self.COLUMNS if not (one and column.name == "lang"))
        self.query_one(FrameTable).show(table.frame, columns)
        missing = table.notes[0] if table.notes and "not computed yet" in table.notes[0] else ""
        self.summarise(f"{missing}; r computes them" if missing else "")
        self.query_one(".summary").display = bool(missing)
        rows = table.frame.height
        self.entitle(below=f"{cells.several(rows, 'row')} · ? explains them" if rows else "")
        if table.frame.is_empty():
            self.say(f"{missing}; r computes them." if missing else self.EMPTY)


@dataclass(frozen=True)
class Edited:
    """Which row of the table is looked at fact by fact."""

    table: str
    lang: str
    edited: str


class EditsPane(TablePane):
    """Tables 1 and 2; Enter on a row shows its facts before and after."""

    TITLE = "edits"
    CONTEXT = "edits"
    DRAWS = True
    STORED = "edit"
    HELP = (
        "What suppressing (0) and enhancing (×2) a set of neurons does to its own facts and to irrelevant ones, in each language: success "
        "rates with intervals, size-matched, one row a kind of set (1, 1h: held-out, 2: across languages). Specific SR and lead (D: the "
        "change of the fact less that of others, in log p), less that of a random set (- random), decide. Specific to: own (it moves "
        "its fact more than others, also those of the same answer), of the answer, relation, generic. Eq. 11 as written (SR) is shown for "
        "comparison. Enter on a row shows its facts one by one: p and rank before, suppressed and enhanced."
    )
    EMPTY = "No edits are stored. r computes those of this selection; R starts a run with what: attribution,dkn,edit."
    COLUMNS = (
        Column("table", "table", lambda name: name.replace(" held-out", "h"), most=10),
        Column("lang", "lang", most=8),
        Column("edited", "edited", grow=True, least=18, most=24),
        Column("neurons", "n", lambda n: cells.NOTHING if n is None else f"{n:.1f}", right=True, drop=6),
        Column("_specific", "specific, 95 %", most=24, drop=3),
        Column("d", "lead", lambda d: cells.NOTHING if d is None else f"{d:+.2f}", right=True),
        Column("d_interval", "its 95 %", interval, drop=4),
        Column("vs_random_interval", "- random", interval, drop=2),
        Column(
            "verdict", "specific to", cells.plain, most=13, drop=1, tone=lambda word: "good" if word == "own" else ""
        ),
        Column("vs_first", "- first", interval, drop=5),
        Column("_sr", "SR (eq. 11), 95 %", most=24, drop=5),
        *_figures(("kl", "KL", 6)),
        Column("facts", "facts", cells.count, right=True, drop=7),
        Column("missing", "missing", lambda n: cells.count(n) if n else "·", right=True, drop=8),
        Column("paper", "paper", cells.plain, drop=9),
    )
    FACTS = (
        Column("fact", "fact", least=6, most=18, drop=5),
        Column("pair", "subject → object", grow=True, least=10, most=40),
        Column("neurons", "n", cells.count, right=True, drop=4),
        Column("p", "p", cells.prob, right=True),
        Column("p_suppressed", "p ×0", cells.prob, right=True),
        Column("p_enhanced", "p ×2", cells.prob, right=True),
        Column("rank", "rank", cells.count, right=True, drop=3),
        Column("rank_suppressed", "×0", cells.count, right=True, drop=3),
        Column("rank_enhanced", "×2", cells.count, right=True, drop=3),
        Column("aside", "others |Δ|", cells.prob, right=True, drop=1),
        Column("wrong_object", "wrong", cells.plain, most=14, drop=9),
        Column("p_wrong", "its p", cells.prob, right=True, drop=8),
        Column("p_wrong_suppressed", "its p ×0", cells.prob, right=True, drop=7),
    )

    def __init__(self) -> None:
        super().__init__(id="edits")
        self.place: Edited | None = None

    def sql(self, reader: Reader, shown: Shown) -> str:
        return _EDITS_SQL.format(model=sql_literal(shown.view.model), langs=sql_literal(list(shown.view.langs)))

    def load(self, reader: Reader, shown: Shown) -> tuple[Edited | None, Any]:
        import polars as pl

        from knscope.analysis.edits import table as edits_table
        from knscope.analysis.statistics.table import Table

        place = self.place
        if not reader.keys(self.STORED):
            return None, Table(self.STORED, self.TITLE, pl.DataFrame())
        if place is not None:
            return place, edits_table.facts_of(reader, shown.narrowed, place.table, place.lang, place.edited)
        table = self.result(reader, shown)
        return None, replace(table, frame=with_intervals(table.frame, "specific", "sr", shown=rate))

    def result(self, reader: Reader, shown: Shown) -> Table:
        from knscope.analysis.edits import table as edits_table

        return edits_table.build(reader, shown.narrowed)

    def paint(self, result: Any, shown: Shown) -> None:
        from knscope.analysis.report import sentences

        place, found = result
        if place is None:
            self.show_table(found, shown, sentences.of_edits(found.frame))
            return
        self.tell(sentences.of_flips(found))
        self.query_one(".summary").display = False
        self.entitle(f"edits › table {place.table} › {place.edited} read in {place.lang} · {shown.subject}")
        self.entitle(below=f"{cells.several(found.height, 'fact')} · ×0 suppressed, ×2 enhanced · esc back")
        self.query_one(FrameTable).show(found, self.FACTS, ("fact",))

    def on_row_entered(self, message: RowEntered) -> None:
        if "edited" in message.row:
            message.stop()
            self.place = Edited(*(str(message.row[name]) for name in ("table", "lang", "edited")))
            self.again()

    def go_out(self) -> bool:
        if self.place is None:
            return False
        self.place = None
        self.again()
        return True


class ChecksPane(TablePane):
    """Table 3, and the ROC curve of the row under the cursor."""

    TITLE = "checks"
    CONTEXT = "checks"
    DRAWS = True
    STORED = "claim"
    HELP = (
        "Whether degenerate neurons tell right claims from wrong ones, always beside argmax, probability, always-true and random neurons, "
        "on the same facts. Enter draws the ROC curve of a row: right claims judged true over wrong claims judged true, dotted what "
        "chance would draw."
    )
    EMPTY = (
        "No claims are stored. r computes those of this selection; R starts a run with what: attribution,dkn,factcheck."
    )
    COLUMNS = (
        Column("lang", "lang", most=8),
        Column("judge", "judged by", grow=True, least=26, most=44),
        Column("_auroc", "AUROC, 95 %", most=24),
        Column("vs_probability", "- probability", interval, drop=2),
        Column("_accuracy", "accuracy, 95 %", most=24, drop=5),
        *_figures(("f1", "F1", 4), ("precision", "P", 3), ("recall", "R", 3)),
        Column("lam", "λ", lambda lam: cells.NOTHING if lam is None else f"{lam:.1g}", right=True, drop=6),
        Column("claims", "claims", cells.count, right=True, drop=7),
        Column("coverage", "judged", lambda share: cells.percent(share), right=True, drop=8),
        Column("neurons", "n", figure, right=True, drop=9),
        Column("paper", "paper P R acc", cells.plain, drop=10),
    )

    def __init__(self) -> None:
        super().__init__(id="checks")
        self._curves: Mapping[tuple[str, str], Curve] = {}
        self.drawn = False
        """Whether the curve stands in the place of the table."""

    def compose(self) -> ComposeResult:
        yield from super().compose()
        roc = PlainText("", id="roc")
        roc.display = False
        yield roc

    def sql(self, reader: Reader, shown: Shown) -> str:
        view = shown.view
        names = {"model": view.model, "method": view.method, "langs": list(view.langs)}
        return _CLAIMS_SQL.format(**{name: sql_literal(value) for name, value in names.items()})

    def load(self, reader: Reader, shown: Shown) -> tuple[Table, Mapping[tuple[str, str], Curve]]:
        import polars as pl

        from knscope.analysis.factcheck import table as factcheck_table
        from knscope.analysis.statistics.table import Table

        if not reader.keys(self.STORED):
            return Table(self.STORED, self.TITLE, pl.DataFrame()), {}
        table = self.result(reader, shown)
        frame = with_intervals(table.frame, "auroc", "accuracy", shown=rate)
        return replace(table, frame=frame), factcheck_table.curves(reader, self._asked(shown))

    @staticmethod
    def _asked(shown: Shown) -> View:
        """Claims are judged by a relation's neurons, against each other: of one fact alone there is nothing to judge."""
        selection = shown.selection
        return shown.view if selection.level == "everything" else shown.view.with_(relations=(selection.relation,))

    def result(self, reader: Reader, shown: Shown) -> Table:
        from knscope.analysis.factcheck import table as factcheck_table

        return factcheck_table.build(reader, self._asked(shown))

    def paint(self, result: Any, shown: Shown) -> None:
        table, self._curves = result
        from knscope.analysis.report import sentences

        self.show_table(table, shown, sentences.of_checks(table.frame))
        if shown.selection.level != "everything":
            self.entitle(f"{self.TITLE} · {shown.selection.relation}")
        self.draw()

    def on_row_moved(self, message: RowMoved) -> None:
        message.stop()
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        """The curve of the row under the cursor: below the table where there is room, else in place of its other rows."""
        table, roc = self.query_one(FrameTable), self.query_one("#roc", PlainText)
        row, high = table.current, self.size.height
        below = high >= ROOMY
        roc.display = row is not None and (self.drawn or below) and not self.note.display
        table.styles.height = 2 if self.drawn and not below else "1fr"
        if row is None or not roc.display:
            return
        rows = high // 2 if below else high - 2
        roc.styles.height = rows
        curve = self._curves.get((str(row["lang"]), str(row["judge"])))
        if curve is None or not len(curve.wrong):
            roc.update("no ROC curve: it needs right and wrong claims that this one can judge")
        else:
            roc.update(roc_text(curve.wrong, curve.right, min(self.size.width - 2, 2 * rows + 24), rows))

    def on_row_entered(self, message: RowEntered) -> None:
        message.stop()
        self.drawn = not self.drawn
        self.draw()

    def go_out(self) -> bool:
        if not self.drawn:
            return False
        self.drawn = False
        self.draw()
        return True
