"""The spine: every stored query of the view; where its cursor is decides what the other panes speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from knscope.tui.messages import RowMoved
from knscope.tui.panes.asked import Says, prompt_text, says_of, says_text
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Selection, Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.fitting import holding
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import Line, PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.stored.standing import Integrals
    from knscope.store.reader import Reader

LOW = 12
"""Height below which the prompt and what the model says share a line."""
RESTED = 0.08
"""Seconds after which keys are taken to rest, and what the model says is read."""
KEY = ("query",)
NEAR = ("relation", "fact", "lang")
"""What the cursor falls back on where its query is shown no more: the same language of its fact, its fact, its relation."""
SEARCHED = ("fact", "relation", "lang", "subject", "object", "template")
COLUMNS = (
    Column("fact", "fact", lambda fact: "asked" if fact.startswith("asked: ") else fact, least=6, most=12, drop=4),
    Column("relation", "relation", most=10, drop=5),
    Column("lang", "lang", most=8),
    Column("pair", "subject → answer", grow=True, least=14, most=40),
    Column("template", "template", grow=True, least=12, most=60, drop=2),
    Column("p", "p", cells.prob, right=True, tone=lambda p: "dim" if p is None or p < 0.01 else ""),
    Column("rank", "rank", cells.count, right=True, tone=lambda rank: "good" if rank == 1 else ""),
    Column("n_kn", "neurons", cells.count, right=True),
    Column("stays", "stays", cells.percent, right=True, drop=3),
)
MORE = (
    Column("residual", "residual", cells.power, right=True),
    Column("p_root", "p^1/T", cells.prob, right=True),
    Column("known", "known", cells.tick),
    Column("query", "query", most=16),
)
"""Columns that are shown when they are asked for."""
_EXPLAINED = {
    "fact": "fact", "relation": "relation", "lang": "language", "pair": "subject → answer", "p": "p of the right answer",
    "rank": "rank of the right answer", "n_kn": "number of knowledge neurons", "residual": "largest residual of an integral (completeness)",
    "template": "template", "p_root": "p^(1/T): comparable across lengths", "known": "whether the model knows it",
    "query": "identifier of the query", "stays": "share of the neurons that stay on the fact's other templates",
}  # fmt: skip


def prepared(frame: pl.DataFrame) -> pl.DataFrame:
    """The reader's queries with what is shown beside them."""
    import polars as pl

    from knscope.analysis.stability.consistency import word

    return frame.with_columns(
        pair=pl.concat_str(["subject", pl.lit(" → "), "object"]), consistency=word(pl.col("stays"))
    )


