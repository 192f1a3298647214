"""How the workbench follows a store that is being written: no box without a title, no pane left behind, no line drawn twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from knscope import store
from knscope.analysis.likn import table as likn_table
from knscope.store import runs
from knscope.tui.app import Knscope
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.workbench import watcher
from knscope.tui.workbench.desk import ModelDesk
from knscope.tui.workbench.watcher import BUSY_REST, LEFT, OTHER_REST, REST, TYPING, Watcher
from tests.tui.driver import Driver
from tests.tui.made_store import CONFIG, write_shards

Make = Callable[..., Knscope]
WIDE, NARROW = (120, 40), (80, 24)


async def test_watcher_tells_slow_panes_of_new_shards_at_most_twice_a_second(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.create(tmp_path / "busy.knstore")
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, 2)
    told, painted = list[float](), list[int]()
    load, paint = QueriesPane.load, QueriesPane.paint

    def slow(self: QueriesPane, *given: Any) -> pl.DataFrame:
        time.sleep(0.6)
        return load(self, *given)

    def counted(self: QueriesPane, *given: Any) -> None:
        painted.append(given[0][0].height)
        paint(self, *given)

    monkeypatch.setattr(QueriesPane, "load", slow)
    monkeypatch.setattr(QueriesPane, "paint", counted)
    monkeypatch.setattr(ModelDesk, "find_answer", lambda self: told.append(time.monotonic()))
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        painted.clear()
        for facts in range(3, 100):  # a shard comes more often than the pane loads, and goes on coming
            write_shards(path, run, facts)
            await pilot.pause(0.15)
            if len(painted) >= 2:
                break
        assert len(painted) >= 2 and driver.table("queries").row_count == painted[-1]
    assert min(after - before for before, after in pairwise(told)) >= 0.5


async def test_watcher_holds_new_results_back_while_keys_come(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still between two looks, so that no machine is too slow for it."""
    path = store.create(tmp_path / "busy.knstore")
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, 2)
    told, looked, clock = list[float](), list[float](), [float(int(time.monotonic()))]
    look = Watcher.look

    def counted(self: Watcher) -> None:
        if not self.looking:
            looked.append(clock[0])
        look(self)

    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Watcher, "look", counted)
    monkeypatch.setattr(ModelDesk, "find_answer", lambda self: told.append(clock[0]))
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()

        async def results_after(seconds: float, *, key: float | None = None) -> int:
            """How often the panes are told of a shard `seconds` after the last time, with a key so many seconds before."""
            await driver.until(lambda: not any(pane.loading_still for pane in driver.bench.seen_panes()))
            await looks(2)
            write_shards(path, run, len(told) + 3)
            before, clock[0] = len(told), clock[0] + seconds
            driver.app.last_key = clock[0] - key if key is not None else -TYPING
            await looks(3)
            return len(told) - before

        async def looks(many: int) -> None:
            """Wait for so many whole looks."""
            seen = len(looked)
            await driver.until(lambda: len(looked) >= seen + many and not driver.bench.watcher.looking)

        assert await results_after(REST / 2) == 0
        assert await results_after(REST / 2) == 1, "no key comes"
        assert await results_after(BUSY_REST - 0.125, key=TYPING / 2) == 0, "a key came just now"
        assert await results_after(0.125, key=TYPING / 2) == 1, "keys go on, but results have waited long enough"
        assert await results_after(REST, key=TYPING / 2) == 0
        assert await results_after(0.0, key=TYPING) == 1, "no key comes any more"


async def test_results_of_another_model_wait_while_nobody_is_there_and_come_with_the_next_key(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.create(tmp_path / "left.knstore")
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, 2)
    clock = [float(int(time.monotonic()))]
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(watcher, "EVERY", 0.02)
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        reader = driver.bench.session.reader
        assert reader is not None

        async def more_after(seconds: float, *, key: bool = False) -> bool:
            """Whether another model's shard, `seconds` after the last round, is taken in."""
            await driver.until(lambda: not any(pane.loading_still for pane in driver.bench.seen_panes()))
            await pilot.pause(0.1)
            write_shards(path, run, reader.generation + 5, models=("other",), first=reader.generation + 4)
            before, clock[0] = reader.generation, clock[0] + seconds
            driver.app.last_key = clock[0] if key else 0.0
            await pilot.pause(0.25)
            return reader.generation > before

        assert await more_after(LEFT + 1), "what came last was of the model looked at"
        assert not await more_after(OTHER_REST + 1)
        assert await more_after(1.0, key=True), "somebody is there again"


