"""What an observer says of runs: whether they live, how fast they are, how long they take."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.runs.status import Observer, RunStatus
from knscope.store import processes
from knscope.store import runs as run_files

See = Callable[..., RunStatus]
HERE = processes.identity()


@pytest.fixture
def see(tmp_path: Path) -> See:
    """Writes a run's record as its own process would, and looks at it `at` so many seconds."""
    place, now = store.create(tmp_path / "seen.knstore"), [0.0]
    observer = Observer(place, clock=lambda: now[0])
    (place / "runs" / "run").mkdir(parents=True)

    def look(at: float, log: str = "", **changes: object) -> RunStatus:
        values = {"status": "running", "provenance": HERE, "heartbeat": time.time(), "beat": 1, "total": 100, **changes}
        run_files.write_run(place, run_files.RunRecord("run", **values))  # type: ignore[arg-type]
        run_files.log_file(place, "run").write_text(log)
        now[0] = at
        return observer.run("run")

    return look


@pytest.fixture(scope="module")
def gone() -> dict[str, object]:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        return processes.identity(child.pid)


ELSEWHERE = {**HERE, "boot": "another machine, or another container of this host name"}
REUSED = {**HERE, "process_started": HERE["process_started"] - 1000}
OLD = {"host": HERE["host"], "pid": HERE["pid"]}


@pytest.mark.parametrize("process", [ELSEWHERE, REUSED, OLD], ids=["elsewhere", "reused", "old"])
def test_run_whose_process_cannot_be_seen_lives_as_long_as_its_heart_beats(
    see: See, process: dict[str, object]
) -> None:
    for second in range(60):
        assert see(second, beat=second + 1, provenance=process).status == "running"
    assert see(88, beat=60, provenance=process).status == "running"
    seen = see(90, beat=60, provenance=process)
    assert (seen.status, seen.record.message) == ("lost", "it has not been heard of for a while")


def test_run_whose_process_is_seen_is_not_lost_while_a_loaded_machine_keeps_it_from_beating(see: See) -> None:
    see(0)
    assert see(31).status == see(599).status == "running" and see(601).status == "lost"


def test_run_whose_process_is_gone_is_lost_at_once_and_says_the_last_line_of_its_log(
    see: See, gone: dict[str, object]
) -> None:
    seen = see(0, provenance=gone, log="Traceback\nMemoryError\n\n")
    assert seen.status == "lost" and seen.record.message == "its process is gone; the last line of its log: MemoryError"


def test_run_whose_process_ended_before_its_first_word_has_failed_at_once(see: See, gone: dict[str, object]) -> None:
    queued = {"status": "queued", "beat": 0, "heartbeat": 0.0, "created": time.time()}
    assert see(0, **queued).status == see(0, **queued, provenance=ELSEWHERE).status == "queued"
    seen = see(0, **queued, provenance=gone, log="No module named numpy")
    assert (seen.status, seen.record.message) == ("failed", "its process ended before it began: No module named numpy")
    assert "said nothing" in see(0, **queued, provenance=gone).record.message
    # Whoever was to start it died before it could write down which process it is.
    assert see(0, **queued, provenance={}).status == "queued"
    assert see(0, **{**queued, "created": time.time() - 60}, provenance={}).status == "failed"


def test_run_that_ends_during_status_has_its_final_state(
    see: See, gone: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = run_files.RunRecord("run", "done", provenance=gone, beat=2)
    read = iter([run_files.RunRecord("run", "running", provenance=gone, beat=1), last])
    monkeypatch.setattr(run_files, "read_run", lambda *_: next(read))
    assert see(0).status == "done"


def test_run_is_silent_where_a_worker_or_the_run_itself_says_nothing(see: See) -> None:
    now = time.time()
    assert see(0, heartbeat=now, heard=now - 20).silent is None
    of_worker = see(0, heartbeat=now, heard=now - 75)
    assert of_worker.silent == pytest.approx(75, abs=5) and of_worker.status == "running" and not of_worker.answers
    assert see(0, heartbeat=now - 75, heard=0.0).silent == pytest.approx(75, abs=5)
    assert see(0, heartbeat=now - 40, heard=now - 75).silent == pytest.approx(75, abs=5)
    assert see(0, heartbeat=now, heard=now - 75, status="done").silent is None
    assert see(0, heartbeat=now - 10**6, heard=0.0, provenance=ELSEWHERE).silent is None, "another clock"


def test_status_asked_once_waits_a_moment_before_it_calls_a_run_lost(tmp_path: Path) -> None:
    place = store.create(tmp_path / "lost.knstore")
    for name, status, beat in (("one", "running", 5), ("two", "queued", 0)):
        (place / "runs" / name).mkdir(parents=True)
        run_files.write_run(place, run_files.RunRecord(name, status, provenance=ELSEWHERE, beat=beat))
    assert [one.status for one in Observer(place).settled(patience=0.01)] == ["lost", "failed"]


@pytest.mark.parametrize(("ends", "left"), [(None, None), (60.0, 60.0), (-4.0, 0.0), (-60.0, None)])
def test_time_left_is_what_the_run_itself_expects_and_unknown_as_long_as_it_cannot_tell(
    see: See, ends: float | None, left: float | None
) -> None:
    now = time.time()
    about = {**HERE, "ends": None if ends is None else now + ends}
    see(0.0, provenance=about, heartbeat=now, done=1, computed=1, started=now - 10)
    seen = see(5.0, provenance=about, heartbeat=now, done=50, computed=50, started=now - 10)
    assert seen.status == "running"
    assert seen.left == (None if left is None else pytest.approx(left, abs=0.1))


def test_a_run_that_begins_again_at_nothing_has_the_rate_of_its_present_task(see: See) -> None:
    see(0, started=1.0, done=0)
    assert see(10, started=1.0, done=100).rate == pytest.approx(10)
    see(20, started=2.0, done=0, total=50)
    slow = see(30, started=2.0, done=20, total=50)
    assert (slow.rate, slow.left) == (pytest.approx(2), pytest.approx(15))
    fallen = see(40, started=2.0, done=5, total=50)
    assert fallen.rate is None and fallen.left is None, "never a rate below nothing"
    assert see(45, started=2.0, done=10, total=50).rate == pytest.approx(1)
