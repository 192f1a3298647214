"""Sort by the marked column, filter any pane, jump to any fact or neuron, take changes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from textual.widgets import Static

from knscope.analysis.neurons import notes
from knscope.tui.app import Knscope
from knscope.tui.dialogs.compare import CompareScreen
from knscope.tui.messages import NeuronWanted
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.widgets.frame_table import FrameTable
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


async def test_a_neuron_that_was_named_is_shown_with_its_name_at_once_and_found_by_it(
    workbench: Make, made_store: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(made_store, tmp_path / "a.knstore"))
    async with workbench(place).run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        driver.bench.post_message(NeuronWanted(2, 7))
        await driver.until(lambda: "2:7" in driver.title("neuron"), "the neuron is shown")
        await pilot.press("w")
        await driver.type("capital cities")
        await pilot.press("enter", "enter", "enter")
        said = driver.pane("neuron").query_one(".summary", Static)
        await driver.until(lambda: "capital cities" in str(said.render()), "the name is shown")
        session = driver.app.session
        assert session.reader is not None and session.view is not None
        for tag, neurons in (("one", ((0, 1), (2, 7))), ("other", ((2, 7), (3, 9)))):
            for layer, neuron in neurons:
                kept = notes.read(session.reader, session.view.model, layer, neuron)
                notes.write(place, session.view.model, layer, neuron, replace(kept, tags=(*kept.tags, tag)))
                session.reader.poll()
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("down", "down", "enter")  # after the other model
        await pilot.pause()
        await pilot.press("end", "enter")
        await driver.until(lambda: isinstance(pilot.app.screen, CompareScreen), "the comparison of two lists")
        await pilot.pause()
        found = pilot.app.screen.query_one(FrameTable).frame
        assert found.select("where", "layer", "neuron").rows() == [
            ("only in A", 0, 1),
            ("in both", 2, 7),
            ("only in B", 3, 9),
        ]
        assert found["name"][1] == "capital cities"
        await pilot.press("escape")
        (hit,) = [hit async for hit in Places(driver.bench).search("capital ci")]
        assert str(hit.match_display) == "Neuron 2:7 capital cities"


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


async def test_lists_of_choices_apply_as_one_moves_and_give_all_back_when_left(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        session = driver.app.session
        start = session.view
        assert start is not None
        await pilot.press("m")
        await pilot.pause()
        await pilot.press("down")
        await driver.until(lambda: session.view is not None and session.view.model != start.model, "the marked model")
        await driver.until(lambda: driver.pane("queries").painted == session.shown(), "is shown behind the list")
        await pilot.press("escape")
        await driver.until(lambda: session.view == start, "leaving brings the first one back")
        await pilot.press("L")
        await pilot.pause()
        await pilot.press("space")
        await driver.until(lambda: session.view is not None and session.view.langs == ("fr", "zh"), "two languages")
        await pilot.press("down", "space")
        await driver.until(lambda: session.view is not None and session.view.langs == ("zh",), "one language")
        await pilot.press("enter")
        await pilot.pause()
        await driver.do("undo")
        assert session.view == start, "what was tried on the way is one step"


async def test_comparison_lists_the_neurons_of_a_of_both_and_of_b(workbench: Make) -> None:
    async with workbench().run_test(size=(80, 24)) as pilot:
        driver = await Driver(pilot).ready()
        driver.bench.set_threshold("tau:en", 0.6)
        await driver.do("go.in", "go.in")
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("end", "enter")  # B: thresholds at their defaults
        await driver.until(lambda: isinstance(pilot.app.screen, CompareScreen), "the comparison")
        await pilot.pause()
        screen = pilot.app.screen
        table = screen.query_one(FrameTable)
        assert table.region.height > 4 and screen.region.contains_region(table.region), "some of them are seen"
        every, kn = table.frame, driver.app.session.reader.kn  # type: ignore[union-attr]
        shown = driver.app.session.shown()
        assert shown is not None
        b = shown.selection.narrow(shown.view.with_tau("en", 0.3))
        of_b = kn(b).select("lang", "layer", "neuron").unique()
        assert every.filter(pl.col("where") != "only in A").height == of_b.height
        assert set(every.filter(lang="en")["where"]) == {"in both", "only in B"}
        assert every.filter(where="only in B")["rel_a"].is_null().all()
        await pilot.press("w", "w", "w")
        await pilot.pause()
        assert set(table.frame["where"]) == {"only in B"}
