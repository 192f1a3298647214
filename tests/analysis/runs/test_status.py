"""What an observer says of runs: whether they live, how fast they are, how long they take."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.runs.status import Observer, RunStatus
from knscope.store import runs as run_files

See = Callable[..., RunStatus]


@pytest.fixture
def see(tmp_path: Path) -> See:
    """Writes a run's record as its own process would, and looks at it `at` so many seconds."""
    place, now = store.create(tmp_path / "seen.knstore"), [0.0]
    observer = Observer(place, clock=lambda: now[0])
    (place / "runs" / "run").mkdir(parents=True)

    def look(at: float, **changes: object) -> RunStatus:
        here = {"host": socket.gethostname(), "pid": os.getpid()}
        values = {"status": "running", "provenance": here, "heartbeat": time.time(), "total": 100, **changes}
        run_files.write_run(place, run_files.RunRecord("run", **values))  # type: ignore[arg-type]
        now[0] = at
        return observer.run("run")

    return look


@pytest.fixture(scope="module")
def unseen() -> dict[str, object]:
    """Where a run is whose process cannot be seen, or is gone."""
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, check=True)
    return {"host": socket.gethostname(), "pid": int(gone.stdout)}


def test_a_run_whose_heart_beats_lives_though_its_process_cannot_be_seen(see: See, unseen: dict[str, object]) -> None:
    for second in range(60):
        assert see(second, beat=second, provenance=unseen).status == "running"
    assert see(61, beat=59, provenance=unseen).status == "running"
    assert see(63, beat=59, provenance=unseen).status == "lost"


def test_who_asks_once_is_told_after_a_moment_that_a_run_is_lost(tmp_path: Path, unseen: dict[str, object]) -> None:
    place = store.create(tmp_path / "lost.knstore")
    (place / "runs" / "run").mkdir(parents=True)
    run_files.write_run(place, run_files.RunRecord("run", "running", provenance=unseen))
    assert [one.status for one in Observer(place).settled(patience=0.01)] == ["lost"]


def test_a_run_that_begins_again_at_nothing_has_the_rate_of_its_present_task(see: See) -> None:
    see(0, started=1.0, done=0)
    assert see(10, started=1.0, done=100).rate == pytest.approx(10)
    see(20, started=2.0, done=0, total=50)
    slow = see(30, started=2.0, done=20, total=50)
    assert (slow.rate, slow.left) == (pytest.approx(2), pytest.approx(15))
    fallen = see(40, started=2.0, done=5, total=50)
    assert fallen.rate is None and fallen.left is None, "never a rate below nothing"
    assert see(45, started=2.0, done=10, total=50).rate == pytest.approx(1)
