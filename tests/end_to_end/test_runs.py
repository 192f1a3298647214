"""A run and the workbenches that look on: each lives without the other."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from knscope.analysis.runs.status import Observer
from tests.end_to_end.conftest import NewTerminal

pytestmark = pytest.mark.soak


def test_two_workbenches_on_one_store_do_not_disturb_each_other(new_terminal: NewTerminal, filled_store: Path) -> None:
    first, second = new_terminal(80, 24), new_terminal(120, 40)
    for terminal in (first, second):
        terminal.knscope("open", str(filled_store)).sees("Dodoma")
    first.do("threshold.down").sees("τ en 0.29*")
    second.sees("τ en 0.30 ").do("quit").prompt()
    first.do("threshold.down").sees("τ en 0.28*").do("quit").prompt()


def test_a_lost_connection_does_not_end_the_run_and_the_next_workbench_finds_its_results(
    new_terminal: NewTerminal, tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path
) -> None:
    store = tmp_path / "lost.knstore"
    terminal = new_terminal(80, 24)
    run = [
        sys.executable, "-m", "knscope.tui.cli", "run", str(store), "--model", str(tiny_models["encoder"]), "--data", str(tiny_facts),
        "--device", "cpu",
    ]  # fmt: skip
    terminal.command(shlex.join(run))
    terminal.until((store / "store.json").is_file, "the run has made its store")
    terminal.until(lambda: Observer(store).look(), "the run is registered")
    terminal.prompt()
    terminal.knscope("open", str(store)).sees("queries")
    workbench = terminal.process()
    terminal.hang_up()
    psutil.wait_procs([workbench], timeout=10)
    assert not workbench.is_running()
    later = new_terminal(80, 24)
    later.knscope("open", str(store)).sees("last run done", within=240).sees("france").do("quit").prompt()
