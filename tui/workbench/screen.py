"""The workbench's one screen: what a message of a pane leads to."""

from __future__ import annotations

from knscope.tui.messages import (
    BinEntered,
    Complaint,
    FilterTyped,
    NeuronWanted,
    RowEntered,
    RowMoved,
    ThresholdMarked,
    ThresholdSet,
)
from knscope.tui.panes.neuron import FactWanted, NeuronPane, Place
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.selection import Selection
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.workbench.doing import Doing
from knscope.tui.workbench.running import Running
from knscope.tui.workbench.watching import Watching


class WorkbenchScreen(Watching, Running, Doing):
    """All of it. Actions stand in `doing`, background work in `watching`, `computing` and `running`, the layout in `bench`."""

    def on_row_moved(self, message: RowMoved) -> None:
        session = self.session
        if message.table != "queries" or message.row is None or session.selection.level == "everything":
            return
        if session.select(session.selection.at(message.row), remember=False):
            self.follow_soon()

    def on_row_entered(self, message: RowEntered) -> None:
        """A row of a table that no pane took for itself."""
        session = self.session
        if message.table == "queries":
            if session.select(session.selection.deeper(message.row)):
                self.follow()
            else:
                self.knscope.say("This is the query itself; esc goes out again.")
        elif {"layer", "neuron"} <= set(message.row):
            self.on_neuron_wanted(NeuronWanted(message.row["layer"], message.row["neuron"]))
        elif "fact" in message.row:
            self.on_fact_wanted(FactWanted(str(message.row["fact"]), str(message.row.get("lang", ""))))

    def on_bin_entered(self, message: BinEntered) -> None:
        self.show_neurons(Place(layer=message.layer, column=message.column))

    def on_neuron_wanted(self, message: NeuronWanted) -> None:
        self.show_neurons(Place(layer=message.layer, neuron=message.neuron))

    def show_neurons(self, place: Place) -> None:
        self.action_tab("neuron")
        self.query_one(NeuronPane).go_to(place)

    def go_to_query(self, query: str) -> None:
        self.query_one(QueriesPane).go_to(query)
        self.follow()

    def on_fact_wanted(self, message: FactWanted) -> None:
        """Go to a fact's first row in the query table and select the fact."""
        table = self.query_one("#queries FrameTable", FrameTable)
        rows = (
            table.frame.with_row_index("row").filter(table.frame["fact"] == message.fact)
            if table.frame.height
            else table.frame
        )
        if not rows.height:
            self.knscope.say(f"{message.fact} is not among the queries shown; esc clears the filter.")
            return
        of_lang = rows.filter(rows["lang"] == message.lang)
        found = (of_lang if of_lang.height else rows).row(0, named=True)
        table.cursor = int(found["row"])
        session = self.session
        if session.select(Selection("fact").at(found)):
            self.follow()
        table.focus()

    def on_threshold_marked(self, _: ThresholdMarked) -> None:
        """The box explains it already."""

    def on_threshold_set(self, message: ThresholdSet) -> None:
        self.set_threshold(message.name, message.value)

    def on_filter_typed(self, _: FilterTyped) -> None:
        """The table has filtered itself."""

    def on_complaint(self, message: Complaint) -> None:
        self.knscope.say(message.text, message.severity)
