"""What a run does about a run.json that cannot be written."""

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.runs import job
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.slots import Outcome
from knscope.analysis.runs.units import Unit
from knscope.store import compaction, snapshot
from knscope.store import runs as run_files


class Endless:
    """An executor whose unit is done when somebody cancels it."""

    def __init__(self) -> None:
        self.unit: Unit | None = None
        self.cancelled = threading.Event()

    def free(self) -> list[int]:
        return [] if self.unit else [0]

    def holds(self, slot: int) -> frozenset[str]:
        return frozenset()

    def slots(self) -> list[str]:
        return ["cpu"]

    def submit(self, slot: int, unit: Unit) -> None:
        self.unit = unit

    def outcomes(self, timeout: float) -> list[Outcome]:
        unit = self.unit
        if unit is None or not self.cancelled.wait(timeout):
            return []
        self.unit = None
        return [Outcome(unit)]

    def busy(self) -> bool:
        return self.unit is not None

    def silence(self) -> float:
        return 0.0

    def gpus(self) -> int:
        return 0

    def partly(self) -> list[tuple[Unit, int, float]]:
        return []

    def under_way(self) -> int:
        return 0

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def quick_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "BEAT_SECONDS", 0.02)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_whose_store_is_taken_away_ends_and_leaves_nothing(tmp_path: Path, tiny_facts: Path) -> None:
    place, executor = store.create(tmp_path / "gone.knstore"), Endless()
    run = run_files.new_run(place, RunConfig((ModelSource("nowhere"),), str(tiny_facts)).to_json())
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(job.execute(place, run, lambda *_: executor)))
    thread.start()
    until(executor.busy)
    time.sleep(0.1)
    assert thread.is_alive(), "nothing else ends it"
    place.rename(tmp_path / "elsewhere")
    thread.join(20)
    assert ended == ["cancelled"] and executor.cancelled.is_set() and not place.exists()


def test_full_disk_costs_a_heartbeat_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.create(tmp_path / "full.knstore")
    run, write, refused = run_files.new_run(place, {}), run_files.write_run, []

    def full(path: Path, record: run_files.RunRecord) -> None:
        if len(refused) < 3:
            refused.append(record)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, record)

    monkeypatch.setattr(run_files, "write_run", full)
    with job.RunFile(place, run) as file:
        until(lambda: run_files.read_run(place, run).beat > 3)
        assert not file.gone.is_set() and len(refused) == 3


def test_writing_the_end_of_a_run_is_retried_and_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.create(tmp_path / "full.knstore")
    run, write, refused = run_files.new_run(place, {}), run_files.write_run, []
    monkeypatch.setattr(job, "BEAT_SECONDS", 60.0)
    monkeypatch.setattr(job, "LAST_PAUSES", (0.0, 0.0, 0.0))

    def full(path: Path, record: run_files.RunRecord) -> None:
        refused.append(record)
        if len(refused) != 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, record)

    monkeypatch.setattr(run_files, "write_run", full)
    for tries, status in ((4, "queued"), (7, "failed")):
        with job.RunFile(place, run) as file:
            file.update(status="failed")
        assert (len(refused), run_files.read_run(place, run).status) == (tries, status)


def test_a_store_that_cannot_be_read_fails_the_run_with_its_reason(tmp_path: Path) -> None:
    place = store.create(tmp_path / "odd.knstore")
    run = run_files.new_run(place, RunConfig((ModelSource("nowhere"),), "demo").to_json())
    (place / "store.json").write_text('{"format": 99}')
    assert job.execute(place, run, lambda *_: Endless()) == "failed"
    record = run_files.read_run(place, run)
    assert record.status == "failed" and "store format 99" in record.message


def test_results_are_published_where_shards_cannot_be_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.create(tmp_path / "shared.knstore")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(compaction, "compact", refuse)
    monkeypatch.setattr(compaction, "MANY", -1)
    assert "Permission denied" in job._publish(place, computed=1)
    assert (place / snapshot.SNAPSHOT).exists()
