"""Sort by the marked column, filter any pane, jump to any fact or neuron, take changes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from knscope.tui.app import Knscope
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.workbench.filtering import FIELD
from knscope.tui.workbench.places import Places
from tests.tui.driver import Driver

Make = Callable[..., Knscope]


async def test_a_pane_is_sorted_by_its_marked_column_and_filtered_where_one_is(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        table = driver.table("queries")
        await driver.do("cursor.right", "cursor.right", "cursor.right", "queries.sort")
        marked = table._shown[3][0].name
        assert table.sorted_by == (marked, table._falls(marked))
        await driver.do("queries.sort")
        assert table.sorted_by == (marked, not table._falls(marked))
        await driver.do("queries.sort")
        assert table.sorted_by is None

        await driver.do("go.in", "go.in", "tab.likn")
        neurons = driver.table("likn")
        await driver.until(lambda: "langs" in neurons.frame.columns, "neurons of the fact")
        every = neurons.row_count
        await pilot.press("slash")
        await driver.type("=en+zh")
        assert driver.bench.query_one(f"#{FIELD}").has_focus
        assert set(neurons.frame["langs"]) <= {"en zh"} and neurons.row_count < every
        assert "/=en+zh" in driver.title("likn") and not driver.bench.query_one(QueriesPane).filter_text
        await pilot.press("enter")
        assert neurons.has_focus and not driver.bench.query_one(f"#{FIELD}").display
        await driver.do("go.out")
        assert neurons.row_count == every and neurons.has_focus and "/" not in driver.title("likn").partition("|")[0]
        assert driver.app.session.selection.level == "fact", "escape cleared the filter and nothing else"


async def test_palette_finds_facts_by_words_and_neurons_by_address(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        places = Places(driver.bench)
        (neuron,) = [hit async for hit in places.search("2:7")]
        neuron.command()
        await driver.until(lambda: "2:7" in driver.title("neuron"), "the neuron is shown")
        found = [hit async for hit in places.search("peru")]
        assert [str(hit.match_display) for hit in found] == ["Fact Peru → Lima"] * 2
        found[1].command()
        await driver.until(lambda: driver.app.session.selection.level == "fact", "the fact is selected")
        row = driver.table("queries").current
        assert row is not None and row["subject"] == "Peru"
        assert not [hit async for hit in places.search("p")]


async def test_undo_takes_back_thresholds_choices_and_filters_one_at_a_time(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        session, queries = driver.app.session, driver.bench.query_one(QueriesPane)
        start = session.view
        await driver.do("threshold.down", "threshold.down", "threshold.all-down", "queries.known")
        await pilot.press("slash")
        await driver.type("peru")
        await pilot.press("enter")
        assert queries.filter_text == "peru" and session.view is not None and session.view.known
        await driver.do("undo")
        assert queries.filter_text == "" and session.view.known
        await driver.do("undo")
        assert not session.view.known and session.view.tau["fr"] == pytest.approx(0.19)
        await driver.do("undo")
        assert session.view.tau["fr"] == pytest.approx(0.20) and session.view.tau["en"] == pytest.approx(0.28)
        await driver.do("undo")
        assert session.view == start, "the held key is one step"
        await driver.do("undo")
        assert "Nothing to take back" in driver.said()[-1]
