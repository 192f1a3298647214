"""What a run does about places that cannot do their part: devices, dying workers, a store that cannot be written."""

import os
import queue
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from knscope import store
from knscope.analysis.errors import ModelError
from knscope.analysis.runs import job, process_pool, protocol
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import load_facts
from knscope.analysis.runs.keys import attribution_key, model_hash
from knscope.analysis.runs.protocol import ModelWorker, WorkerSettings
from knscope.analysis.runs.slots import Executor, Outcome, Slot, failed, fault
from knscope.analysis.runs.units import Unit
from knscope.store import runs as run_files
from knscope.store import safe_path, shards
from knscope.store.errors import UserError
from tests.analysis.runs.inline_job import execute
from tests.analysis.runs.test_schedule import MODEL, Shelf, rows

SOURCE = "model"
MODEL_HASH = model_hash({**MODEL, "weights_hash": SOURCE})


class Made(Executor[Slot]):
    """Slots that compute out of thin air, one unit at a time and the last slot first; `wrong` may say what goes wrong."""

    def __init__(self, devices: list[str], wrong: Callable[[str, Unit], Mapping[str, object] | None]) -> None:
        super().__init__([Slot(WorkerSettings(device)) for device in devices])
        self.shelf, self.wrong = Shelf(), wrong
        self.tried: list[tuple[str, Unit]] = []
        self.cancels = 0

    def submit(self, slot: int, unit: Unit) -> None:
        self._slots[slot].unit = unit

    def outcomes(self, timeout: float) -> list[Outcome]:
        number, slot = max((number, slot) for number, slot in enumerate(self._slots) if slot.unit is not None)
        unit, slot.unit = slot.unit, None
        assert unit is not None
        self.tried.append((slot.settings.device, unit))
        if said := self.wrong(slot.settings.device, unit):
            return [failed(unit, number, said)]
        slot.sources.add(unit.source)
        model = self.shelf.compute(unit)
        return [Outcome(unit, stored=unit.size if unit.phase != "load" else 1, model=model)]

    def cancel(self) -> None:
        self.cancels += 1

    def close(self) -> None:
        pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., job.Job]:
    """A job of one model on made slots."""

    def make(devices: list[str], wrong: Callable[[str, Unit], Mapping[str, object] | None]) -> job.Job:
        executor = Made(devices, wrong)
        monkeypatch.setattr(job, "RunStored", lambda *_: executor.shelf)
        config = RunConfig((ModelSource(SOURCE),), "demo", what=("attribution",))
        facts = job.Facts(tuple(rows(facts=40)), "demo", "")
        return job.Job(config, facts, None, executor)  # type: ignore[arg-type]

    return make


def run(made: job.Job) -> Made:
    made.run(lambda: False, lambda _: None)
    assert isinstance(made.executor, Made)
    return made.executor


def no_cuda(device: str, unit: Unit) -> Mapping[str, object] | None:
    return fault(ModelError("there is no CUDA"), loading=True) if device.startswith("cuda") else None


def test_a_device_that_cannot_load_a_model_is_given_up_and_named_and_the_others_do_all(
    made: Callable[..., job.Job],
) -> None:
    wanted = made(["cpu", "cuda:0"], no_cuda)
    executor = run(wanted)
    assert wanted.schedule.failures == [] and wanted.schedule.done == wanted.schedule.total == 2 * 320
    assert [device for device, _ in executor.tried].count("cuda:0") == 1, "it is asked once, and drains no queue"
    assert wanted.fatal == [f"cuda:0 was given up for {SOURCE}: there is no CUDA"]
    sizes = [len(unit.queries) for _, unit in executor.tried if unit.phase == "attribute"]
    assert sizes == [32] * 10, "its units go whole to the others"


def test_a_run_fails_where_no_device_can_load_the_model(made: Callable[..., job.Job]) -> None:
    wanted = made(["cuda:0", "cuda:1"], no_cuda)
    executor = run(wanted)
    assert len(executor.tried) == 2 and wanted.schedule.exhausted and wanted.schedule.total == 0
    assert len(wanted.schedule.failures) == 1 and wanted.schedule.failures[0].endswith("there is no CUDA")


def test_one_of_several_equal_devices_is_inspected(made: Callable[..., job.Job]) -> None:
    wanted = made(["cuda"] * 8, no_cuda)
    assert len(run(wanted).tried) == 1
    assert wanted.fatal == ["there is no CUDA"]


def test_a_model_that_cannot_be_loaded_any_more_is_left_with_one_failure(made: Callable[..., job.Job]) -> None:
    wanted = made(
        ["cpu"], lambda _, unit: fault(RuntimeError("gone"), loading=True) if unit.phase == "attribute" else None
    )
    run(wanted)
    assert len(wanted.schedule.failures) == 1 and wanted.schedule.exhausted
    assert wanted.schedule.failures[0].endswith("RuntimeError: gone")
    assert (wanted.schedule.done, wanted.schedule.total) == (320, 640), "what is missing is seen"


