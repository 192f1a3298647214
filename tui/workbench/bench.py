"""The base of the workbench's screen: the layout, the focus, how panes follow the session, and work in threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Input
from textual.worker import Worker, WorkerState

from knscope.tui import keymap
from knscope.tui.host import Host, host_of
from knscope.tui.panes.dkn import DknPane
from knscope.tui.panes.layers import LayersPane
from knscope.tui.panes.likn import LiknPane
from knscope.tui.panes.neuron import NeuronPane
from knscope.tui.panes.pane import FINISHED, Pane, focused_pane
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
from knscope.tui.widgets.line import Line, PlainText
from knscope.tui.widgets.tab_line import TabLine
from knscope.tui.workbench.filtering import FIELD, Filtering
from knscope.tui.workbench.waits import Waits

T = TypeVar("T")

NARROW = 100
"""Below this width everything stands in one column."""
LEAST = (60, 16)
"""Columns and rows below which nothing of the workbench can be read."""
SPLITS = (35, 45, 54, 62, 72)
"""Widths of the query table in per cent; ( and ) step through them."""


class Bench(Screen[None]):
    """Composes and places the panes and makes them follow. The parts of the workbench (`watcher`, `desk`, …) know this class
    and none of each other's; `WorkbenchScreen` owns them and adds the actions."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("workbench"))
    ALLOW_IN_MAXIMIZED_VIEW = f"HeaderLine, FooterLine, #{FIELD}"

    def __init__(self) -> None:
        super().__init__()
        self.open_tab = "layers"
        self.split = SPLITS.index(54)
        self.worker_text = ""
        """What the model worker does; empty before there is one."""
        self.waits = Waits(self)
        self.filtering = Filtering(self)
        self._panes: tuple[Pane, ...] = ()
        self._settled: Timer | None = None
        self._answers: dict[Worker[Any], tuple[Callable[[Any], None], Callable[[BaseException], None]]] = {}

    @property
    def host(self) -> Host:
        return host_of(self)

    @property
    def session(self) -> Session:
        return self.host.session

    def say(self, text: str, severity: str = "warning") -> None:
        """Show a message in the corner."""
        self.host.say(text, severity)

    # --- work in threads

    def in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], None],
        failed: Callable[[BaseException], None],
        *,
        group: str,
        exclusive: bool = False,
        what: str = "",
        stop: Callable[[], object] | None = None,
    ) -> None:
        """Run `work` in a thread; then call `then` with its result, or `failed` with its error, as a message of this screen.

        :param exclusive: drop what was started in this group before
        :param what: said in the header until it ends; ^x drops its result
        :param stop: what ^x does beside that
        """
        worker = self.run_worker(work, thread=True, group=group, exclusive=exclusive, exit_on_error=False)
        self._answers[worker] = then, failed
        if what:
            self.waits.begin(group, what, partial(self._drop, worker, stop))

    def _drop(self, worker: Worker[Any], stop: Callable[[], object] | None) -> None:
        """What comes of a worker is not wanted any more."""
        self._answers.pop(worker, None)
        worker.cancel()
        if stop is not None:
            stop()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state in FINISHED and event.worker.group not in {
            one.group for one in self._answers if one is not event.worker
        }:
            self.waits.end(event.worker.group)
        if event.state not in FINISHED or event.worker not in self._answers:
            return
        then, failed = self._answers.pop(event.worker)
        if event.state == WorkerState.SUCCESS:
            then(event.worker.result)
        elif event.state == WorkerState.ERROR and event.worker.error is not None:
            failed(event.worker.error)

    # --- layout

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield PlainText("", id="tiny")
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
                    yield SqlPane(self.host.settings.editor_rows)
                    yield RunsPane()
        field = Line("", "", self.filtering.done, id=FIELD)
        field.display = False
        yield field
        yield FooterLine(self.host.settings.keys)

    def on_mount(self) -> None:
        saved = self.session.saved
        self.open_tab = str(saved.get("tab", "likn" if self.app.size.width >= NARROW else "layers"))
        self.split = int(saved.get("split", self.split)) % len(SPLITS)
        self.query_one(QueriesPane).restore(
            str(saved.get("filter", "")), saved.get("sorting"), saved.get("columns", ()), saved.get("row")
        )
        self.place_panes()
        self.query_one("#queries FrameTable").focus()

    def save(self) -> None:
        """Save where the workbench is left, for the next session."""
        queries, table = self.query_one(QueriesPane), self.query_one("#queries FrameTable", FrameTable)
        self.session.save(
            {
                "tab": self.open_tab,
                "split": self.split,
                "filter": queries.filter_text,
                "sorting": table.sorted_by,
                "columns": queries.chosen_by_hand,
                "row": queries.left_at(),
                "sql": self.query_one(SqlPane).statement,
            }
        )

    @property
    def narrow(self) -> bool:
        return self.app.size.width < NARROW

    def on_resize(self, _: events.Resize) -> None:
        self.place_panes()

    def place_panes(self) -> None:
        """Place the panes for this width and the open tab; in a terminal too small for any, say so."""
        width, height = self.app.size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-tiny")
        self.query_one("#tiny", PlainText).update(
            f"This terminal has {width}×{height} cells; the workbench needs {LEAST[0]}×{LEAST[1]}. q leaves; runs go on."
        )
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

    def show_tab(self, name: str) -> None:
        """Open a tab and focus its pane."""
        self.open_tab = name
        self.place_panes()
        pane = self.query_one(LayersPane) if name == "layers" else self.query_one(f"ContentSwitcher > #{name}", Pane)
        self.set_focus(pane.focus_target())  # at once: what is typed ahead on a slow line belongs there

    def open_what_shows(self) -> None:
        """Open another pane where the one to begin with has nothing to show: one language shares nothing."""
        view = self.session.view
        if (
            view is not None
            and len(view.langs) < 2
            and self.open_tab == "likn"
            and self.pane() is not self.query_one(LiknPane)
        ):
            self.open_tab = "neuron"
            self.place_panes()

    # --- focus

    def pane(self) -> Pane | None:
        """The pane that has the focus."""
        return focused_pane(self)

    def seen_panes(self) -> list[Pane]:
        """Every pane on the screen, in reading order."""
        self._panes = self._panes or tuple(self.query(Pane))  # asked for a few times a second, and always the same
        return [
            pane
            for pane in self._panes
            if all(node.display for node in pane.ancestors_with_self if hasattr(node, "display"))
        ]

    def on_descendant_focus(self, _: events.DescendantFocus) -> None:
        pane = self.pane()
        result = isinstance(pane, SqlPane) and isinstance(self.focused, FrameTable)
        self.query_one(FooterLine).context = "result" if result else pane.CONTEXT if pane else ""

    def on_input_changed(self, event: Input.Changed) -> None:
        """The filter of a pane is typed; forms and the queries keep their own changes to themselves."""
        if event.input.id == FIELD:
            self.filtering.typed(event.value)

    # --- following

    def follow(self) -> None:
        """Make every pane show what the session says now; hidden panes do so when they are seen."""
        shown = self.session.shown()
        self.show_header()
        if shown is None:
            return
        self.query_one(QueriesPane).mark(shown.selection)
        for pane in self.query(Pane):
            pane.follow(shown)

    def show_header(self) -> None:
        """Write into the header which store, model and sample are looked at."""
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

    def change(self, **changes: object) -> None:
        """Change the View, and follow."""
        self.session.change(**changes)
        self.follow()

    def follow_soon(self) -> None:
        """Follow after the keys that are already waiting, so that a held key leads to few loads."""
        if self._settled is not None:
            self._settled.stop()
        self._settled = self.set_timer(0.03, self.follow)
