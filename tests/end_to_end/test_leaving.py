"""However the workbench ends, the terminal is as it was: the main screen, the cursor, echo, no mouse reports, wrapped lines."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import NewTerminal
from tests.end_to_end.terminal import CLEAN, Terminal

RAISES = """
import knscope.tui.workbench.screen, knscope.tui.workbench.bench
def broken(*_): raise RuntimeError('broken on purpose')
"""
RAISES_ON_A_KEY = RAISES + "knscope.tui.workbench.screen.WorkbenchScreen.action_known = broken"
RAISES_AT_THE_START = RAISES + "knscope.tui.workbench.bench.Bench.place_panes = broken"
PAINTS = """
import os, subprocess, warnings, knscope.tui.workbench.screen as s
def paints(self):
    os.write(1, b'PAINTED BY A LIBRARY'); os.write(2, b'PAINTED BY A LIBRARY')
    subprocess.run(['echo', 'PAINTED BY A CHILD']); warnings.warn('PAINTED BY A WARNING'); print('PAINTED BY PYTHON')
    self.say('it was painted')
s.WorkbenchScreen.action_known = paints
"""
HANGS_ON_A_KEY = """
import knscope.tui.workbench.screen as s
def hangs(_):
    while True: pass
s.WorkbenchScreen.action_known = hangs
"""
LOADS_FOR_EVER = """
import threading, knscope.tui.panes.layers as p
p.LayersPane.load = lambda *_: threading.Event().wait()
"""


def ends_with(number: int) -> Callable[[Terminal], object]:
    return lambda terminal: terminal.process().send_signal(number)


@pytest.mark.parametrize(
    ("leave", "code", "patch"),
    [
        pytest.param(lambda terminal: terminal.do("quit"), 0, "", id="q"),
        pytest.param(lambda terminal: terminal.keys("ctrl+c"), 0, "", id="ctrl+c", marks=pytest.mark.soak),
        pytest.param(ends_with(signal.SIGTERM), 143, "", id="SIGTERM"),
        pytest.param(ends_with(signal.SIGHUP), 129, "", id="SIGHUP", marks=pytest.mark.soak),
        pytest.param(lambda terminal: terminal.do("queries.known"), 2, RAISES_ON_A_KEY, id="an exception on a key"),
    ],
)
def test_workbench_restores_the_terminal_after(
    new_terminal: NewTerminal, filled_store: Path, leave: Callable[[Terminal], object], code: int, patch: str
) -> None:
    terminal = new_terminal(80, 24)
    before = terminal.line_settings()
    terminal.knscope("open", str(filled_store), patch=patch).sees("Dodoma")
    assert terminal.modes() != CLEAN and terminal.line_settings() != before, "the workbench has changed nothing to undo"
    leave(terminal)
    terminal.prompt(code)
    assert terminal.modes() == CLEAN
    assert terminal.line_settings() == before
    if patch:
        terminal.sees("broken on purpose", "crash.log", "the stored results are untouched").misses("Traceback")
        assert "RuntimeError: broken on purpose" in (terminal.place / "state/knscope/crash.log").read_text()
    terminal.command("echo heard").sees("heard")


def test_quitting_waits_for_no_pane_that_still_loads(new_terminal: NewTerminal, filled_store: Path) -> None:
    terminal = new_terminal(80, 24)
    scratch = terminal.place / "scratch"
    scratch.mkdir()
    terminal.command(f"export TMPDIR={scratch}")
    terminal.knscope("open", str(filled_store), patch=LOADS_FOR_EVER).sees("Dodoma")
    terminal.do("quit").prompt()
    assert not list(scratch.iterdir())


def test_exception_before_the_first_paint_leaves_a_message_and_a_clean_terminal(
    new_terminal: NewTerminal, filled_store: Path
) -> None:
    terminal = new_terminal(80, 24)
    before = terminal.line_settings()
    terminal.knscope("open", str(filled_store), patch=RAISES_AT_THE_START)
    terminal.sees("broken on purpose").misses("Traceback").prompt(2)
    assert terminal.modes() == CLEAN and terminal.line_settings() == before


def test_output_of_libraries_and_children_does_not_reach_the_screen(
    new_terminal: NewTerminal, filled_store: Path
) -> None:
    terminal = new_terminal(120, 40)
    terminal.knscope("open", str(filled_store), patch=PAINTS).sees("Dodoma")
    terminal.do("queries.known").sees("it was painted")
    assert "PAINTED" not in terminal.settled()
    terminal.do("quit").prompt()
    assert "PAINTED" not in terminal.screen
    log = (terminal.place / "state/knscope/workbench.log").read_text()
    assert log.count("PAINTED BY A LIBRARY") == 2 and "PAINTED BY A CHILD" in log


def test_lost_connection_ends_a_workbench_that_hangs(new_terminal: NewTerminal, filled_store: Path) -> None:
    terminal = new_terminal(80, 24)
    terminal.knscope("open", str(filled_store), patch=HANGS_ON_A_KEY).sees("Dodoma")
    workbench = terminal.process()
    terminal.do("queries.known").hang_up()
    psutil.wait_procs([workbench], timeout=30)
    assert not workbench.is_running()


def test_lost_connection_ends_the_workbench_and_saves_the_session(
    new_terminal: NewTerminal, filled_store: Path
) -> None:
    terminal = new_terminal(120, 40)
    terminal.knscope("open", str(filled_store)).sees("Dodoma")
    terminal.do("threshold.down", "go.in").sees("0.29*", "everything › P30")
    workbench = terminal.process()
    terminal.hang_up()
    psutil.wait_procs([workbench], timeout=10)
    assert not workbench.is_running()
    assert list((terminal.place / "state/knscope").glob("session-*.json"))
    assert not (terminal.place / "state/knscope/crash.log").exists()