def test_a_store_that_cannot_be_written_ends_the_run_at_once(made: Callable[..., job.Job]) -> None:
    full = fault(UserError("no space left"), loading=False)
    wanted = made(["cpu"] * 3, lambda _, unit: full if unit.phase == "attribute" else None)
    executor = run(wanted)
    phases = [unit.phase for _, unit in executor.tried]
    assert phases.count("attribute") == 3, "those under way when it is seen, and none anew"
    assert wanted.broken == "no space left" and executor.cancels == 1 and not wanted.cancelled


class Halved:
    """A worker that is stopped in the middle of its last unit."""

    def __init__(self, shelf: Shelf) -> None:
        self.loaded, self.shelf, self.stopped = [SOURCE], shelf, False

    def compute(self, unit: Unit, cancelled: Callable[[], bool]) -> tuple[int, Mapping[str, Any] | None]:
        if unit.phase == "attribute" and len(self.shelf.stored["attribution"]) + unit.size == 320:
            self.stopped = True
            return 0, None
        return unit.size if unit.phase != "load" else 1, self.shelf.compute(unit)


def test_an_inline_run_that_is_stopped_at_its_last_unit_is_not_done(made: Callable[..., job.Job]) -> None:
    wanted = made(["cpu"], no_cuda)
    worker = Halved(wanted.executor.shelf)  # type: ignore[attr-defined]
    wanted.executor = process_pool.InlineExecutor(worker, lambda: worker.stopped, WorkerSettings("cpu"))
    wanted.run(lambda: worker.stopped, lambda _: None)
    assert wanted.cancelled and wanted.schedule.done < wanted.schedule.total


def test_model_error_is_not_reported_as_a_store_error() -> None:
    assert fault(ModelError("too large"), loading=False)["cause"] == "unit"
    assert fault(UserError("no such folder"), loading=True)["cause"] == "load"
    assert fault(UserError("no space left"), loading=False)["cause"] == "store"


