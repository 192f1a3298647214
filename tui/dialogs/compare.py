"""A | B: what differs and every figure, then the neurons only in A, in both, and only in B, with both scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from knscope.tui.dialogs.text import TextScreen
from knscope.tui.panes.comparison import WHERE, counted
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

_SHARE = lambda rel: cells.NOTHING if rel is None else f"{rel:.3f}"  # noqa: E731
COLUMNS = (
    Column("where", "where", tone=lambda where: "dim" if where == WHERE[1] else ""),
    Column("lang", "lang", most=8),
    Column("layer", "layer", right=True),
    Column("neuron", "neuron", right=True),
    Column("facts_a", "facts A", cells.count, right=True),
    Column("rel_a", "of max A", _SHARE, right=True),
    Column("facts_b", "facts B", cells.count, right=True),
    Column("rel_b", "of max B", _SHARE, right=True),
    Column("facts", "in N of facts", cells.count, right=True),
    Column("name", "name", lambda name: name or "", most=30),
)


class CompareScreen(TextScreen):
    """The figures above, the neurons below; w turns between all of them and those of one place."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("w", "turn", "where", show=False)]

    def __init__(
        self, title: str, text: Text, found: pl.DataFrame | None, answers: Sequence[tuple[str, str, str]] = ()
    ) -> None:
        super().__init__(title, text, (*answers, ("w", "", "only A / both / only B")) if found is not None else answers)
        self._found = found
        self.where = ""

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="figures"):
            yield PlainText(self._text)
        if self._found is not None:
            yield PlainText("", id="where")
            yield FrameTable("compared", empty="no neuron here")

    def begin(self) -> None:
        self.query_one("#box").add_class("wide")
        if self._found is None:
            self.query_one("#figures").focus()
            return
        self._show()
        self.query_one(FrameTable).focus()

    def action_turn(self) -> None:
        """All of them, or those of one place."""
        places = ("", *WHERE)
        self.where = places[(places.index(self.where) + 1) % len(places)]
        self._show()

    def _show(self) -> None:
        found = self._found
        if found is None:
            return
        shown = found.filter(found["where"] == self.where) if self.where else found
        self.query_one("#where", PlainText).update(
            f"neurons: {counted(found)}" + (f" · shown: {self.where}" if self.where else "")
        )
        self.query_one(FrameTable).show(shown, COLUMNS, ("where", "lang", "layer", "neuron"))