class QueriesPane(Pane):
    """Fact, language, probability, rank, number of knowledge neurons, residual."""

    TITLE = "queries"
    CONTEXT = "queries"
    HELP = (
        "One row a stored prompt. p is the probability of the right answer, rank its place (1, green: the model knows it), neurons the "
        "number of knowledge neurons at the current τ, stays how many of them are so on the fact's other templates too (filter for "
        "consistent, at least half, or inconsistent). Below the table: what the model was asked, with the right answer underlined in its "
        "place, and the five words it says with the highest probability (the likeliest first tokens, each continued to a word). Enter goes "
        "from everything to the row's relation, its fact, the query itself; the other panes follow. C chooses the columns; residual tells "
        "how exact the integrals are, as does the share of paths that did not converge, below the table."
    )

    def __init__(self) -> None:
        super().__init__(id="queries")
        self._loaded: pl.DataFrame | None = None
        self._integrals: Integrals | None = None
        self._marked_scope = ("", "")
        self.filter_text = ""
        self.chosen = tuple(column.name for column in COLUMNS)
        """Names of the columns shown."""
        self._go_to = ""
        """The query that the cursor goes to as soon as it is there."""
        self._last: Mapping[str, Any] | None = None
        """The row that the cursor was on last."""
        self._row: Mapping[str, Any] | None = None
        """The row whose prompt is shown."""
        self._says_of: tuple[str, str] | None = None
        """Model and query whose likeliest words are shown, or are read when the keys rest."""
        self._says: Says | None = None
        self._says_known = False
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self.note
        field = Line(
            "", "words to look for; !word excludes; consistent or inconsistent facts", self._filtered, id="filter"
        )
        field.display = False
        yield field
        yield FrameTable("queries", empty="no query matches; esc clears the filter")
        yield PlainText("", id="asked")

    def load(self, reader: Reader, shown: Shown) -> tuple[pl.DataFrame, Integrals | None]:
        from knscope.analysis.stored.standing import integrals

        return prepared(reader.live.queries(shown.view)), integrals(reader, shown.view)

    def sql(self, reader: Reader, shown: Shown) -> str:
        return reader.macro_sql("queries", shown.view)

    def paint(self, result: Any, shown: Shown) -> None:
        self._loaded, self._integrals = result
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
            found = holding(frame, SEARCHED, self.filter_text)
            if at is not None and not found.filter(found["query"] == wanted).height:
                self.filter_text = self.session.filter = ""  # the row one is brought to must be seen
            else:
                frame = found
        table = self.query_one(FrameTable)
        self._last = table.current or self._last
        if at is None and table.current is None:  # at a restart, and where a filter had left no row
            at = self._last
        table.show(frame, self._columns(frame), KEY, at, NEAR)
        self._tell_row(table.current)
        of = (
            f"{frame.height:,} of {self._loaded.height:,}"
            if frame.height != self._loaded.height
            else f"{frame.height:,}"
        )
        known = " · known only" if self.wanted and self.wanted.view.known else ""
        filtered = f" · /{self.filter_text}" if self.filter_text else ""
        missed = self._integrals.unconverged if self._integrals else 0.0
        paths = f" · {max(missed, 0.001):.1%} of paths not converged" if missed else ""
        self.entitle(below=f"{of}{known}{filtered}{paths}")

    def offered(self) -> list[tuple[Column, str]]:
        """Every column there is, and what it is called in words."""
        return [(column, _EXPLAINED[column.name]) for column in (*COLUMNS, *MORE)]

    def choose(self, names: Sequence[str]) -> None:
        """Show these columns."""
        there = {column.name for column in (*COLUMNS, *MORE)}
        self.chosen = tuple(name for name in names if name in there) or self.chosen
        self.show_rows()

    def _columns(self, frame: pl.DataFrame) -> tuple[Column, ...]:
        """Columns chosen by hand are all shown, by scrolling if need be; the usual ones as far as there is room, the template the first
        to go unless rows would look alike without it; neither the language where there is one, nor what stays where nothing can."""
        if self.chosen == tuple(column.name for column in COLUMNS):
            alike = frame.select("fact", "lang").is_duplicated().any()
            every = self._loaded if self._loaded is not None else frame
            same = {"lang"} if every["lang"].n_unique() == 1 else set()
            same |= {"stays"} if every.height and every["stays"].null_count() == every.height else set()
            shown = (one for one in COLUMNS if one.name not in same)
            return tuple(replace(one, drop=9) if one.name == "template" and not alike else one for one in shown)
        return tuple(replace(column, drop=0) for column in (*COLUMNS, *MORE) if column.name in self.chosen)

    @property
    def chosen_by_hand(self) -> tuple[str, ...]:
        """Empty: the usual ones."""
        return () if self.chosen == tuple(column.name for column in COLUMNS) else self.chosen

    # --- what was asked in the marked row

    def on_row_moved(self, message: RowMoved) -> None:
        if message.table == "queries":
            self._tell_row(message.row)

    def on_resize(self) -> None:
        self._place_asked()

    def _place_asked(self) -> None:
        """Two lines; one in a low pane; none without a row."""
        asked = self.query_one("#asked", PlainText)
        asked.display = self._row is not None and not self.note.display
        asked.styles.height = 1 if self.size.height < LOW else 2
        self._paint_asked()

    def _tell_row(self, row: Mapping[str, Any] | None) -> None:
        """Show the prompt at once, and what the model says as soon as the keys rest."""
        if row == self._row:
            return
        before, self._row = self._row, row
        view = self.painted.view if self.painted else None
        of = (view.model, str(row["query"])) if row is not None and view is not None else None
        if of != self._says_of:
            self._says_of, self._says, self._says_known = of, None, False
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(RESTED, self._read_says) if of else None
        if (before is None) != (row is None):
            self._place_asked()
        else:
            self._paint_asked()

    def _read_says(self) -> None:
        reader, of = self.session.reader, self._says_of
        if reader is not None and of is not None:
            self.run_worker(
                lambda: (of, says_of(reader, *of)), thread=True, group="says", exclusive=True, exit_on_error=False
            )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take what the model says. Textual calls this handler beside that of `Pane`."""
        if event.worker.group == "says":
            event.stop()
            of, says = event.worker.result or (None, None)
            if event.state == WorkerState.SUCCESS and of == self._says_of:
                self._says, self._says_known = says, True
                self._paint_asked()

    def _paint_asked(self) -> None:
        if self._row is None:
            return
        width = max(1, self.size.width - 2)
        low = self.size.height < LOW
        room = max(width // 2, width - prompt_text(self._row, width).cell_len - 2) if low else width
        said = says_text(self._row, self._says, room, known=self._says_known)
        asked = prompt_text(self._row, max(1, width - said.cell_len - 2) if low else width)
        text = Text("  " if low else "\n", no_wrap=True).join([asked, said])
        self.query_one("#asked", PlainText).update(text, layout=False)

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
        text = text.strip()
        if text != self.filter_text:
            self.session.remember("filter")
        self.filter_text = self.session.filter = text
        self.show_rows()

    def take_filter(self, text: str) -> None:
        """Filter as before an undo."""
        self.filter_text = text
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = text
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
        self.session.settle()
        line.display = False
        self.screen.set_focus(self.query_one(FrameTable))

    @property
    def loaded(self) -> pl.DataFrame | None:
        """Every query of the view, whatever the filter."""
        return self._loaded

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
        self.filter_text = self.session.filter = filter_text
        self.query_one(FrameTable).sorted_by = (str(sorting[0]), bool(sorting[1])) if sorting else None
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = filter_text
