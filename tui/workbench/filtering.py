"""Filters of the panes: one line at the bottom for the pane one is in; the queries have a filter of their own."""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Input

from knscope.tui.panes.pane import Pane, focused_pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.widgets.line import Line

FIELD = "pane-filter"


class Filtering:
    """Opens the line, filters the pane's table while one types, and closes it."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._pane: Pane | None = None
        """The pane that is filtered while one types."""

    @property
    def _line(self) -> Line:
        return self._screen.query_one(f"#{FIELD}", Line)

    def open(self) -> None:
        """What the key does: filter the pane one is in, or the queries where it has no table."""
        pane = focused_pane(self._screen)
        if pane is None or isinstance(pane, QueriesPane) or (table := pane.table()) is None:
            self._screen.query_one(QueriesPane).open_filter()
            return
        self._pane = pane
        line = self._line
        with self._screen.prevent(Input.Changed):
            line.value = table.filter_text
        line.placeholder = (
            f"{pane.TITLE}: words to look for; !word excludes; =en+zh: in exactly these languages; facts>5"
        )
        line.display = True
        self._screen.set_focus(line)

    def typed(self, text: str) -> None:
        if self._pane is not None:
            self._pane.filter_rows(text.strip())

    def done(self, _: Line | None = None) -> None:
        """Keep the filter and go back to the rows."""
        pane, self._pane = self._pane, None
        self._line.display = False
        if pane is not None:
            self._screen.set_focus(pane.table())

    def close(self) -> bool:
        """What escape does: clear the filter that is typed, or that of the pane one is in; False where there is none."""
        pane = self._pane or focused_pane(self._screen)
        if pane is None or isinstance(pane, QueriesPane):
            return False
        typing = self._pane is not None
        cleared = pane.filter_rows("")
        if typing:
            self.done()
        return typing or cleared
