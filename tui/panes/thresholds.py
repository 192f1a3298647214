"""The thresholds in a box."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult

from knscope.tui.messages import ThresholdMarked
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Shown
from knscope.tui.widgets.threshold_bar import ThresholdBar


class ThresholdsPane(Pane):
    """Repaints at once; loads nothing."""

    TITLE = "thresholds"
    CONTEXT = "thresholds"
    PARTIAL = False
    HELP = (
        "Every number that decides what counts. , and . choose one, - and + change it, from any pane. Here digits type a value and enter "
        "sets it. * marks what is not at its default. All are arguments of queries over what is stored: nothing is computed anew."
    )

    def __init__(self) -> None:
        super().__init__(id="thresholds")

    def compose(self) -> ComposeResult:
        yield ThresholdBar()

    def focus_target(self) -> Any:
        return self.query_one(ThresholdBar)

    def follow(self, shown: Shown) -> None:
        bar = self.query_one(ThresholdBar)
        bar.view = shown.view
        self._explain()

    def on_resize(self) -> None:
        self._explain()

    def on_threshold_marked(self, _: ThresholdMarked) -> None:
        self._explain()

    def _explain(self) -> None:
        bar = self.query_one(ThresholdBar)
        threshold = bar.current()
        bar.explains = self.screen.has_class("-narrow")
        self.entitle(f"thresholds · drops {bar.view.drop}" if bar.view else "thresholds")
        self.entitle(below=f"{threshold.symbol}: {threshold.help}" if threshold else "")