def test_a_run_on_a_full_disk_computes_one_unit_and_says_so_in_run_json(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tries = tmp_path / "full.knstore", []

    def full(*_: object, **__: object) -> None:
        tries.append(1)
        raise UserError("no space left")

    monkeypatch.setattr(shards, "write_shard", full)
    wanted = RunConfig((ModelSource(str(tiny_models["encoder"])),), str(tiny_facts), engine="inline")
    record = run_files.read_run(place, execute(place, wanted))
    assert (record.status, record.message, len(tries)) == ("failed", "no space left", 1)


def test_a_worker_on_a_full_disk_outlives_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """Its log is a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    events: queue.SimpleQueue[Mapping[str, object]] = queue.SimpleQueue()
    worker = ModelWorker(store.create(tmp_path / "s.knstore"), "run", events.put, Path("/dev/full"))
    try:
        for number in (1, 2):
            worker.compute(Unit("load", str(tmp_path / "nowhere")), number)
        said = []
        while said.count("error") < 2 and "ended" not in said:
            said.append(events.get(timeout=120)["event"])
        assert "ended" not in said
    finally:
        worker.close()


def test_a_run_on_a_device_that_is_not_there_and_on_one_that_is_does_all(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    place, model = tmp_path / "devices.knstore", ModelSource(str(tiny_models["encoder"]))
    wanted = RunConfig((model,), str(tiny_facts), facts=1, templates="1", what=("attribution",), device="cuda:0,cpu")
    record = run_files.read_run(place, execute(place, wanted))
    assert (record.status, record.done, record.failures) == ("done", record.total, ())
    assert "cuda:0 was given up" in record.message
    with store.open(place) as reader:
        assert len(reader.keys("attribution")) == record.total // 2


def test_a_worker_that_dies_while_it_loads_is_no_fault_of_the_unit(tmp_path: Path) -> None:
    executor, unit = (
        process_pool.ProcessExecutor(tmp_path, "run", [WorkerSettings("cpu")], tmp_path),
        Unit("predict", "m"),
    )
    for loaded, cause in (([], "load"), (["m"], "unit")):
        slot = executor._slots[0]
        slot.unit, slot.number, slot.deaths = unit, 1, process_pool.MAX_DEATHS - 1
        executor._handle(0, None, {"event": "state", "state": "ready", "number": 1, "loaded": loaded})
        (outcome,) = executor._handle(0, None, {"event": "ended", "code": -9})
        assert outcome.cause == cause and "died 3 times (signal 9)" in str(outcome.error)


def test_worker_that_cannot_start_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PROGRAM", "not_there")
    executor = process_pool.ProcessExecutor(tmp_path, "run", [WorkerSettings("cpu")], tmp_path)
    executor.submit(0, Unit("load", "m"))
    while not (outcomes := executor.outcomes(60)):
        pass
    (outcome,) = outcomes
    assert outcome.fatal and outcome.cause == "load"
    assert "cannot start (exit code 1): " in str(outcome.error) and "No module named not_there; see " in str(
        outcome.error
    )


def test_request_to_a_stopped_worker_does_not_stop_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe takes 64 KiB; a process that does not read takes no more."""
    monkeypatch.setattr(safe_path, "command", lambda *_: [sys.executable, "-c", "import time; time.sleep(600)"])
    ended: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    worker = ModelWorker(tmp_path, "run", ended.put, tmp_path / "log")
    worker.compute(Unit("predict", "m" * 500_000), 1)
    worker.kill()
    assert ended.get(timeout=60) == {"event": "ended", "code": -9}


def test_unit_of_a_dead_worker_is_repeated_without_its_stored_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = process_pool.ProcessExecutor(tmp_path, "run", [WorkerSettings("cpu")], tmp_path)
    sent: list[Unit] = []
    monkeypatch.setattr(executor, "_send", lambda slot, unit: sent.append(unit))
    whole, part = Unit("predict", "m", queries=tuple(rows())), Unit("predict", "m", queries=tuple(rows()[:3]))
    for left, again, ended in ((part, [part], []), (None, [], [Outcome(whole)])):
        executor.rest = lambda unit, left=left: left  # type: ignore[misc]
        executor._slots[0].unit = whole
        assert executor._handle(0, None, {"event": "ended", "code": -9}) == ended
        assert sent == again
        sent.clear()


def test_a_cancelled_unit_whose_worker_dies_is_not_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = process_pool.ProcessExecutor(tmp_path, "run", [WorkerSettings("cpu")], tmp_path)
    sent: list[Unit] = []
    monkeypatch.setattr(executor, "_send", lambda slot, unit: sent.append(unit))
    unit = executor._slots[0].unit = Unit("predict", "m", queries=tuple(rows()))
    executor.cancel()
    assert executor._handle(0, None, {"event": "ended", "code": -15}) == [Outcome(unit)] and not sent
    executor.submit(0, unit)  # what is asked after that is no part of it
    executor._slots[0].unit = unit
    assert executor._handle(0, None, {"event": "ended", "code": -15}) == [] and sent == [unit, unit]


def test_a_unit_that_is_stopped_though_the_run_goes_on_is_finished(made: Callable[..., job.Job]) -> None:
    wanted = made(["cpu"], lambda *_: None)
    executor = wanted.executor
    assert isinstance(executor, Made)
    settle, stopped = wanted._settle, []

    def stop_once(outcome: Outcome) -> None:
        if outcome.unit.phase == "attribute" and not stopped:
            stopped.append(outcome.unit)
            keys = [attribution_key(MODEL_HASH, row.id, "amig") for row in outcome.unit.queries[3:]]
            executor.shelf.stored["attribution"] -= set(keys)
            outcome = Outcome(outcome.unit, stored=3, cut=True)
        settle(outcome)

    wanted._settle = stop_once  # type: ignore[method-assign]
    run(wanted)
    assert wanted.schedule.exhausted and wanted.schedule.done == wanted.schedule.computed == wanted.schedule.total
    assert [unit.queries for _, unit in executor.tried].count(stopped[0].queries[3:]) == 1


def test_sigterm_stops_a_worker_as_cancel_does_and_then_ends_it(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place, source = store.create(tmp_path / "term.knstore"), str(tiny_models["encoder"])
    queries = load_facts(RunConfig((ModelSource(source),), str(tiny_facts))).rows
    run_name = run_files.new_run(place, {})
    events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    worker = ModelWorker(place, run_name, events.put, tmp_path / "log", WorkerSettings("cpu"))
    unit = Unit("attribute", source, "amig", queries=tuple(queries) * 200)
    try:
        worker.compute(unit, 1)
        while not (event := events.get(timeout=120)).get("done"):
            assert event["event"] in ("state", "progress")
        os.kill(worker.pid, signal.SIGTERM)
        while (event := events.get(timeout=120))["event"] != "done":
            assert event["event"] == "progress"
        assert 0 < event["stored"] < unit.size and event["cut"]
        assert (events.get(timeout=120)) == {"event": "ended", "code": 0}
    finally:
        worker.close()
    with store.open(place) as reader:
        assert reader.keys("attribution"), "what it had is committed"


def test_gpus_are_counted_up_to_the_first_name_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count in (("0,-1,1", 1), ("0,1", 2), ("", 0), ("-1", 0), ("0,,1", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert process_pool._gpu_count() == count
