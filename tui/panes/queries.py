"""The spine: every stored query of the view; where its cursor is decides what the other panes speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.widgets import Input

from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Selection, Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import Line

if TYPE_CHECKING:
    import polars as pl

    from knscope.store.reader import Reader

KEY = ("query",)
NEAR = ("relation", "fact", "lang")
"""What the cursor falls back on where its query is shown no more: the same language of its fact, its fact, its relation."""
SEARCHED = ("fact", "relation", "lang", "subject", "object", "template")
COLUMNS = (
    Column("fact", "fact", least=6, most=18, drop=2),
    Column("relation", "rel", most=10, drop=3),
    Column("lang", "lang", most=8),
    Column("pair", "subject → object", grow=True, least=14, most=60),
    Column("p", "p", cells.prob, right=True, tone=lambda p: "dim" if p is None or p < 0.01 else ""),
    Column("rank", "rank", cells.count, right=True, tone=lambda rank: "good" if rank == 1 else ""),
    Column("n_kn", "#KN", cells.count, right=True),
    Column("residual", "resid", cells.power, right=True, drop=4),
)
MORE = (
    Column("template", "template", least=10, most=60),
    Column("p_root", "p^1/T", cells.prob, right=True),
    Column("known", "known", cells.tick),
    Column("query", "query", most=16),
)
"""Columns that are shown when they are asked for."""
_EXPLAINED = {
    "fact": "fact", "relation": "relation", "lang": "language", "pair": "subject → object", "p": "p of the right answer",
    "rank": "rank of the right answer", "n_kn": "number of knowledge neurons", "residual": "largest completeness residual",
    "template": "template", "p_root": "p^(1/T): comparable across lengths", "known": "whether the model knows it",
    "query": "identifier of the query",
}  # fmt: skip


def matches(text: str) -> pl.Expr:
    """Rows holding every word of the filter; a word that begins with `!` must not occur."""
    import polars as pl

    searched = pl.concat_str([pl.col(name).fill_null("") for name in SEARCHED], separator=" ").str.to_lowercase()
    found = pl.lit(True)
    for word in text.lower().split():
        holds = searched.str.contains(word.removeprefix("!"), literal=True)
        found = found & (~holds if word.startswith("!") and len(word) > 1 else holds)
    return found


def prepared(frame: pl.DataFrame) -> pl.DataFrame:
    """The reader's queries with what is shown beside them."""
    import polars as pl

    return frame.with_columns(pair=pl.concat_str(["subject", pl.lit(" → "), "object"]))


