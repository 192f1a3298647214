"""What the workbench writes and draws from values alone, and the edits and checks panes over a store that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.cells import cell_len
from textual.widgets import Static

from knscope.analysis.stored import standing
from knscope.tui.app import Knscope
from knscope.tui.config import Settings
from knscope.tui.panes.dkn import Pairs, rates_text
from knscope.tui.panes.tables import interval
from knscope.tui.terminal.gpu import described
from knscope.tui.widgets.roc_plot import LEFT, roc_text
from knscope.tui.workbench.exporting import unused
from knscope.tui.workbench.runs import arguments
from tests.analysis.planted_store import PlantedStore
from tests.tui.driver import Driver

Make = Callable[..., Knscope]


def test_run_form_builds_the_arguments_of_knscope_run() -> None:
    values = {"model": "a, b", "data": "demo", "langs": "", "facts": "all", "method": "amig", "what": "attribution"}
    given = "run s.knstore --model=a --model=b --data=demo --facts all --method amig --what attribution --json"
    assert arguments(Path("s.knstore"), values) == given.split()


def test_a_form_for_the_same_data_keeps_what_the_last_run_called_their_columns() -> None:
    values = {"model": "m", "data": "f.csv", "langs": "", "facts": "", "method": "", "what": ""}
    last = {"data": "f.csv", "columns": ["subject=s"]}
    assert "--column=subject=s" in arguments(Path("s.knstore"), values, last)
    assert "--column=subject=s" not in arguments(Path("s.knstore"), values, {**last, "data": "g.csv"})


def test_gpus_lists_name_and_memory_and_skips_lines_it_cannot_read() -> None:
    assert described("NVIDIA H100 80GB HBM3, 12411, 81559, 34") == "H100 12.1/79.6 GB 34%"
    assert described("NVIDIA GB10, [N/A], [N/A], 3") == ""


def test_cells_show_an_interval_with_two_digits() -> None:
    assert interval("~11.2…112.4") == "~[11…112]"
    assert interval("0.00394 … 0.2081") == "[0.0039…0.21]"
    assert interval("~-4.81…0.08") == "~[-4.8…0.08]", "rough, and still so"
    assert (interval("unbounded"), interval(None)) == ("unbounded", "–")


def test_unused_returns_a_file_name_that_is_not_taken(tmp_path: Path) -> None:
    wanted = tmp_path / "likn.csv"
    assert unused(wanted) == wanted
    wanted.touch()
    (tmp_path / "likn-2.csv").touch()
    assert unused(wanted) == tmp_path / "likn-3.csv"


def test_roc_plot_fills_the_area_below_the_curve_and_dots_chance() -> None:
    width, height = 20 + LEFT, 12
    perfect = roc_text(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), width, height).plain.splitlines()
    assert all(line[LEFT:].count("█") == 20 for line in perfect[:-1])
    worst = roc_text(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]), width, height).plain
    assert "█" not in worst and worst.count("·") == 20


def test_dkn_rates_leave_out_a_control_without_pairs() -> None:
    rows = [("kn", 3, 1, 0), ("drop_control", 0, 0, 0)]
    counts = pl.DataFrame(rows, schema=("role", "pairs", "paper", "strict"), orient="row")
    lines = rates_text(Pairs(pl.DataFrame(), counts, ())).plain.splitlines()
    assert "33.3%" in lines[1] and lines[3].split() == ["matched", "drops", "0"]


async def test_enter_leads_from_edits_to_facts_and_from_checks_to_the_curve(tmp_path: Path) -> None:
    made = PlantedStore(tmp_path / "planted.knstore")
    made.attribute()
    made.edit()
    made.claim()
    async with Knscope(made.path, Settings(animations="none")).run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.edits")
        table = driver.table("edits")
        assert {"1", "2"} <= set(table.frame["table"]) and "[" in "".join(table.frame["_specific"])
        names = ("table", "lang", "edited", "d", "verdict")
        assert [column.name for column, _ in table._shown][:5] == list(names)
        wide = {column.name: width for column, width in table._shown}
        longest = {
            column.name: max(map(cell_len, map(column.format, table.frame[column.name]))) for column in table.columns
        }
        assert not [name for name in names if wide[name] < longest[name]] and wide["edited"] >= len("amig, equal size")
        row = table.current
        assert row is not None
        await driver.do("go.in")
        assert table.frame.height == row["facts"] and table.frame["p_suppressed"].null_count() == 0
        assert driver.title("edits").startswith(f"edits › table 1 › {row['edited']} read in {row['lang']}")
        await driver.do("go.out")
        assert "edited" in table.frame.columns
        await driver.do("tab.checks")
        assert "probability" in driver.table("checks").frame["judge"].to_list()
        assert "wrong claims" in str(driver.bench.query_one("#roc", Static).render())


async def test_dkn_pane_labels_pairs_as_the_command_does_at_every_selection(workbench: Make) -> None:
    from knscope.analysis.dkn import table as dkn_table

    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.dkn", "focus.queries")
        reader, view = driver.app.session.reader, driver.app.session.view
        assert reader is not None and view is not None
        wanted = dkn_table.pairs(reader, view).frame
        counts = dict(wanted.group_by("kind").len().iter_rows())
        assert counts["degenerate"] and counts["degenerate"] < wanted.height
        said = f"{counts['degenerate']:,} degenerate · {counts.get('redundant', 0):,} redundant"
        assert said in driver.title("dkn")
        key = ("fact", "lang", "layer_a", "neuron_a", "layer_b", "neuron_b")
        kinds = {row[:6]: row[6] for row in wanted.select(*key, "kind").iter_rows()}
        await driver.do("go.in", "go.in")  # one fact alone: whom its neurons serve is still asked of all facts
        shown = driver.table("dkn").frame
        assert 0 < shown.height < wanted.height
        assert {row[:6]: row[6] for row in shown.select(*key, "serves").iter_rows()} == {
            one: kind for one, kind in kinds.items() if one[0] == shown["fact"][0]
        }


async def test_dkn_pane_shows_larger_sets_and_comes_back_to_pairs(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.dkn")
        await driver.settled()
        pairs = driver.table("dkn").frame
        await driver.do("dkn.strict", "dkn.strict")
        await driver.until(lambda: "larger sets" in driver.title("dkn"), "larger sets are shown")
        found = driver.table("dkn").frame
        assert found["size"].unique().to_list() == [3], "no run was asked for larger ones"
        unread = found.filter(pl.col("missing") > 0)
        assert unread["sets"].null_count() == unread.height > 0, "what is not read is not 0"
        await driver.do("dkn.strict")
        await driver.until(lambda: "paper pairs" in driver.title("dkn"), "pairs are shown again")
        assert driver.table("dkn").frame.equals(pairs)


async def test_panes_say_how_good_the_integrals_are_where_there_is_room(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = standing.Integrals(200, 0.25, 1e-4, 2e-3)
    monkeypatch.setattr(standing, "integrals", lambda reader, view: found)
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        for tab in ("likn", "dkn"):
            await driver.do(f"tab.{tab}")
            await driver.settled()
            pane = driver.pane(tab)
            await driver.until(lambda pane=pane: pane.foot.display, "the last line is there")
            assert f"integrals: {found}" in pane.help_text()
