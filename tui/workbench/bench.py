"""The layout, the focus, and how panes follow the session: what the other parts of the workbench's screen build on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from knscope.tui import keymap
from knscope.tui.panes.dkn import DknPane
from knscope.tui.panes.layers import LayersPane
from knscope.tui.panes.likn import LiknPane
from knscope.tui.panes.neuron import NeuronPane
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.panes.runs import RunsPane
from knscope.tui.panes.sql import SqlPane
from knscope.tui.panes.tables import ChecksPane, EditsPane
from knscope.tui.panes.thresholds import ThresholdsPane
from knscope.tui.session import Session, names
from knscope.tui.widgets import cells
from knscope.tui.widgets.footer_line import FooterLine
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.header_line import HeaderLine
from knscope.tui.widgets.tab_line import TabLine

if TYPE_CHECKING:
    from knscope.tui.app import Knscope

NARROW = 100
"""Below this width everything stands in one column."""
SPLITS = (35, 45, 54, 62, 72)
"""Widths of the query table in per cent, walked by ( and )."""


class Bench(Screen[None]):
    """Places the panes and makes them follow. `doing` adds the actions, `watching`, `computing` and `running` the background work."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("workbench"))

    def __init__(self) -> None:
        super().__init__()
        self.open_tab = "layers"
        self.split = SPLITS.index(54)
        self.worker_text = ""
        """What the model worker does; empty before there is one."""
        self._settled: Timer | None = None

    @property
    def knscope(self) -> Knscope:
        return cast("Knscope", self.app)

    @property
    def session(self) -> Session:
        return self.knscope.session

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield QueriesPane()
                yield ThresholdsPane()
            with Vertical(id="right"):
                yield LayersPane()
                yield TabLine()
                with ContentSwitcher(initial="likn"):
                    yield LiknPane()
                    yield DknPane()
                    yield EditsPane()
                    yield ChecksPane()
                    yield NeuronPane()
                    yield SqlPane(self.knscope.settings.editor_rows)
                    yield RunsPane()
        yield FooterLine(self.knscope.settings.keys)

    def on_mount(self) -> None:
        saved = self.session.saved
        self.open_tab = str(saved.get("tab", "likn" if self.app.size.width >= NARROW else "layers"))
        self.split = int(saved.get("split", self.split)) % len(SPLITS)
        self.query_one(QueriesPane).restore(
            str(saved.get("filter", "")), saved.get("sorting"), saved.get("columns", ())
        )
        self.place_panes()
        self.query_one("#queries FrameTable").focus()

    # --- layout

    @property
    def narrow(self) -> bool:
        return self.app.size.width < NARROW

    def on_resize(self, _: events.Resize) -> None:
        self.place_panes()

    def place_panes(self) -> None:
        """Place the panes for this width and the open tab."""
        self.set_class(self.narrow, "-narrow")
        layers, switch, tabs = self.query_one(LayersPane), self.query_one(ContentSwitcher), self.query_one(TabLine)
        switch.display = not self.narrow or self.open_tab != "layers"
        layers.display = not self.narrow or self.open_tab == "layers"
        if self.open_tab != "layers":
            switch.current = self.open_tab
        tabs.active, tabs.narrow = self.open_tab, self.narrow
        layers.place()
        left = self.query_one("#left")
        if self.narrow:
            left.styles.width = "100%"
            left.styles.height = f"{SPLITS[self.split]}%"
        else:
            left.styles.width = f"{SPLITS[self.split]}%"
            left.styles.height = "100%"
        self.call_after_refresh(self.follow)

    def pane(self) -> Pane | None:
        """The pane that has the focus."""
        focused = self.focused
        return next((node for node in focused.ancestors_with_self if isinstance(node, Pane)), None) if focused else None

    def seen_panes(self) -> list[Pane]:
        """Every pane on the screen, in reading order."""
        return [
            pane
            for pane in self.query(Pane)
            if all(node.display for node in pane.ancestors_with_self if hasattr(node, "display"))
        ]

    def on_descendant_focus(self, _: events.DescendantFocus) -> None:
        pane = self.pane()
        result = isinstance(pane, SqlPane) and isinstance(self.focused, FrameTable)
        self.query_one(FooterLine).context = "result" if result else pane.CONTEXT if pane else ""

    # --- following

    def follow(self) -> None:
        """Every pane shows what the session says now; those out of sight do so when they are seen."""
        shown = self.session.shown()
        self._tell()
        if shown is None:
            return
        self.query_one(QueriesPane).mark(shown.selection)
        for pane in self.query(Pane):
            pane.follow(shown)

    def on_new_results(self) -> None:
        """The store has more than before, and the panes were told."""

    def _tell(self) -> None:
        """The header."""
        session = self.session
        header = self.query_one(HeaderLine)
        header.store = session.path.name if session.path else "knscope"
        view, stored = session.view, session.stored
        if view is not None:
            comparing = "  A|B" if session.kept is not None else ""
            header.what = f"{names(stored.models).get(view.model, view.model)} · {view.method}{comparing}"
            facts, langs = cells.several(stored.facts, "fact"), len(stored.langs)
            queries = f"{stored.queries:,} {'query' if stored.queries == 1 else 'queries'}"
            header.short = f"{facts} · {cells.several(langs, 'lang')}"
            header.sample = f"{facts} · {cells.several(langs, 'language')} · {queries}"

    def follow_soon(self) -> None:
        """After the keys that are already waiting: a held key becomes few loads."""
        if self._settled is not None:
            self._settled.stop()
        self._settled = self.set_timer(0.03, self.follow)