class QueriesPane(Pane):
    """Fact, language, probability, rank, number of knowledge neurons, residual."""

    TITLE = "queries"
    CONTEXT = "queries"
    HELP = (
        "One row a stored prompt. p is the probability of the right answer, rank its place (1: the model knows it), #KN the number of "
        "knowledge neurons at the current τ, resid the largest completeness residual. Enter goes from everything to the row's relation, "
        "its fact, the query itself; the other panes follow."
    )

    def __init__(self) -> None:
        super().__init__(id="queries")
        self._loaded: pl.DataFrame | None = None
        self._marked_scope = ("", "")
        self.filter_text = ""
        self.chosen = tuple(column.name for column in COLUMNS)
        """Names of the columns shown."""
        self._go_to = ""
        """The query that the cursor goes to as soon as it is there."""
        self._last: Mapping[str, Any] | None = None
        """The row that the cursor was on last."""

    def compose(self) -> ComposeResult:
        yield self.note
        field = Line("", "words to look for; !word excludes", self._filtered, id="filter")
        field.display = False
        yield field
        yield FrameTable("queries", empty="no query matches; esc clears the filter")

    def load(self, reader: Reader, shown: Shown) -> pl.DataFrame:
        return prepared(reader.live.queries(shown.view))

    def sql(self, reader: Reader, shown: Shown) -> str:
        return reader.macro_sql("queries", shown.view)

    def paint(self, result: Any, shown: Shown) -> None:
        self._loaded = result
        self.show_rows()

    def show_rows(self) -> None:
        """Filter and sort what is loaded, and show it."""
        if self._loaded is None:
            return
        frame = self._loaded
        wanted = self._go_to
        at: Mapping[str, Any] | None = None
        if wanted and frame.filter(frame["query"] == wanted).height:
            self._go_to, at = "", {"query": wanted}
        if self.filter_text and frame.height:
            found = frame.filter(matches(self.filter_text))
            if at is not None and not found.filter(found["query"] == wanted).height:
                self.filter_text = ""  # the row one is brought to must be seen
            else:
                frame = found
        table = self.query_one(FrameTable)
        self._last = table.current or self._last
        if at is None and table.current is None:  # at a restart, and where a filter had left no row
            at = self._last
        table.show(frame, self._columns(), KEY, at, NEAR)
        of = (
            f"{frame.height:,} of {self._loaded.height:,}"
            if frame.height != self._loaded.height
            else f"{frame.height:,}"
        )
        known = " · known only" if self.wanted and self.wanted.view.known else ""
        filtered = f" · /{self.filter_text}" if self.filter_text else ""
        self.entitle(below=f"{of}{known}{filtered}")

    def offered(self) -> list[tuple[Column, str]]:
        """Every column there is, and what it is called in words."""
        return [(column, _EXPLAINED[column.name]) for column in (*COLUMNS, *MORE)]

    def choose(self, names: Sequence[str]) -> None:
        """Show these columns."""
        there = {column.name for column in (*COLUMNS, *MORE)}
        self.chosen = tuple(name for name in names if name in there) or self.chosen
        self.show_rows()

    def _columns(self) -> tuple[Column, ...]:
        """Columns chosen by hand are all shown, by scrolling if need be; the usual ones as far as there is room."""
        if self.chosen == tuple(column.name for column in COLUMNS):
            return COLUMNS
        return tuple(replace(column, drop=0) for column in (*COLUMNS, *MORE) if column.name in self.chosen)

    def go_to(self, query: str) -> None:
        """Bring the cursor to a query, when it is loaded."""
        self._go_to = query

    def return_to(self, selection: Selection) -> None:
        """Bring the cursor to the row of a selection, or as near to it as the rows shown allow; a filter that hides it is cleared."""
        if self._loaded is None or not selection.query:
            return
        table = self.query_one(FrameTable)
        there, shown = (
            not frame.filter(frame["query"] == selection.query).is_empty() for frame in (self._loaded, table.frame)
        )
        if there and not shown:
            self.go_to(selection.query)
            self.show_rows()
        else:
            table.go_to(selection.row, NEAR)

    def mark(self, selection: Selection) -> None:
        """Show which rows the other panes speak of."""
        relations = ", ".join(self.session.view.relations) if self.session.view else ""
        self.entitle(
            f"queries · {selection.trail.replace('everything', relations, 1) if relations else selection.trail}"
        )
        if selection.scope != self._marked_scope:
            self._marked_scope = selection.scope
            self.query_one(FrameTable).mark(selection.holds if selection.level != "everything" else None)

    # --- filter

    def open_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        self.screen.set_focus(field)

    def set_filter(self, text: str) -> None:
        self.filter_text = text.strip()
        self.show_rows()

    def close_filter(self, *, keep: bool) -> bool:
        """Hide the field; False when there was nothing to close or clear."""
        field = self.query_one("#filter", Input)
        had = field.display or bool(self.filter_text)
        if not keep:
            with self.prevent(Input.Changed):
                field.value = ""
            self.set_filter("")
        field.display = False
        return had

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.set_filter(event.value)

    def _filtered(self, line: Line) -> None:
        line.display = False
        self.screen.set_focus(self.query_one(FrameTable))

    def left_at(self) -> Mapping[str, str]:
        """What names the row under the cursor, for the next session."""
        row = self.query_one(FrameTable).current or self._last or {}
        return {name: str(row[name]) for name in (*NEAR, *KEY) if name in row}

    def restore(
        self,
        filter_text: str,
        sorting: Sequence[Any] | None,
        columns: Sequence[str] = (),
        row: Mapping[str, str] | None = None,
    ) -> None:
        """As it was left."""
        self.choose(columns)
        self._last = row
        self.filter_text = filter_text
        self.query_one(FrameTable).sorted_by = (str(sorting[0]), bool(sorting[1])) if sorting else None
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = filter_text
