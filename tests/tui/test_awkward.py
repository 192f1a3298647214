"""What a person does that nobody planned for: nothing ends the workbench, nothing typed goes elsewhere, nothing is misnamed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from textual.events import Key

from knscope.tui.app import Knscope
from knscope.tui.config import Settings
from knscope.tui.panes.comparison import agreement, side_by_side
from knscope.tui.panes.sql import SqlPane
from knscope.tui.widgets import cells
from knscope.tui.widgets.sql_editor import SqlEditor
from knscope.tui.workbench import desk
from tests.tui.driver import Driver

Make = Callable[..., Knscope]
WIDE = (120, 40)


def test_percent_never_shows_a_positive_share_as_zero() -> None:
    shown = {None: "–", 0.0: "0.0%", -1e-5: "0.0%", 1e-5: "<0.1%", 0.0005: "0.1%", 0.5: "50.0%"}
    assert [cells.percent(value) for value in shown] == list(shown.values())
    assert cells.signed(-1e-5) == "+0.000"


async def test_sql_result_of_any_type_is_copied_and_exported_and_no_path_crashes_the_workbench(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        copied = list[str]()
        monkeypatch.setattr(driver.bench.exporting, "copy_text", lambda text, said: copied.append(text))
        await driver.do("tab.sql")
        driver.bench.query_one(SqlPane).put("SELECT 1 AS _a, [1, 2] AS l, MAP {'k': 1} AS m")
        await driver.do("sql.run")
        await driver.until(lambda: driver.table("sql").row_count, "rows")
        await driver.do("sql.leave", "take.copy-table")
        assert copied[0].splitlines()[0].split("\t") == ["_a", "l", "m"] and "[1, 2]" in copied[0]
        for name, said in (
            ("x.csv", "1 row written"),
            ("~nosuch/x.csv", "no user of that name"),
            ("file/x.csv", "cannot be written"),
            (f"{'a' * 300}.csv", "cannot be written"),
            ("none/x.parquet", "cannot be written"),
        ):
            await pilot.press("e")
            await driver.until(lambda: pilot.app.screen.query("#field-file"), "the form is there")
            pilot.app.screen.query_one("#field-file").value = name  # type: ignore[attr-defined]
            driver.app.clear_notifications()
            await pilot.press("enter")
            refused = pilot.app.screen.query(".bad")  # a form that is refused stays, with what was typed
            told = lambda: driver.said() or [str(each.render()) for each in refused if str(each.render())]  # noqa: B023, E731
            await driver.until(told, "it is told")
            assert said in " ".join(told()), name
            if pilot.app.screen is not driver.bench:
                await pilot.press("escape")
        assert pl.read_csv(tmp_path / "x.csv").columns == ["_a", "l", "m"]
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["file", "x.csv"]


async def test_failing_sql_statement_clears_the_rows_of_the_one_before(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        for text, rows in (("SELECT 1 AS a", 1), ("SELECT nope", 0)):
            driver.bench.query_one(SqlPane).put(text)
            await driver.do("sql.run")
            await driver.until(lambda: driver.table("sql").row_count == rows, text)  # noqa: B023 - waited for at once


async def test_tab_in_the_sql_editor_keeps_the_focus(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        await driver.type("select 1 as a")
        await pilot.press("tab", "tab")
        await driver.type(" limit 1")
        assert driver.bench.query_one(SqlEditor).text == "select 1 as a limit 1"


async def test_escape_and_a_key_in_one_packet_are_handled_as_two_keys(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("go.in", "go.in")
        level, cursor = driver.bench.session.selection.level, driver.table("queries").cursor
        pilot.app.post_message(Key("alt+j", "j"))
        await pilot.pause(0.3)
        await driver.settled()
        assert driver.bench.session.selection.level != level and driver.table("queries").cursor == cursor + 1


async def test_pane_titles_name_the_chosen_relation_instead_of_everything(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        driver.bench.session.change(relations=("P30",))
        driver.bench.follow()
        await driver.settled()
        for pane in ("queries", "layers", "likn"):
            assert "P30" in driver.title(pane) and "everything" not in driver.title(pane)
        driver.bench.session.change(relations=())
        driver.bench.follow()
        await driver.settled()
        assert all("everything" in driver.title(pane) for pane in ("queries", "layers", "likn"))


async def test_dialog_of_missing_results_does_not_open_while_a_person_types(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, counted = threading.Event(), desk.lacking

    def slow(*given: Any) -> Any:
        counting.wait(10)
        return counted(*given)

    monkeypatch.setattr(desk, "lacking", slow)
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        for typed, told in ((True, "are missing; r shows them"), (False, "")):
            counting.clear()
            driver.app.clear_notifications()
            await pilot.press("r")
            if typed:
                await pilot.press("down")
            counting.set()
            await driver.until(lambda: driver.said() or pilot.app.screen is not driver.bench, "it is counted")
            assert (pilot.app.screen is driver.bench) == typed and told in "".join(driver.said())


async def test_agreement_is_the_mean_jaccard_index_of_the_neurons(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        reader, view = driver.bench.session.reader, driver.bench.session.view
        assert reader is not None and view is not None
        higher = view.with_(taus=tuple((lang, 0.5) for lang in view.langs))
        assert set(agreement(reader, view, view).values()) == {1.0}
        found = agreement(reader, view, higher)
        of_a, of_b = (
            {(r["fact"], r["layer"], r["neuron"]) for r in reader.kn(one).filter(lang="en").to_dicts()}
            for one in (view, higher)
        )
        facts = {fact for fact, _, _ in of_a | of_b}
        parts = [[{n for n in one if n[0] == fact} for one in (of_a, of_b)] for fact in facts]
        assert found["neurons in both, en"] == pytest.approx(
            sum(len(a & b) / len(a | b) for a, b in parts) / len(parts)
        )
        other = next(model for model in reader.models() if model != view.model)
        assert agreement(reader, view, view.with_(model=other)) == {}
        assert "Jaccard" in side_by_side(view, higher, {}, {}, found).plain
        lines = side_by_side(view, view.with_(model=other), {}, {}).plain.splitlines()
        assert {len(line.rstrip()) for line in lines[:2]} == {64}, "a wider line breaks in a terminal of 80"
        assert side_by_side(view, view, {}, {}).plain.startswith("no setting differs")


@pytest.mark.parametrize("key", ["q", "escape", "ctrl+c", "ctrl+q"])
async def test_the_welcome_screen_is_left_by_every_key_it_names(key: str) -> None:
    app = Knscope(None, Settings(animations="none"))
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        await pilot.press(key)
        await pilot.pause(0.1)
        assert app._exit


async def test_a_run_whose_file_holds_nonsense_is_not_resumed(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        for config in (
            {"models": [{"source": "m", "langs": []}], "methods": ["\x1b[2J"]},
            {"models": 3},
            {"nosuch": 1},
        ):
            driver.app.clear_notifications()
            driver.bench.runs.start_from({"data": "demo", **config})
            await pilot.pause()
            assert driver.said()[-1].startswith("The run cannot be started: ")
