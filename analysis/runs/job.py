"""One run from start to end: plan, hand out, follow, and keep run.json true. Knows no torch; the workers do."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from knscope.analysis.attribution.method import NUMERICS_VERSION, parse_method
from knscope.analysis.attribution.others import needs_others
from knscope.analysis.runs.config import RunConfig, too_large_together
from knscope.analysis.runs.facts import Facts, load_facts, other_facts
from knscope.analysis.runs.schedule import Schedule
from knscope.analysis.runs.slots import Executor, Outcome
from knscope.analysis.runs.speed import ENDS, KEPT, Speed, kept, publishing
from knscope.analysis.runs.stored import RunStored
from knscope.store import compaction, processes, snapshot
from knscope.store import runs as run_files
from knscope.store.errors import UserError
from knscope.store.layout import SNAPSHOT, list_shards
from knscope.store.reader import Reader
from knscope.store.shards import set_aside

BEAT_SECONDS = 1.0
LAST_PAUSES = (0.1, 0.3, 1.0)  # seconds between tries to write how a run has ended
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "polars", "pyarrow", "duckdb")


MakeExecutor = Callable[[RunConfig, Callable[[], bool]], Executor[Any]]
"""From a configuration, and what says whether somebody wants the run to stop."""


class RunFile:
    """Keeps a run's run.json: a thread of its own beats once a second, whatever the run is doing.

    A beat that cannot be written (a full disk) is left out and the next one tried; the last one is tried a few times.
    Where the run's folder has been deleted, `gone` is set: nobody can see what is still computed.
    """

    def __init__(self, store_path: Path, run: str) -> None:
        self.gone = threading.Event()
        self.run = run
        self._path = store_path
        self._record = run_files.read_run(store_path, run)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def update(self, **changes: Any) -> None:
        """Change fields; they are on disk with the next beat, or at once with `flush`."""
        with self._lock:
            self._record = replace(self._record, **changes)

    def flush(self) -> None:
        with self._lock:
            self._record = run_files.beating(self._record)
            run_files.write_run(self._path, self._record)

    def __enter__(self) -> RunFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for pause in (*LAST_PAUSES, 0.0):
            if self._deleted():
                return
            with suppress(OSError):
                self.flush()
                return
            time.sleep(pause)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                self.flush()
            if self._deleted():
                self.gone.set()

    def _deleted(self) -> bool:
        return not run_files.run_folder(self._path, self._record.run).exists()


class Job:
    """Drives a schedule over an executor until nothing is left or somebody cancels."""

    def __init__(self, config: RunConfig, facts: Facts, reader: Reader, executor: Executor[Any], run: str = "") -> None:
        gpus = executor.gpus()
        stored = RunStored(reader, config, facts, gpus, run)
        drawing = any(needs_others(parse_method(method)) for method in config.methods)
        pool = other_facts(config) if drawing else ()
        self.schedule = Schedule(config, facts.rows, stored, too_large_together(config), gpus, pool)
        executor.rest = self.schedule.rest
        self.executor = executor
        self.cancelled = False
        self.broken = ""
        """Why the store cannot be written any more; nothing else is begun then."""
        self.under_way = 0
        self.speed = Speed()
        self.fatal: list[str] = []
        """What a person can put right."""
        self._given_up: dict[int, set[str]] = {}
        """Models that a slot cannot load, by slot."""

    def run(self, cancel_asked: Callable[[], bool], progress: Callable[[Schedule], None]) -> None:
        """Blocks until done. `cancel_asked` is looked at a few times a second; `progress` is called after every
        change.
        """
        while not (self.schedule.exhausted or (self.stopped and not self.executor.busy())):
            if cancel_asked() and not self.stopped:
                self.cancelled = True
                self.executor.cancel()
            if not self.stopped:
                self._hand_out()
            if not self.executor.busy() and not self.stopped and not self.schedule.exhausted:
                raise RuntimeError("the schedule has units under way that no worker has")
            outcomes = self.executor.outcomes(timeout=0.3)
            for outcome in outcomes:
                self._settle(outcome)
            if outcomes or self.executor.under_way() != self.under_way:
                self.under_way = self.executor.under_way()
                progress(self.schedule)

    @property
    def stopped(self) -> bool:
        return self.cancelled or bool(self.broken)

    def _hand_out(self) -> None:
        for slot in self.executor.free():
            unit = self.schedule.next(self.executor.holds(slot), self._given_up.get(slot, ()))
            if unit is not None:
                self.executor.submit(slot, unit)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.cut:
            self.schedule.interrupt(outcome.unit, outcome.stored)
            return
        if outcome.error is None:
            self.speed.add(outcome.unit, outcome.stored, outcome.seconds)
            self.schedule.finish(outcome.unit, outcome.stored, outcome.model)
            return
        if outcome.cause == "load":
            self._give_up(outcome, outcome.error)
            return
        if outcome.fatal:
            self.fatal.append(outcome.error)
        if outcome.cause == "store":
            self._break_off(outcome, outcome.error)
        else:
            self.schedule.fail(outcome.unit, outcome.error)

    def _break_off(self, outcome: Outcome, error: str) -> None:
        """What is computed cannot be stored, so computing on would be for nothing."""
        if not self.stopped:
            self.executor.cancel()
        self.broken = self.broken or error
        self.schedule.give_back(outcome.unit)

    def _give_up(self, outcome: Outcome, error: str) -> None:
        """A slot cannot load a model: another one does the unit; where there is none, the model is left.

        Idle slots on the same device would fare no better, so not each of them has to try.
        """
        unit, slots = outcome.unit, self.executor.slots()
        device = slots[outcome.slot]
        for slot in (outcome.slot, *self.executor.free()):
            if slots[slot] == device and (slot == outcome.slot or unit.source not in self.executor.holds(slot)):
                self._given_up.setdefault(slot, set()).add(unit.source)
        if len(set(slots)) > 1:
            error = f"{device} was given up for {unit.source}: {error}"
        self.fatal.append(error)
        if all(unit.source in self._given_up.get(slot, ()) for slot in range(len(slots))):
            self.schedule.abandon(unit, error)
        else:
            self.schedule.give_back(unit)


def provenance(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """Where and with what a run computes; the models' own part is in table `model`."""
    return {
        "libraries": {name: _version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        **processes.identity(),
        "platform": platform.platform(),
        "code": _version("knscope"),
        "numerics_version": NUMERICS_VERSION,
        "dataset": facts.dataset,
        "dataset_hash": facts.hash,
        "queries": len(facts.rows),
        "seed": config.seed,
        "device": config.device,
        "methods": {label: parse_method(label).to_json() for label in config.methods},
        "models": {},
    }


def execute(store_path: Path, run: str, make_executor: MakeExecutor) -> str:
    """Do a run that `new_run` has written down; returns its final status. Errors end in run.json."""
    stopped = threading.Event()

    def cancel_asked() -> bool:
        return stopped.is_set() or file.gone.is_set() or run_files.cancel_requested(store_path, run)

    with RunFile(store_path, run) as file, _signals(stopped):
        try:
            config = RunConfig.from_json(run_files.read_run(store_path, run).config)
            with Reader(store_path, dense="rows") as reader, compaction.Merging(store_path, run):
                file.update(status="running", started=time.time(), message=_set_aside(reader))
                with suppress(OSError):
                    file.flush()
                job = _drive(config, reader, file, make_executor, cancel_asked)
            failures = job.schedule.failures
            status = "failed" if job.broken else "cancelled" if job.cancelled else "failed" if failures else "done"
            message = "; ".join(dict.fromkeys(job.fatal)) or (failures[0] if failures else "")
            if not job.stopped:
                message = "; ".join(filter(None, (message, _publish(store_path, job.schedule.computed))))
            file.update(status=status, message=message)
            return status
        except UserError as error:
            file.update(status="failed", message=str(error))
            return "failed"
        except Exception as error:
            file.update(status="failed", message=f"{type(error).__name__}: {error}")
            raise


def _drive(
    config: RunConfig, reader: Reader, file: RunFile, make_executor: MakeExecutor, cancel_asked: Callable[[], bool]
) -> Job:
    """Do all that a run asks for, telling run.json how far it is."""
    facts = load_facts(config)
    where = provenance(config, facts)
    file.update(provenance=where)

    def asked() -> bool:
        file.update(heard=time.time() - executor.silence())
        return cancel_asked()

    executor = make_executor(config, asked)
    try:
        job = Job(config, facts, reader, executor, file.run)
        job.speed = Speed(kept(run_files.read_runs(reader.path)))

        def report(schedule: Schedule) -> None:
            models = {source: dict(model.row) for source, model in schedule.models.items()}
            layers = {source: int(row["n_layers"]) for source, row in models.items()}
            left = job.speed.seconds_with(executor.partly(), schedule.left, len(executor.slots()), layers)
            ends = None if left is None else time.time() + left + publishing(schedule.total)
            file.update(
                total=schedule.total,
                done=schedule.done + job.under_way,
                computed=schedule.computed + job.under_way,
                failures=tuple(schedule.failures),
                provenance={**where, "models": models, KEPT: job.speed.to_json(), ENDS: ends},
            )

        report(job.schedule)
        job.run(asked, report)
        report(job.schedule)
    finally:
        executor.close()
        file.update(heard=0.0)
    return job


def _set_aside(reader: Reader) -> str:
    """Damaged shards are out of the way from here on: what they held counts as missing and is computed again."""
    count = set_aside(reader.damaged)
    return f"{count} damaged shards were set aside; what they held is missing now" if count else ""


def _publish(store_path: Path, computed: int) -> str:
    """Leave results.duckdb at the end of a run that computed something; returns what stood in the way. The results are stored anyhow."""
    if not computed and (store_path / SNAPSHOT).exists():
        return ""
    merge = sum(1 for _ in list_shards(store_path)) > compaction.MANY
    said = []
    for step in (compaction.compact, snapshot.publish) if merge else (snapshot.publish,):
        try:
            step(store_path)
        except (UserError, OSError) as error:
            said.append(str(error))
    return "; ".join(said)


@contextmanager
def _signals(stopped: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT cancel: what is under way is committed, then the run ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda *_: stopped.set()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
