"""Panes that show one table of the paper as `analysis.tables` builds it: edits and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.widgets import Static

from tui.panes.pane import Pane
from tui.selection import Shown
from tui.widgets import cells
from tui.widgets.frame_table import FrameTable

if TYPE_CHECKING:
    from analysis.tables import Table
    from store.reader import Reader
    from store.view import View


class TablePane(Pane):
    """A table and its notes."""

    STORED = ""
    """The table of the store that this one is made from."""
    EMPTY = "Nothing stored."

    def compose(self) -> ComposeResult:
        yield self.note
        yield FrameTable(self.id or "")
        yield Static("", classes="summary", markup=False)

    def builder(self) -> Callable[[Reader, View], Table]:
        """The function of analysis.tables; imported when first needed."""
        raise NotImplementedError

    def load(self, reader: Reader, shown: Shown) -> Table:
        import polars as pl

        from analysis.tables import Table

        if not reader.keys(self.STORED):
            return Table(self.STORED, self.TITLE, pl.DataFrame(), ())
        return self.builder()(reader, shown.narrowed)

    def paint(self, result: Any, shown: Shown) -> None:
        self.entitle(f"{self.TITLE} · {shown.selection.subject}")
        self.query_one(FrameTable).show(result.frame, cells.columns_of(result.frame))
        self.summarise("\n".join(result.notes))
        self.entitle(below=f"{result.frame.height:,} rows")
        if result.frame.is_empty():
            self.say("\n".join((self.EMPTY, *result.notes)))


class EditsPane(TablePane):
    """Tables 1 and 2."""

    TITLE = "edits"
    STORED = "edit"
    HELP = (
        "What suppressing (0) and enhancing (×2) a set of neurons does to its own facts and to irrelevant ones, in each language: success "
        "rates with intervals, size-matched, one row a kind of set. Specific SR and D decide; eq. 11 as written is shown for comparison."
    )
    EMPTY = "No edits are stored. knscope run STORE … --what edit computes them."

    def builder(self) -> Callable[[Reader, View], Table]:
        from analysis.tables import edits

        return edits.build


class ChecksPane(TablePane):
    """Table 3."""

    TITLE = "checks"
    STORED = "claim"
    HELP = (
        "Whether degenerate neurons tell right claims from wrong ones, always beside argmax, probability, always-true and random neurons, "
        "on the same facts."
    )
    EMPTY = "No claims are stored. knscope run STORE … --what factcheck computes them."

    def builder(self) -> Callable[[Reader, View], Table]:
        from analysis.tables import factcheck

        return factcheck.build
