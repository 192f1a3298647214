"""The controls of the LIKN pane fold into groups; folded or not, no line is lost. They have room at any height."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import polars as pl
import pytest

from knscope.tui.app import Knscope
from knscope.tui.panes.likn import LiknPane
from knscope.tui.panes.likn_groups import GROUPS, grouped, label_of
from knscope.tui.selection import Selection
from tests.tui.driver import Driver

SETS = (
    "at the thresholds", "top 6 of each", "shared answer token", "no shared token", "relation P36", "relation P37",
    "top 6, no shared token", "top 6, relation P36", "en + fr", "top 7, en + fr",
)  # fmt: skip


def test_grouped_folds_and_unfolds_every_line() -> None:
    frame = pl.DataFrame({"sets": SETS, "observed": [1.0] * len(SETS)})
    folded = grouped(frame, ())
    assert folded["label"].to_list() == [
        "at thresholds", "top 6 of each", "▸ relations (2)", "▸ pairs (1)", "▸ answer tokens (2)",
    ]  # fmt: skip
    unfolded = grouped(frame, GROUPS)
    assert set(SETS) <= set(unfolded["sets"]) and unfolded.height == len(SETS) + len(GROUPS)
    assert unfolded["sets"].is_unique().all(), "the cursor stays on its line"
    assert unfolded["label"].to_list()[2:6] == ["▾ relations (2)", "  P36", "  P36, top 6", "  P37"]
    assert label_of("top 7, en + fr") == "  en + fr, top 7"
    assert grouped(frame.clear(), ()).is_empty()


@pytest.mark.parametrize(("size", "shown"), [((80, 20), False), ((120, 40), True)])
async def test_matrix_gives_way_where_the_controls_would_have_no_rows(
    workbench: Callable[..., Knscope], size: tuple[int, int], shown: bool
) -> None:
    async with workbench().run_test(size=size) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.likn")
        await driver.until(lambda: driver.table("likn").row_count, "the controls are drawn")
        pane, row = cast("LiknPane", driver.pane("likn")), driver.table("queries").current
        assert pane.query_one(".summary").display is shown
        reader, everything = pane.session.reader, pane.session.shown()
        assert reader is not None and everything is not None and row is not None
        fact = replace(everything, selection=Selection("fact").at(row))
        pane.on_resize()  # asks for the controls once more after the next refresh
        pane.paint(pane.load(reader, fact), fact)
        await pilot.pause()
        assert "neuron" in driver.table("likn").frame.columns, "a fact entered meanwhile keeps its neurons"