async def test_watcher_reloads_panes_only_for_results_of_the_viewed_model(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.create(tmp_path / "two.knstore")
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, 12)
    loaded, drawn = list[int](), list[int]()
    load, build = QueriesPane.load, likn_table.build

    def counted(self: QueriesPane, *given: Any) -> pl.DataFrame:
        loaded.append(1)
        return load(self, *given)

    def noted(*given: Any, **named: Any) -> Any:
        drawn.append(1)
        return build(*given, **named)

    monkeypatch.setattr(QueriesPane, "load", counted)
    monkeypatch.setattr(likn_table, "build", noted)
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.until(lambda: driver.table("likn").row_count, "the controls are drawn")
        reader = driver.bench.session.reader
        assert reader is not None
        (viewed,) = reader.models()
        before = len(loaded)
        write_shards(path, run, 3, models=("bert-made", "other"))
        await driver.until(lambda: len(driver.bench.session.stored.models) == 2, "the other model is offered")
        await pilot.pause(0.3)
        assert len(loaded) == before and len(drawn) == 1
        assert set(reader.changed) == {viewed, next(name for name in reader.models() if name != viewed)}
        write_shards(path, run, 15, first=12)
        await driver.until(lambda: driver.table("queries").row_count == 45, "three facts more are shown")


async def test_likn_pane_ends_its_drawing_notice_when_a_threshold_is_turned_and_turned_back(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A threshold turned and turned back asks anew for what is being drawn."""
    path = store.create(tmp_path / "again.knstore")
    write_shards(path, runs.new_run(path, CONFIG), 12)
    done, build = threading.Event(), likn_table.build

    def held_up(*given: Any, **named: Any) -> Any:
        done.wait(30)
        return build(*given, **named)

    monkeypatch.setattr(likn_table, "build", held_up)
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.until(lambda: "are drawn" in driver.title("likn"), "the controls are said to be drawn")
        for turn in ("threshold.up", "threshold.down"):
            await driver.do(turn)
            await driver.settled()
        await pilot.pause(0.8)
        done.set()
        await driver.until(lambda: driver.table("likn").row_count, "the controls are drawn")
        await driver.until(lambda: not driver.pane("likn").loading_still, "nothing is on its way")
        assert "are drawn" not in driver.title("likn")


async def test_panes_have_titles_before_the_store_is_read(workbench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watcher, "look", lambda self: None)
    async with workbench().run_test(size=WIDE) as pilot:
        titles = {pane.id: str(pane.border_title) for pane in Driver(pilot).bench.query(Pane)}
    assert {name.lower() for name in titles.values()} >= {
        "queries",
        "thresholds",
        "layers",
        "likn",
        "dkn",
        "sql",
        "runs",
    }
    assert all(titles.values())


async def test_frame_table_repaints_only_lines_whose_values_changed(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await driver.until(lambda: driver.table("likn").row_count, "the controls are drawn")
        table, drawn = driver.table("queries"), list[int]()
        render = FrameTable.render_line
        note = lambda self, y: drawn.append(y) or render(self, y)  # type: ignore[func-returns-value]  # noqa: E731
        monkeypatch.setattr(FrameTable, "render_line", note)
        every = table.frame
        less = every.filter(pl.arange(0, every.height) != 33)  # below what is seen
        other = every.with_columns(rank=pl.when(pl.arange(0, every.height) == 4).then(7).otherwise("rank"))
        seen = []
        for frame in (less, every, other):
            drawn.clear()
            table.show(frame, table.columns, ("query",))
            await pilot.pause(0.2)
            seen.append(sorted(set(drawn)))
        assert seen == [[], [], [5]]


async def test_frame_table_has_the_same_layout_after_resizing_there_and_back(workbench: Make) -> None:
    async with workbench().run_test(size=NARROW) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.likn")
        table = driver.table("likn")
        await driver.until(lambda: table.row_count, "the controls are drawn")
        await pilot.pause(0.1)
        before = table.virtual_size, table.scrollable_content_region
        for size in (WIDE, NARROW):
            await pilot.resize_terminal(*size)
            await driver.settled()
            await pilot.pause(0.1)
        assert (table.virtual_size, table.scrollable_content_region) == before
