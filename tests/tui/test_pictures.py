"""Few pictures of whole screens, at the smallest and at the usual size. State is asserted elsewhere.

After a change that is meant: `python -m pytest tests/tui/test_pictures.py --snapshot-update`, and look at the report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from knscope.tui.app import Knscope
from tests.tui.driver import Driver

Compare = Callable[..., bool]
SIZES = [(80, 24), (120, 40)]
TABS = {"likn": ("go.in", "go.in"), "dkn": (), "neuron": ()}
"""Not the runs: their pane shows how much memory the machine has."""


def after(*actions: str, then: str = "") -> Callable[[Pilot[Any]], Any]:
    async def run(pilot: Pilot[Any]) -> None:
        driver = await Driver(pilot).ready()
        await driver.do(*actions)
        if then:
            await pilot.press(then)
            await driver.until(
                lambda: driver.app.screen.query("#box") and driver.app.screen.focused, "the modal is there"
            )
        await pilot.pause(0.5)

    return run


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
@pytest.mark.parametrize("tab", TABS)
def test_workbench_pictures_are_unchanged(
    snap_compare: Compare, workbench: Callable[..., Knscope], tab: str, size: tuple[int, int]
) -> None:
    assert snap_compare(workbench(), terminal_size=size, run_before=after(*TABS[tab], f"tab.{tab}"))


@pytest.mark.parametrize("key", ["question_mark", "b"], ids=["help", "form"])
def test_dialog_pictures_are_unchanged(snap_compare: Compare, workbench: Callable[..., Knscope], key: str) -> None:
    assert snap_compare(workbench(), terminal_size=SIZES[0], run_before=after(then=key))
