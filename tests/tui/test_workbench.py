"""The workbench as one drives it: what follows what."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from textual.events import Key
from textual.widgets import Input, Static

from knscope import store
from knscope.analysis.runs import protocol
from knscope.analysis.runs.status import RunStatus
from knscope.store import runs
from knscope.store.shards import write_shard
from knscope.tui import keymap
from knscope.tui.app import Knscope
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.panes.runs import describe, headline
from knscope.tui.panes.sql import SqlPane
from knscope.tui.selection import Selection
from knscope.tui.widgets.layer_grid import LayerGrid
from knscope.tui.widgets.sql_editor import SqlEditor
from knscope.tui.widgets.threshold_bar import ThresholdBar
from tests.tui import made_store
from tests.tui.driver import Driver
from tests.tui.made_store import CONFIG, write_shards

Make = Callable[..., Knscope]
WIDE, NARROW = (120, 40), (80, 24)


def test_opening_imports_nothing_heavy_before_the_first_paint() -> None:
    heavy = ("torch", "transformers", "duckdb", "polars", "pyarrow", "scipy", "numpy")
    code = f"import sys, knscope.tui.app; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_workbench_fills_every_pane_from_the_store(workbench: Make, size: tuple[int, int]) -> None:
    async with workbench().run_test(size=size) as pilot:
        driver = await Driver(pilot).ready()
        assert driver.table("queries").row_count == 36
        await driver.do("tab.layers")
        bins = driver.bench.query_one(LayerGrid).bins
        assert bins is not None and bins.columns == ("en", "fr", "zh", "LIKN", "DKN")
        await driver.do("tab.likn")
        await driver.until(lambda: driver.table("likn").row_count, "the controls are drawn")
        await driver.do("tab.dkn")
        assert driver.table("dkn").row_count > 0
        await driver.do("tab.neuron")
        assert driver.table("neuron").row_count > 0
        assert not [pane.id for pane in driver.bench.seen_panes() if pane.note.display]


async def test_enter_narrows_the_selection_to_a_query_and_escape_widens_it(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        for level in ("relation", "fact", "query"):
            await driver.do("go.in")
            assert driver.app.session.selection.level == level
        assert driver.title("queries").startswith("queries · everything › P30 › P30-01 › query")
        for level in ("fact", "relation", "everything", "everything"):
            await driver.do("go.out")
            assert driver.app.session.selection.level == level
        await driver.do("go.back")
        assert driver.app.session.selection.level == "relation"


async def test_panes_follow_the_cursor_while_a_fact_is_selected(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("go.in", "go.in", "tab.likn", "focus.queries")
        first = driver.table("likn").frame
        await driver.do("cursor.down", "cursor.down", "cursor.down")
        assert driver.app.session.selection.fact == "P30-03"
        assert not driver.table("likn").frame.equals(first)


async def test_threshold_key_changes_every_pane_and_reset_restores_it(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        before = driver.table("queries").frame["n_kn"].sum()
        for _ in range(10):
            await driver.do("threshold.down")
        assert driver.app.session.view is not None
        assert driver.app.session.view.tau == {"en": 0.2, "fr": 0.2, "zh": 0.2}
        assert driver.table("queries").frame["n_kn"].sum() > before
        await driver.do("threshold.reset")
        assert driver.table("queries").frame["n_kn"].sum() == before


async def test_held_threshold_key_ends_at_its_last_value_and_drops_stale_results(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press(*["minus"] * 12, *["plus"] * 12)
        await pilot.pause(0.1)
        await driver.settled()
        assert driver.app.session.view is not None and driver.app.session.view.tau["en"] == pytest.approx(0.3)
        assert driver.pane("layers").painted == driver.app.session.shown()


async def test_threshold_bar_takes_typed_digits_and_refuses_a_value_out_of_range(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("threshold.type")
        await driver.type("0.45")
        await pilot.press("enter")
        await driver.settled()
        assert driver.app.session.view is not None and driver.app.session.view.tau["en"] == 0.45
        assert driver.bench.pane() is driver.pane("queries"), "digits mean panes again"
        await driver.do("threshold.type")
        await driver.type("7")
        await pilot.press("enter")
        await pilot.pause()
        assert "between 0 and 0.99" in driver.said()[-1]
        assert driver.bench.query_one(ThresholdBar).typed == ""
        assert driver.bench.pane() is driver.pane("thresholds"), "to type another"
        await pilot.press("escape")
        assert driver.bench.pane() is driver.pane("queries")


async def test_query_filter_finds_words_in_any_script_and_excludes_others(workbench: Make) -> None:
    async with workbench().run_test(size=NARROW) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("queries.filter")
        await driver.type("日本 !p36")
        await pilot.press("enter")
        await pilot.pause()
        assert driver.table("queries").frame["fact"].to_list() == ["P30-05"]
        await driver.do("go.out")
        assert driver.table("queries").row_count == 36


async def test_sorting_the_table_keeps_the_cursor_on_its_row(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("cursor.last")
        row = driver.table("queries").current
        await pilot.click("#queries FrameTable", offset=(40, 0))
        await pilot.pause()
        assert driver.table("queries").sorted_by is not None
        assert driver.table("queries").current == row


async def test_known_only_key_shows_only_facts_the_model_knows(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("queries.known")
        shown = driver.table("queries").frame
        assert 0 < shown.height < 36 and shown["known"].all()


async def test_enter_leads_from_a_bin_to_neurons_to_facts_to_the_query_row(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.layers", "cursor.down", "cursor.right", "go.in")
        assert driver.title("neuron").startswith("neurons › L1 fr")
        neurons = driver.table("neuron").frame
        assert neurons["layer"].unique().to_list() == [1]
        await driver.do("go.in")
        assert driver.title("neuron").startswith(f"neurons › L1 fr › 1:{neurons['neuron'][0]}")
        wanted = driver.table("neuron").frame["fact"][0]
        await driver.do("go.in")
        assert driver.app.session.selection.fact == wanted
        assert (driver.table("queries").current or {})["fact"] == wanted


async def test_a_neuron_opened_from_one_fact_shows_all_facts_that_it_serves_and_marks_that_one(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("cursor.down", "go.in", "go.in", "tab.neuron")
        await driver.until(lambda: "layer" in driver.table("neuron").frame.columns, "the list of neurons")
        shown = driver.app.session.shown()
        assert shown is not None and shown.selection.level == "fact"
        marked = driver.table("neuron").current or {}
        await driver.do("go.in")
        await driver.until(lambda: "fact" in driver.table("neuron").frame.columns, "one neuron")
        kn = driver.app.session.reader.kn(shown.view).filter(layer=marked["layer"], neuron=marked["neuron"])
        table = driver.table("neuron")
        assert set(table.frame.select("fact", "lang").iter_rows()) == set(kn.select("fact", "lang").iter_rows())
        assert table.frame["fact"].n_unique() > 1 and (table.current or {})["fact"] == shown.selection.fact


async def test_the_neuron_pane_shows_what_neurons_promote_at_any_width(
    workbench: Make, made_store: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(made_store, tmp_path / "a.knstore"))
    with store.open(place) as reader:
        reader.poll()
        models = reader.models()
        widths = reader.sql("SELECT layer, width FROM site WHERE model = $model", {"model": models[0]}).rows()
    about = [{"key": f"{layer:032}", "model": models[0], "layer": layer} for layer, _ in widths]
    words = {
        "promotes": [" Paris", "巴黎"],
        "suppresses": ["the", "\x1b[2J"],
        "promotes_by": [2.0, 1.0],
        "suppresses_by": [-2.0, -1.0],
    }
    rows = [
        {"key": f"{layer:032}", "neuron": neuron, **words, "length": 1.0, "seen": 0.5}
        for layer, width in widths
        for neuron in range(width)
    ]
    write_shard(
        place, runs.read_runs(place)[0].run, {"vocabulary": pl.DataFrame(about), "promoted": pl.DataFrame(rows)}
    )
    async with workbench(place).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.neuron")
        table = driver.table("neuron")
        (promotes,) = (column for column in table.columns if column.name == "promotes")
        assert promotes.text(table.frame["promotes"].to_list()[0]) == "Paris · 巴黎"
        await pilot.resize_terminal(80, 24)
        await driver.do("go.in")
        said = str(driver.pane("neuron").query_one(".summary", Static).render())
        assert "promotes   Paris · 巴黎" in said and "\x1b" not in said


async def test_choosing_a_model_shows_its_own_results(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        first = driver.table("queries").frame["p"]
        await pilot.press("m")
        await pilot.pause()
        await pilot.press("down", "enter")
        await pilot.pause()
        await driver.settled()
        assert driver.app.session.view is not None and driver.app.session.view.model.startswith("gpt-made")
        assert not driver.table("queries").frame["p"].equals(first)


async def test_choosing_languages_changes_the_shared_neurons(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("L")
        await pilot.pause()
        await pilot.press("down", "down", "space", "enter")
        await pilot.pause()
        await driver.settled()
        assert driver.app.session.view is not None and driver.app.session.view.langs == ("en", "fr")
        bins = driver.bench.query_one(LayerGrid).bins
        assert bins is not None and "zh" not in bins.columns


async def test_sql_pane_runs_statements_in_the_sandbox_and_explains_refusals(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        editor = driver.bench.query_one(SqlEditor)
        editor.text = "SELECT layer, count(*) AS n FROM view.kn GROUP BY ALL ORDER BY layer"
        await driver.do("sql.run")
        await driver.until(lambda: driver.table("sql").row_count == 4, "four layers")
        editor.text = "DROP TABLE query"
        await driver.do("sql.run")
        await driver.until(lambda: "not allowed" in str(driver.bench.query_one("#sql-state").render()), "a refusal")
        editor.text = "SELECT nonsense FROM query"
        await driver.do("sql.run")
        await driver.until(lambda: "nonsense" in str(driver.bench.query_one("#sql-state").render()), "the reason")
        await driver.do("sql.older", "sql.older")
        assert editor.text == "DROP TABLE query"


async def test_sql_pane_stops_a_heavy_statement_and_quitting_ends_one(workbench: Make) -> None:
    heavy = "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))"
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        editor, state = driver.bench.query_one(SqlEditor), driver.bench.query_one("#sql-state")
        sandbox = None
        for _ in range(2):
            editor.text = heavy
            await driver.do("sql.run")
            sandbox = driver.bench.query_one(SqlPane)._sandbox
            assert sandbox is not None and sandbox.busy
            asked = time.monotonic()
            await driver.do("sql.cancel")
            await driver.until(lambda: str(state.render()) == "cancelled", "it is cancelled")
            assert time.monotonic() - asked < 5
            editor.text = "SELECT 42 AS answer"
            await driver.do("sql.run")
            await driver.until(lambda: "1 row ·" in str(state.render()), "another process answers")
        editor.text = heavy
        await driver.do("sql.run")
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 5
    assert not sandbox.busy and sandbox._process is None


async def test_sql_editor_completes_column_names_with_tab(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        editor = driver.bench.query_one(SqlEditor)
        await driver.type("SELECT templ")  # in place of the example
        await pilot.press("tab")
        assert editor.text == "SELECT template"


async def test_sql_of_a_pane_opens_in_the_sql_pane_and_gives_the_same_rows(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.neuron")
        expected = driver.table("neuron").frame
        await pilot.press("Q")
        await pilot.pause()
        await pilot.press("o")
        await pilot.pause()
        await driver.do("sql.run")
        await driver.until(lambda: driver.table("sql").row_count, "rows")
        found = driver.table("sql").frame
        shared = [name for name in expected.columns if name in found.columns]  # the pane adds names that people gave
        assert len(shared) > 6 and found.select(shared).rows() == expected.select(shared).rows()


async def test_workbench_shows_results_as_a_run_stores_them(workbench: Make, tmp_path: Path) -> None:
    path = store.create(tmp_path / "filling.knstore")
    run = runs.new_run(path, CONFIG)
    runs.write_run(path, replace(runs.read_run(path, run), status="running", total=216, done=0))
    async with workbench(path).run_test(size=NARROW) as pilot:
        driver = Driver(pilot)
        queries = driver.pane("queries")
        await driver.until(lambda: "Nothing is stored yet" in str(queries.note.render()), "an empty store says so")
        write_shards(path, run)
        await driver.ready()
        assert driver.table("queries").row_count == 36 and not queries.note.display


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.mkdir(), "no store of results"),
        (lambda path: None, "does not exist"),
        (lambda path: (path.mkdir(), (path / "store.json").write_text('{"format": 99}')), "store format 99"),
        (lambda path: (path.mkdir(), (path / "store.json").write_text("{")), "cannot be read"),
    ],
)
async def test_workbench_tells_foreign_missing_newer_and_damaged_stores_apart(
    workbench: Make, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "odd.knstore"
    spoil(path)
    async with workbench(path).run_test(size=NARROW) as pilot:
        driver = Driver(pilot)
        await driver.until(lambda: says in str(driver.pane("queries").note.render()), says)


async def test_workbench_says_how_many_shards_were_set_aside_and_why_when_all_were(
    workbench: Make, tmp_path: Path
) -> None:
    path = store.create(tmp_path / "spoilt.knstore")
    for _ in range(2):
        write_shards(path, runs.new_run(path, CONFIG))
    spoilt = [one for one in path.rglob("prediction.parquet") if one.write_bytes(b"not what was written")]
    async with workbench(path).run_test(size=NARROW) as pilot:
        driver = Driver(pilot)
        said = lambda: " ".join(str(driver.pane("queries").note.render()).split())  # noqa: E731
        await driver.until(lambda: "set aside" in said(), "the shards set aside are told")
        assert f"{len(spoilt)} shards set aside, because" in said() and "prediction.parquet" in said()
        assert "knscope store verify" in said() and "empty" not in said()


async def test_failing_pane_shows_its_error_and_the_others_go_on(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from knscope.tui.panes.dkn import DknPane

    def broken(*_: object) -> object:
        raise KeyError("role")

    monkeypatch.setattr(DknPane, "load", broken)
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.dkn")
        assert "KeyError" in str(driver.pane("dkn").note.render())
        await driver.do("focus.queries", "threshold.down", "tab.likn")
        assert driver.pane("layers").painted == driver.app.session.shown()


async def test_workbench_restores_the_last_session(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("threshold.down", "go.in", "tab.dkn", "focus.queries", "quit")
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        assert driver.app.session.view is not None and driver.app.session.view.tau["en"] == pytest.approx(0.29)
        assert driver.app.session.selection.level == "relation" and driver.bench.open_tab == "dkn"


async def test_kept_thresholds_load_again_by_name(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("threshold.down")
        await pilot.press("b")
        await pilot.pause()
        await driver.type("loose")
        await pilot.press("enter")
        await pilot.pause()
        await driver.do("threshold.reset-all")
        await pilot.press("B")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert driver.app.session.view is not None and driver.app.session.view.tau["en"] == pytest.approx(0.29)


async def test_jump_key_goes_to_a_pane_by_letter_and_zoom_maximises_it(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("ctrl+o")
        assert driver.title("thresholds").startswith("(t) thresholds") and driver.title("likn").startswith("(i) LIKN")
        await pilot.press("t")
        await pilot.pause()
        assert driver.title("thresholds").startswith("thresholds")
        assert driver.bench.pane() is driver.pane("thresholds")
        await pilot.press("ctrl+o", "i")  # l is the layers' letter
        assert driver.bench.pane() is driver.pane("likn")
        await driver.do("go.out", "tab.likn", "pane.zoom")
        assert driver.bench.maximized is driver.pane("likn")
        assert "z all panes" in str(driver.bench.query_one("FooterLine").render())
        await driver.do("queries.filter")
        seen = [driver.bench.query_one(name).region for name in ("HeaderLine", "#pane-filter", "FooterLine")]
        assert all(region.height == 1 for region in seen) and seen[0].y == 0, "what is typed and waited for is seen"
        await pilot.press("escape")
        await driver.do("go.out")
        assert driver.bench.maximized is None


async def test_copy_key_says_what_it_copied(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("take.copy")
        assert driver.app.clipboard.startswith("P30-01\tP30\ten\tTanzania → Dodoma")
        assert driver.said()[-1].startswith("row copied")


async def test_keymap_binds_the_keys_of_every_place_and_u_resumes_the_marked_run(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[object]()
    monkeypatch.setattr(protocol, "start_job", lambda path, config: started.append(config) or "again")
    async with workbench().run_test(size=NARROW) as pilot:
        driver = await Driver(pilot).ready()
        bound = {
            found.id
            for node in (driver.bench, *driver.bench.query("*"))
            for _, found in node._bindings
        }  # fmt: skip
        assert {action.id for action in keymap.ACTIONS} <= bound
        await pilot.press("8")
        await driver.until(lambda: driver.table("runs").row_count, "the run is listed")
        await pilot.press("u")
        await driver.until(lambda: started, "the run is started again")


@pytest.mark.parametrize(("size", "seen"), [(NARROW, False), (WIDE, True)])
async def test_footer_names_as_many_keys_as_there_is_room_for(
    workbench: Make, size: tuple[int, int], seen: bool
) -> None:
    async with workbench().run_test(size=size) as pilot:
        driver = await Driver(pilot).ready()
        said = str(driver.bench.query_one("FooterLine").render())
        assert said.endswith("? help  q quit") and len(said) <= size[0] - 2
        assert ("c compare A|B" in said) == seen == ("n new question" in said)


async def test_resizing_switches_between_one_column_and_two(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        assert not driver.bench.narrow
        await pilot.resize_terminal(*NARROW)
        await pilot.pause(0.2)
        assert driver.bench.narrow
        await driver.settled()
        assert all(pane.region.right <= 80 for pane in driver.bench.seen_panes())


async def test_dkn_pane_fits_its_rates_to_its_height(workbench: Make) -> None:
    """A result may be there before the layout is: what was written for no room at all must not stay."""
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.dkn")
        rates = driver.pane("dkn").query_one(".summary", Static)
        for size, whole in (((120, 20), False), (WIDE, True)):
            await pilot.resize_terminal(*size)
            await driver.until(
                lambda whole=whole: ("members L0" in str(rates.render())) == whole, "the rates are told anew"
            )


async def test_keys_typed_ahead_reach_the_widget_that_earlier_keys_opened(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        for character in "/tan":
            driver.app.post_message(Key("slash" if character == "/" else character, character))
        await driver.until(lambda: driver.bench.query_one(QueriesPane).filter_text == "tan", "the filter has it all")
        assert driver.table("queries").row_count == 4
        await driver.do("tab.sql")
        for key in ("escape", "8"):
            driver.app.post_message(Key(key, key if len(key) == 1 else None))
        await driver.until(lambda: driver.bench.open_tab == "runs", "escape leaves the editor before the digit comes")
        for key in ("escape", "R", *"-b", "enter", *"x y", "enter", *"fr"):
            driver.app.post_message(Key("space" if key == " " else key, key if len(key) == 1 else None))
        await driver.until(lambda: len(pilot.app.screen.query(Input)) == 6, "the form is open")
        values = lambda: [field.value for field in pilot.app.screen.query(Input)][:3]  # noqa: E731
        await driver.until(lambda: values() == ["-b", "x y", "fr"], "each word is in its field")


async def test_pane_never_paints_the_result_of_an_older_selection(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        row = driver.table("queries").current
        assert row is not None
        for level in ("relation", "fact"):  # the first load ends while the second is asked for, and tells of it later
            driver.app.session.select(Selection(level).at(row))
            driver.bench.follow()
            time.sleep(0.15)
        await driver.settled()
        assert "neuron" in driver.table("likn").frame.columns


async def test_nudging_all_taus_below_the_floor_reads_the_dense_scores(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("threshold.all-down", "threshold.all-down", "threshold.all-up")
        session = driver.app.session
        assert session.view is not None and session.view.tau == pytest.approx({"en": 0.29, "fr": 0.19, "zh": 0.19})
        driver.bench.set_threshold("tau:en", 0.05)
        await pilot.pause(0.06)
        await driver.settled()
        before = driver.table("queries").frame.filter(lang="en")["n_kn"].sum()
        driver.bench.set_threshold("tau:en", 0.01)
        await driver.until(
            lambda: driver.table("queries").frame.filter(lang="en")["n_kn"].sum() > before, "more neurons"
        )
        await driver.settled()


async def test_chosen_columns_are_restored_in_the_next_session(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("C")
        await pilot.pause()
        await pilot.press("space", "end", "space", "enter")
        await pilot.pause()
        names = [column.name for column in driver.table("queries").columns]
        assert "fact" not in names and names[-1] == "query" and "relation" in names
        await driver.do("quit")
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        assert [column.name for column in driver.table("queries").columns] == names


async def test_comparison_picks_b_from_a_list_and_can_switch_to_it(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("down", "enter")
        shown = lambda: str(pilot.app.screen.query(Static).last().render())  # noqa: E731
        await driver.until(lambda: "B - A" in shown(), "the figures stand side by side")
        assert "gpt-made" in shown() and "neurons a fact, en" in shown()
        await pilot.press("b")
        await pilot.pause()
        assert driver.app.session.view is not None and driver.app.session.view.model.startswith("gpt-made")


async def test_sql_pane_reads_view_as_everything_and_here_as_the_selection(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("go.in", "go.in", "tab.sql")
        driver.bench.query_one(
            SqlEditor
        ).text = (
            "SELECT (SELECT count(DISTINCT fact) FROM view.kn) AS a, (SELECT count(DISTINCT fact) FROM here.kn) AS h"
        )
        await driver.do("sql.run")
        await driver.until(lambda: driver.table("sql").row_count, "an answer")
        assert driver.table("sql").frame.row(0) == (12, 1)


async def test_runs_pane_tells_at_once_why_a_run_ended_before_it_began(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PROGRAM", "not_there")
    place = store.create(tmp_path / "new.knstore")
    name = runs.new_run(place, CONFIG, "20200101-000000-abcdef")
    runs.write_run(place, replace(runs.read_run(place, name), status="cancelled"))
    async with workbench(place).run_test(size=WIDE) as pilot:
        driver = Driver(pilot)
        await pilot.press("8")
        await driver.until(lambda: driver.table("runs").row_count, "the cancelled run is listed")
        await pilot.press("u")
        await driver.until(lambda: driver.table("runs").row_count == 2, "another one is started")
        await pilot.press("g")
        said = driver.pane("runs").query_one("#run-text", Static)
        await driver.until(lambda: "No module named not_there" in str(said.render()), "its last line is shown")
        assert "its process ended before it began" in str(said.render())


async def test_runs_pane_and_header_tell_for_how_long_a_run_has_been_silent() -> None:
    record = runs.RunRecord("20261123-090600-a", "running", total=9, done=3)
    silent = RunStatus(record, "running", None, None, unheard=150.0)
    assert "silent for 2 min" in headline([silent]) and "not been heard for 2 min" in describe(silent)
    failures = tuple(f"row {number} failed" for number in range(6))
    failed = replace(silent, record=replace(record, failures=failures, started=100.0, heartbeat=160.0, computed=2))
    assert "row 2" in describe(failed) and "and 3 more" in describe(failed) and "row 5" in describe(failed, 20)
    assert "languages" not in describe(failed), "of questions and views there is no choice to tell"
    assert "took 60 s" in describe(failed) and "2 computed, 1 found stored" in describe(failed)
    assert "silent" not in headline([replace(silent, unheard=20.0)]) + describe(replace(silent, unheard=20.0))


async def test_store_of_one_language_opens_on_a_pane_that_shows_something(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_store, "LANGS", {"en": made_store.LANGS["en"]})
    async with workbench(made_store.make(tmp_path / "one.knstore")).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        assert driver.bench.open_tab == "neuron" and driver.table("neuron").row_count
        titles = {column.title for name in ("queries", "neuron") for column in driver.table(name).columns}
        assert not titles & {"lang", "langs", "stays", "promotes"}, "columns in which all values are the same"
        assert not [pane.id for pane in driver.bench.seen_panes() if pane.note.display]
        assert driver.bench.pane() is driver.pane("queries")
