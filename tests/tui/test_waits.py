"""No wait is silent: the header says what, since when and how to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from knscope.analysis.runs.desk import DeskState, Task
from knscope.tui.app import Knscope
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.messages import DeskMoved
from knscope.tui.panes.runs import headline
from knscope.tui.widgets.header_line import HeaderLine
from knscope.tui.workbench import desk as workbench_desk
from knscope.tui.workbench.desk import ModelDesk
from knscope.tui.workbench.waits import Wait
from tests.tui.driver import Driver

Make = Callable[..., Knscope]


def test_wait_says_what_since_when_and_how_to_stop_it() -> None:
    wait = Wait("counting", 10.0, lambda: None)
    assert wait.text(13.2) == "▶ counting · 3 s · ^x stops"
    assert Wait("counting", 10.0, lambda: None, stopping=True).text(200.0) == "▶ counting · 3 min · stopping …"
    assert Wait("counting", 10.0).text(10.0) == "▶ counting · 0 s"


async def test_header_tells_of_counting_and_of_the_worker_until_they_end_or_are_stopped(
    workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, left = threading.Event(), list[int]()
    monkeypatch.setattr(workbench_desk, "lacking", lambda *_: go_on.wait(20))
    monkeypatch.setattr(Knscope, "leave", lambda self, code=0: left.append(code))
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        header = driver.bench.query_one(HeaderLine)
        assert not header.wait and driver.bench.waits._timer is None, "nothing is drawn while nobody waits"

        await pilot.press("r")
        assert header.wait.startswith("▶ counting what everything lacks · 0 s · ^x stops")
        assert "counting what everything lacks" in str(header.render())
        await pilot.press("ctrl+x")
        await driver.until(lambda: not header.wait, "counting is dropped")
        go_on.set()
        await pilot.pause(0.05)
        assert not isinstance(pilot.app.screen, TextScreen), "what was dropped opens no dialog"

        seen = list[str]()
        load = lambda self, *_: seen.append(type(self._bench.app.screen).__name__)  # noqa: E731
        monkeypatch.setattr(ModelDesk, "_load_model", load)
        await pilot.press("n")
        assert header.wait.startswith("▶ starting the model worker")
        await driver.until(lambda: seen == ["FormScreen"], "the form is there before the model is loaded")
        await pilot.press("escape")
        driver.bench.waits.end("desk")

        task, desk = Task("missing of everything", lambda: (), 120), driver.bench.desk
        monkeypatch.setattr(ModelDesk, "busy", True)

        async def tell(*given: Any, **more: Any) -> str:
            driver.bench.post_message(DeskMoved(DeskState(*given, **more)))
            await pilot.pause()
            return header.wait

        assert (await tell(task, doing="starting")).startswith("▶ starting the model worker")
        asked = Task("question", lambda: (), 2)
        await tell(asked, 0, 1.0, doing="computing")
        assert "1 of 2 · time left unknown" in await tell(asked, 1, 3.0, doing="computing")
        assert (await tell(task, doing="loading")).startswith("▶ loading bert-made")
        assert "0 of 120 · time left unknown" in await tell(task, 0, 9.0, doing="computing")
        assert "20 of 120 · time left 50 s" in await tell(task, 20, 19.0, doing="computing")
        assert (await tell(task, 21, 20.0, doing="computing", stopping=True)).endswith("stopping …")
        desk._wanted = cast(Any, SimpleNamespace(id="asked since"))
        await tell(None, outcome="cancelled", key="")
        assert desk._wanted is not None, "what was stopped is not the question asked since"
        said = await tell(task, doing="loading", stopping=True)
        assert said.endswith("^x stops"), "the question needs the model that was being loaded"
        assert (await tell(task, 22, 21.0, doing="computing")).endswith("^x stops"), "nor is that stopped"
        await tell(None, 1, outcome="cancelled", key="asked since")
        assert desk._wanted is None and driver.said()[-1] == "stopped; 1 result is stored"
        await tell(task, doing="loading")
        await tell(None, 1, outcome="cancelled")
        assert driver.said()[-1] == "stopped", "a model that was loaded is no result"
        looked = list[str]()
        monkeypatch.setattr(ModelDesk, "find_answer", lambda self: looked.append(self._wanted.id))
        desk._wanted = cast(Any, SimpleNamespace(id="stored before"))
        await tell(None, 2, outcome="done", key="stored before")
        desk._wanted = None
        assert looked == ["stored before"], "no new results come of it"

        await pilot.press("q")
        await driver.until(lambda: isinstance(pilot.app.screen, TextScreen), "leaving asks once")
        assert not left
        await pilot.press("escape")
        await pilot.pause()
        assert not left
        await pilot.press("q", "q")
        await driver.until(lambda: left, "the second q leaves")

        monkeypatch.setattr(ModelDesk, "busy", False)
        assert not await tell(None, 30, 25.0, warm=True, outcome="done")
        assert "warm" in driver.bench.worker_text and not desk.stop()


def test_headline_says_that_a_run_stops() -> None:
    from knscope.analysis.runs.status import RunStatus
    from knscope.store.runs import RunRecord

    running = RunStatus(RunRecord("20261123-090600-a", "running", total=9, done=3), "running", None, None)
    assert headline([running], {running.run}) == "▶ stopping …" and "33%" in headline([running], {"another"})
