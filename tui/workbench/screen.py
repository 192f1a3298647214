"""The workbench's screen: what every key and every message of a pane leads to."""

from __future__ import annotations

from knscope.analysis.statistics.charted import kind_of
from knscope.tui import keymap
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.help import help_text
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.messages import BinEntered, Complaint, DeskMoved, NeuronWanted, RowEntered, RowMoved, ThresholdSet
from knscope.tui.panes.dkn import DknPane
from knscope.tui.panes.layers import LayersPane
from knscope.tui.panes.neuron import FactWanted, NeuronPane, Place
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.selection import Selection
from knscope.tui.thresholds import reset, thresholds, value_of
from knscope.tui.widgets.chart import chart
from knscope.tui.widgets.footer_line import FooterLine
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.layer_grid import LayerGrid
from knscope.tui.widgets.threshold_bar import ThresholdBar
from knscope.tui.workbench.below_floor import BelowFloor
from knscope.tui.workbench.bench import SPLITS, Bench
from knscope.tui.workbench.choosing import Choosing
from knscope.tui.workbench.comparison import Comparison
from knscope.tui.workbench.desk import ModelDesk
from knscope.tui.workbench.exporting import Exporting
from knscope.tui.workbench.notes import Notes
from knscope.tui.workbench.runs import Runs
from knscope.tui.workbench.watcher import Watcher
from knscope.tui.workbench.whatif import WhatIf


