"""Who computes the units of a run: this process (inline) or child processes that are replaced when they die. Same
interface.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import psutil

from knscope.analysis.engine.sources import weight_bytes
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.protocol import ModelWorker, WorkerSettings
from knscope.analysis.runs.slots import MAX_DEATHS, Executor, Outcome, Slot, failed, fault
from knscope.analysis.runs.units import Unit
from knscope.store import processes
from knscope.store.processes import cpu_count

MAX_CPU_WORKERS = 8


class Computes(Protocol):
    """What `worker.Worker` offers to whoever runs it in the same process."""

    @property
    def loaded(self) -> list[str]: ...

    def compute(self, unit: Unit, cancelled: Callable[[], bool]) -> tuple[int, Mapping[str, Any] | None]: ...


class InlineExecutor(Executor[Slot]):
    """One slot, in this process: for debugging, and for a GPU box where one process is all there should be."""

    def __init__(self, worker: Computes, cancelled: Callable[[], bool], settings: WorkerSettings) -> None:
        super().__init__([Slot(settings)])
        self._worker = worker
        self._cancelled = cancelled

    def submit(self, slot: int, unit: Unit) -> None:
        self._slots[slot].unit = unit

    def outcomes(self, timeout: float) -> list[Outcome]:
        (slot,) = self._slots
        unit, slot.unit = slot.unit, None
        if unit is None:
            return []
        began, warm = self._clock(), unit.source in self._worker.loaded
        try:
            stored, model = self._worker.compute(unit, self._cancelled)
        except Exception as error:  # noqa: BLE001 - whatever a unit does, the run goes on and reports it
            return [failed(unit, 0, fault(error, unit.source not in self._worker.loaded))]
        slot.sources = {unit.source}
        seconds = self._clock() - began if warm or unit.phase == "load" else 0.0
        cut = stored < unit.size and self._cancelled()  # else a run that was stopped at its last unit would be done
        return [Outcome(unit, stored=stored, model=model, cut=cut, seconds=seconds)]

    def cancel(self) -> None:
        """Nothing to do: `cancelled` is asked between passes."""

    def close(self) -> None:
        """Nothing to free: the process ends with the run."""


@dataclass
class _Process(Slot):
    worker: ModelWorker | None = None
    number: int = 0
    """Of the present unit."""
    computed: int = 0
    """Results of the present unit."""
    ready: bool = False
    """The worker has begun to wait for units."""
    began: float | None = None
    """When the present unit was begun by a worker that holds its model, or a load."""

    @property
    def doing(self) -> str:
        """What its worker is at: empty where it has no unit."""
        return "" if self.unit is None else "starting" if not self.ready else "loading" if self.loads else "computing"


class ProcessExecutor(Executor[_Process]):
    """One child process a slot; a child that dies is replaced, and its unit tried again a few times."""

    def __init__(self, store_path: Path, run: str, settings: list[WorkerSettings], logs: Path) -> None:
        super().__init__([_Process(one) for one in settings])
        self._store_path = store_path
        self._run = run
        self._logs = logs
        self._events: queue.SimpleQueue[tuple[int, ModelWorker | None, Mapping[str, Any]]] = queue.SimpleQueue()
        self._numbers = 0

    def under_way(self) -> int:
        return sum(slot.computed for slot in self._slots if slot.unit is not None)

    def partly(self) -> list[tuple[Unit, int, float]]:
        return [
            (slot.unit, slot.computed, self._clock() - slot.began)
            for slot in self._slots
            if slot.unit is not None and slot.began is not None and slot.computed
        ]

    def doing(self) -> str:
        """What the first busy worker is at: `starting`, `loading` or `computing`; empty: nothing."""
        return next(filter(None, (slot.doing for slot in self._slots)), "")

    def submit(self, slot: int, unit: Unit) -> None:
        self._slots[slot].deaths, self._slots[slot].cancelled = 0, False
        self._send(slot, unit)

    def _send(self, slot: int, unit: Unit) -> None:
        held = self._slots[slot]
        self._numbers += 1
        self._give(held, unit)
        held.number, held.computed = self._numbers, 0
        if held.worker is None:
            held.worker = self._start(slot)
            held.sources, held.ready = set(), False
        held.began = self._clock() if unit.source in held.sources or unit.phase == "load" else None
        held.worker.compute(unit, held.number)

    def outcomes(self, timeout: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        with suppress(queue.Empty):
            slot, worker, event = self._events.get(timeout=timeout)
            while True:
                outcomes.extend(self._handle(slot, worker, event))
                slot, worker, event = self._events.get_nowait()
        for held in self._overdue():
            assert held.worker is not None
            held.worker.kill()
            outcomes.extend(self._died(self._slots.index(held), f"no word for {held.silent:.0f} s"))
        return outcomes

    def cancel(self) -> None:
        self._cancel()
        for slot in self._slots:
            if slot.worker and slot.unit:
                slot.worker.cancel()

    def close(self) -> None:
        """All at once: a process takes a while to end."""
        for slot in self._slots:
            if slot.worker:
                slot.worker.hang_up()
        for slot in self._slots:
            if slot.worker:
                slot.worker.close()
                slot.worker = None

    def _start(self, slot: int) -> ModelWorker:
        box: list[ModelWorker] = []

        def put(event: Mapping[str, Any]) -> None:
            self._events.put((slot, box[0] if box else None, event))

        worker = ModelWorker(self._store_path, self._run, put, self._log(slot), self._slots[slot].settings)
        box.append(worker)
        return worker

    def _log(self, slot: int) -> Path:
        return self._logs / f"worker-{slot}.log"

    def _handle(self, slot: int, worker: ModelWorker | None, event: Mapping[str, Any]) -> list[Outcome]:
        held = self._slots[slot]
        if worker is not None and worker is not held.worker:
            return []  # a late word of a worker that has been replaced
        if event["event"] == "ended":
            code = int(event["code"])
            return self._died(slot, processes.ending(code), useless=code > 0 and not held.ready)
        held.ready = held.ready or event.get("state") == "idle"
        if held.unit is None or event.get("number") != held.number:
            return []
        if event["event"] == "progress" and event["done"] == held.computed:  # no result yet, and no sign of its pace
            held.unheard = 0.0
            return []
        self._heard(held)
        if event["event"] == "progress":
            held.computed = int(event["done"])
        if event["event"] == "state":
            held.sources = set(event.get("loaded", ()))
            if held.began is None and held.unit.source in held.sources:
                held.began = self._clock()
        if event["event"] not in ("done", "error"):
            return []
        unit, held.unit = held.unit, None
        if event["event"] == "error":
            return [failed(unit, slot, event)]
        held.sources = set(event.get("loaded", ()))
        cut = bool(event.get("cut")) and not held.cancelled
        seconds = self._clock() - held.began if held.began is not None else 0.0
        return [Outcome(unit, stored=int(event["stored"]), model=event.get("model"), cut=cut, seconds=seconds)]

    def _died(self, slot: int, how: str, useless: bool = False) -> list[Outcome]:
        """Try the unit again with a new worker, a few times; not where that is `useless`, as none can be started at all."""
        held = self._slots[slot]
        loading, unit, held.worker, held.unit = held.loads, held.unit, None, None
        if unit is None:
            return []
        held.deaths += 1
        left = None if held.cancelled else self.rest(unit)
        if left is None:
            return [Outcome(unit)]
        if held.deaths < MAX_DEATHS and not useless:
            self._send(slot, left)
            return []
        times = f"died {MAX_DEATHS} times" if held.deaths == MAX_DEATHS else "cannot start"
        said = processes.last_words(self._log(slot))
        message = f"the worker process {times} ({how}){': ' if said else ''}{said}; see {self._log(slot)}"
        return [failed(left, slot, {"message": message, "fatal": loading, "cause": "load" if loading else "unit"})]


def settings_of(config: RunConfig) -> list[WorkerSettings]:
    """One worker a named device; on CPU one torch thread each, as many as there are processors and room for the
    models.
    """
    if config.device not in ("auto", "cpu"):
        devices = config.device.split(",")
    elif config.device == "auto" and (gpus := _gpu_count()):
        devices = [f"cuda:{number}" for number in range(gpus)]
    else:
        devices = ["cpu"] * (config.processes or _cpu_workers(config))
    return [WorkerSettings(device, config.dtype, config.memory, dense=config.dense) for device in devices]


def _cpu_workers(config: RunConfig) -> int:
    sizes = [weight_bytes(model.source) for model in config.models]
    if None in sizes:
        return 1  # a model still to be fetched may be of any size
    room = psutil.virtual_memory().available // max(*(6 * size for size in sizes if size), 2**29)
    return int(max(1, min(cpu_count(), MAX_CPU_WORKERS, room)))


def _gpu_count() -> int:
    """GPUs this process may use, without loading torch to ask."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA reads the list up to the first name that is none.
        return len(list(takewhile(lambda name: name.strip() not in ("", "-1"), visible.split(","))))
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