class WorkbenchScreen(Bench):
    """Owns the parts of the workbench. An action that one of them does is one line here; the others stand here whole."""

    def __init__(self) -> None:
        super().__init__()
        self.below_floor = BelowFloor(self, super().follow)
        self.choosing = Choosing(self)
        self.comparison = Comparison(self)
        self.exporting = Exporting(self)
        self.runs = Runs(self)
        self.desk = ModelDesk(self, self.runs)
        self.notes = Notes(self)
        self.whatif = WhatIf(self, self.desk)
        self.watcher = Watcher(self, self.desk.find_answer)

    def on_mount(self) -> None:
        self.watcher.start()

    def on_unmount(self) -> None:
        self.desk.close()

    def follow(self) -> None:
        """Make the panes follow, at once or when the scores below the floor that they need have been read."""
        if not self.below_floor.holds_back():
            super().follow()

    # --- messages

    def on_row_moved(self, message: RowMoved) -> None:
        session = self.session
        if message.table != "queries" or message.row is None or session.selection.level == "everything":
            return
        if session.select(session.selection.at(message.row), remember=False):
            self.follow_soon()

    def on_row_entered(self, message: RowEntered) -> None:
        """Go where a row leads that its pane did not handle."""
        session = self.session
        if message.table == "queries":
            if session.select(session.selection.deeper(message.row)):
                self.follow()
            else:
                self.say("This is the query itself; esc goes out again.")
        elif {"layer", "neuron"} <= set(message.row):
            self.on_neuron_wanted(NeuronWanted(message.row["layer"], message.row["neuron"]))
        elif "fact" in message.row:
            self.on_fact_wanted(FactWanted(str(message.row["fact"]), str(message.row.get("lang", ""))))

    def on_bin_entered(self, message: BinEntered) -> None:
        self._show_neurons(Place(layer=message.layer, last=message.last, column=message.column))

    def on_neuron_wanted(self, message: NeuronWanted) -> None:
        self._show_neurons(Place(layer=message.layer, neuron=message.neuron))

    def _show_neurons(self, place: Place) -> None:
        self.show_tab("neuron")
        self.query_one(NeuronPane).go_to(place)

    def on_fact_wanted(self, message: FactWanted) -> None:
        """Go to a fact's first row in the query table and select the fact."""
        table = self.query_one("#queries FrameTable", FrameTable)
        rows = (
            table.frame.with_row_index("row").filter(table.frame["fact"] == message.fact)
            if table.frame.height
            else table.frame
        )
        if not rows.height:
            self.say(f"{message.fact} is not among the queries shown; esc clears the filter.")
            return
        of_lang = rows.filter(rows["lang"] == message.lang)
        found = (of_lang if of_lang.height else rows).row(0, named=True)
        table.cursor = int(found["row"])
        if self.session.select(Selection("fact").at(found)):
            self.follow()
        table.focus()

    def on_threshold_set(self, message: ThresholdSet) -> None:
        self.set_threshold(message.name, message.value)

    def on_complaint(self, message: Complaint) -> None:
        self.say(message.text, message.severity)

    def on_desk_moved(self, message: DeskMoved) -> None:
        self.desk.moved(message)

    # --- actions by name

    async def action_do(self, action_id: str) -> None:
        """Run an action by its id: what a click on the footer and the palette call."""
        action = keymap.find(action_id)
        if action.where == "sql":
            self.show_tab("sql")
        name = f"action_{action.call.partition('(')[0]}"
        inside = self.focused.ancestors_with_self if self.focused is not None and action.where != "workbench" else ()
        able = next((node for node in inside if hasattr(node, name)), self)  # a widget may have an action of that name
        if hasattr(able, name) or "." in action.call:
            await self.app.run_action(action.call, default_namespace=able)
        else:
            self.say(f"{action.label} is for {action.where}: go there first.")

    # --- move

    def action_go_in(self) -> None:
        focused = self.focused
        if isinstance(focused, FrameTable | LayerGrid):
            focused.enter()

    def action_go_out(self) -> None:
        """Close what is open; with nothing open, widen the selection by a level."""
        pane, queries = self.pane(), self.query_one(QueriesPane)
        if self.maximized is not None:
            self.minimize()
        elif self.filtering.close() or self.below_floor.stop() or (pane is not None and pane.go_out()):
            return
        elif (pane is queries and queries.close_filter(keep=False)) or pane is not queries:
            self.query_one("#queries FrameTable").focus()
        elif self.session.select(self.session.selection.shallower()):
            self.follow()

    def action_history(self, step: int) -> None:
        if self.session.travel(step):
            self.follow()
            self.query_one(QueriesPane).return_to(self.session.selection)
        else:
            self.say("Nothing further back." if step < 0 else "Nothing further forward.")

    def action_undo(self) -> None:
        """Take back the last change of thresholds, choices or filter."""
        step = self.session.undo()
        if step is None:
            self.say("Nothing to take back.")
            return
        self.follow()
        self.query_one(QueriesPane).take_filter(step.filter)

    def action_focus_pane(self, step: int) -> None:
        panes = [pane for pane in self.seen_panes() if pane.focus_target() is not None]
        now = self.pane()
        place = panes.index(now) if now in panes else -step
        panes[(place + step) % len(panes)].focus_target().focus()

    def action_focus_queries(self) -> None:
        self.query_one(QueriesPane).focus_target().focus()

    def action_jump(self) -> None:
        self.query_one(FooterLine).jump(self.seen_panes())

    # --- look at

    def action_tab(self, name: str) -> None:
        self.show_tab(name)

    def action_filter(self) -> None:
        self.filtering.open()

    def action_known(self) -> None:
        if self.session.view is not None:
            self.change(known=not self.session.view.known)

    def action_columns(self) -> None:
        self.choosing.choose_columns()

    def action_choose(self, what: str) -> None:
        self.choosing.choose(what)

    def action_compare(self) -> None:
        self.comparison.compare()

    def action_reload(self) -> None:
        """Load and draw every pane again."""
        for pane in self.query(Pane):
            pane.again()
        self.refresh(layout=True)

    def action_layer_unit(self) -> None:
        self.query_one(LayersPane).turn_unit()

    def action_pair_kind(self) -> None:
        self.query_one(DknPane).turn_kind()

    # --- thresholds

    def set_threshold(self, name: str, value: float) -> None:
        """Show the new value at once; the panes follow after the keys that are waiting."""
        self.session.set_threshold(name, value)
        self.query_one(ThresholdBar).view = self.session.view
        self.follow_soon()

    def action_threshold(self, step: int) -> None:
        self.query_one(ThresholdBar).step(step)

    def action_nudge(self, steps: int) -> None:
        view, marked = self.session.view, self.query_one(ThresholdBar).current()
        if view is not None and marked is not None:
            value = marked.nudged(value_of(view, marked.name), steps)
            if value != value_of(view, marked.name):
                self.set_threshold(marked.name, value)

    def action_nudge_taus(self, steps: int) -> None:
        """Move every τ by one step, so the differences between languages stay."""
        view = self.session.view
        if view is None:
            return
        for one in thresholds(view):
            if one.name.startswith("tau:"):
                self.session.set_threshold(one.name, one.nudged(value_of(view, one.name), steps), "every τ")
        self.query_one(ThresholdBar).view = self.session.view
        self.follow_soon()

    def action_type_threshold(self) -> None:
        self.query_one(ThresholdBar).type_here(self.focused)

    def action_reset_threshold(self, everything: bool) -> None:
        marked = self.query_one(ThresholdBar).current()
        if self.session.view is not None and marked is not None:
            self.session.set_view(reset(self.session.view, None if everything else marked.name))
            self.follow()

    def action_drop_kind(self) -> None:
        if self.session.view is not None:
            self.change(drop="absolute" if self.session.view.drop == "relative" else "relative")

    def action_keep_set(self) -> None:
        view = self.session.view
        if view is None:
            return

        def keep(values: dict[str, str] | None) -> None:
            if values:
                self.session.keep_thresholds(values["name"])
                self.say(f"Kept as {values['name']}; B brings it back.", "information")

        text = "  ".join(f"{one.symbol} {one.show(value_of(view, one.name))}" for one in thresholds(view))
        field = Field("name", "name", hint="a word to find them by")
        self.app.push_screen(FormScreen("keep these thresholds", [field], text), keep)

    # --- compute

    def action_compute(self) -> None:
        self.desk.compute()

    def action_ask(self) -> None:
        self.desk.ask()

    def action_note(self) -> None:
        self.notes.write()

    def action_what_if(self) -> None:
        self.whatif.open()

    def action_what_if_set(self) -> None:
        self.whatif.open_file()

    def action_start_run(self) -> None:
        self.runs.start()

    def action_resume_run(self) -> None:
        self.runs.resume()

    def action_cancel_run(self) -> None:
        """Stop the marked run; where no run that goes on is marked, what the header says is waited for."""
        if not self.runs.stop_marked(except_for=self.desk.run) and not self.waits.stop_newest():
            self.runs.say_what_can_be_stopped()

    # --- take away

    def action_copy(self, what: str) -> None:
        self.exporting.copy(what)

    def action_show_sql(self) -> None:
        self.exporting.show_sql()

    def action_chart(self) -> None:
        """Draw the rows of the table one is in."""
        pane = self.pane()
        frame = pane.whole() if pane is not None else None
        if pane is None or frame is None or not kind_of(frame):
            self.say("There is nothing here to draw: a column of numbers is needed.")
            return
        if pane.id != "sql":  # what is shown, not what helps
            table = pane.table()
            frame = (
                frame.select([column.name for column in table.columns if column.name in frame.columns])
                if table
                else frame
            )
        width = min(70, self.app.size.width - 8)
        self.app.push_screen(TextScreen(f"{pane.TITLE}, drawn", chart(frame, width)))

    def action_export(self) -> None:
        self.exporting.export()

    def action_picture(self) -> None:
        self.exporting.picture()

    # --- panes and the workbench

    def action_zoom(self) -> None:
        pane = self.pane()
        if self.maximized is not None:
            self.minimize()
        elif pane is not None:
            self.maximize(pane, container=False)

    def action_resize(self, step: int) -> None:
        self.split = max(0, min(self.split + step, len(SPLITS) - 1))
        self.place_panes()

    def action_help(self) -> None:
        self.app.push_screen(TextScreen("help", help_text(self.pane(), self.host.settings.keys)))

    def action_copy_or_quit(self) -> None:
        if text := self.get_selected_text():
            self.exporting.copy_text(text, "copied")
        else:
            self.action_quit_workbench()

    def action_quit_workbench(self) -> None:
        """Leave; while something is computed here, ask first what becomes of it."""
        if not self.desk.ask_to_leave():
            self.host.leave()
