"""Computing for a person who waits: one model worker, one task after the other, one run that holds their results.

A task is asked again for units until it has none left, so that what depends on earlier results can follow them. The
worker stays warm between tasks and is let go when nothing was asked for a while, which frees its memory and its GPU.
Knows no torch.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knscope.analysis.attribution.method import NUMERICS_VERSION
from knscope.analysis.runs.job import RunFile
from knscope.analysis.runs.process_pool import ProcessExecutor
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.slots import Outcome
from knscope.analysis.runs.speed import KEPT, Speed
from knscope.analysis.runs.units import Unit
from knscope.store import processes
from knscope.store import runs as run_files
from knscope.store.errors import UserError

DATA = "workbench"
"""What the run's configuration names as its data: it cannot be started again from a dataset."""
IDLE_SECONDS = 600.0


@dataclass(frozen=True)
class Task:
    """`units` is called on the desk's thread, again and again until it returns nothing new; it may ask the store."""

    title: str
    units: Callable[[], Sequence[Unit]]
    total: int
    """Results, as counted beforehand. 0: only a model is loaded, and the store does not hear of it."""
    key: str = ""
    """For whoever asked; the desk only hands it back."""
    dtype: str = "float32"
    """Precision of the passes; another one than the task's before takes a new worker."""
    answer: Callable[[Mapping[str, Any]], None] = lambda document: None
    """Receives what a unit answers beside what it stores, or its `error`, on the desk's thread."""


@dataclass(frozen=True)
class DeskState:
    """What the desk does. `task` is None while it waits; `warm` says whether the worker holds a model."""

    task: Task | None = None
    done: int = 0
    seconds: float = 0.0
    """Since the task began."""
    warm: bool = False
    doing: str = ""
    """What the worker is at: starting, loading or computing."""
    stopping: bool = False
    """The task is cancelled, and its worker has not stopped yet."""
    outcome: str = ""
    """done, cancelled or failed: how the task that has just ended did."""
    failures: tuple[str, ...] = field(default=())
    key: str = ""
    """Of the task that has just ended."""


class Desk:
    """Starts nothing before the first task. `on_change` is called on the desk's thread."""

    def __init__(
        self, store_path: Path, on_change: Callable[[DeskState], None], settings: WorkerSettings | None = None
    ) -> None:
        self._store_path = store_path
        self._on_change = on_change
        self._settings = settings or WorkerSettings()
        self._tasks: queue.SimpleQueue[tuple[int, Task] | None] = queue.SimpleQueue()
        self._asked, self._cancelled = 0, 0
        """How many tasks were asked, and up to which one they are cancelled."""
        self._executor: ProcessExecutor | None = None
        self._file: RunFile | None = None
        """Of the task under way, if it has results."""
        self._thread: threading.Thread | None = None
        self.run = run_files.new_name()
        """Name of the run that holds the results; it is written down with the first task that has any."""
        self._written = False
        self._logs: Path | None = None
        self._failed = False
        self._speed = Speed()
        self._tell: Callable[[int], None] = lambda finished: None
        """Tells how far the task under way is, with so many results more."""
        self.busy = False

    def ask(self, task: Task) -> None:
        """Put a task in line.

        :raises UserError: the store cannot be written
        """
        if task.total and not self._written:
            config = {"models": [], "data": DATA, "methods": [], "what": ["attribution", "dkn"], "facts": None}
            run_files.new_run(self._store_path, config, self.run)
            self._written = True
            record = run_files.read_run(self._store_path, self.run)
            run_files.write_run(self._store_path, replace(record, status="done", provenance=_here()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="desk", daemon=True)
            self._thread.start()
        self.busy = True
        self._asked += 1
        self._tasks.put((self._asked, task))

    def cancel(self) -> None:
        """Stop the task under way at its next pass, and drop those that wait; what is computed stays."""
        self._cancelled = self._asked
        if self._executor is not None:
            self._executor.cancel()

    def close(self, patience: float = 5.0) -> None:
        """Stop, and end the worker's process."""
        self.cancel()
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join(patience)
        if self._executor is not None:
            self._executor.close()
        # What failed says where its log is.
        said = self._failed and self._logs is not None and any(self._logs.iterdir())
        if self._logs is not None and not said:
            shutil.rmtree(self._logs, ignore_errors=True)

    # --- the desk's thread

    def _work(self) -> None:
        while True:
            try:
                asked = self._tasks.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._rest()
                continue
            if asked is None:
                return
            number, task = asked
            try:
                state = self._do(number, task)
            except (OSError, UserError) as error:
                # The store cannot be written any more, not even what became of the task.
                warm = self._executor is not None
                state = DeskState(outcome="failed", warm=warm, failures=(str(error),), key=task.key)
            self.busy = not self._tasks.empty()
            self._on_change(state)

    def _rest(self) -> None:
        if self._executor is not None:
            self._let_go()
            self._on_change(DeskState())

    def _let_go(self) -> None:
        """End the worker's process; the next unit starts one."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def _do(self, number: int, task: Task) -> DeskState:
        """How it ended."""
        if number <= self._cancelled:
            return DeskState(outcome="cancelled", warm=self._executor is not None, key=task.key)
        if self._settings.dtype != task.dtype:
            self._let_go()
            self._settings = replace(self._settings, dtype=task.dtype)
        began = time.monotonic()
        done, failures, seen = 0, list[str](), set[str]()
        with ExitStack() as stack:
            file = stack.enter_context(RunFile(self._store_path, self.run)) if task.total else None
            self._file = file

            def note(**changes: object) -> None:
                if file is not None:
                    file.update(**changes)

            note(status="running", started=time.time(), total=task.total, done=0, computed=0, failures=())
            note(message=task.title, provenance=_here())
            if file is not None:
                file.flush()

            def tell(finished: int = 0) -> None:
                nonlocal done
                done += finished
                executor = self._executor
                now = done + (executor.under_way() if executor is not None else 0)
                note(done=now, computed=now, total=max(task.total, now), failures=tuple(failures))
                note(provenance={**_here(), KEPT: self._speed.to_json()})
                self._on_change(
                    DeskState(
                        task,
                        now,
                        time.monotonic() - began,
                        bool(done),
                        doing=executor.doing() if executor is not None else "starting",
                        stopping=number <= self._cancelled,
                        failures=tuple(failures),
                    )
                )

            self._tell = tell
            tell()
            try:
                while number > self._cancelled and (units := _unseen(task.units(), seen)):
                    self._all(number, units, failures, tell, task.answer)
            except Exception as error:  # noqa: BLE001 - counting what is missing failed; the person is told, the desk lives on
                failures.append(f"{type(error).__name__}: {error}")
            outcome = "cancelled" if number <= self._cancelled else "failed" if failures else "done"
            self._failed = self._failed or bool(failures)
            note(status=outcome, failures=tuple(failures), message=f"{task.title}: {outcome}", heard=0.0)
        seconds = time.monotonic() - began
        warm = self._executor is not None
        return DeskState(None, done, seconds, warm, outcome=outcome, failures=tuple(failures), key=task.key)

    def _all(
        self, number: int, units: Iterable[Unit], failures: list[str], tell: Callable[[int], None],
        answer: Callable[[Mapping[str, Any]], None],
    ) -> None:  # fmt: skip
        """Compute units one after the other; one that fails is cut until the row that does it is found."""
        waiting = list(units)
        while waiting and number > self._cancelled:
            unit = waiting.pop(0)
            outcome = self._one(number, unit)
            if outcome.error is None:
                self._speed.add(unit, outcome.stored, outcome.seconds)
                if outcome.model is not None:
                    answer(outcome.model)
                tell(outcome.stored)
            elif halves := () if outcome.fatal else unit.halves():
                waiting[:0] = halves
            else:
                failures.append(outcome.error)
                answer({"error": outcome.error})
                tell(0)

    def _one(self, number: int, unit: Unit) -> Outcome:
        if self._executor is None:
            # Not in the store: a model may be loaded for a question that is never asked.
            self._logs = self._logs or Path(tempfile.mkdtemp(prefix="knscope-desk-"))
            self._executor = ProcessExecutor(self._store_path, self.run, [self._settings], self._logs)
        self._executor.submit(0, unit)
        told: object = None
        while True:
            if (now := (self._executor.doing(), self._executor.under_way(), number <= self._cancelled)) != told:
                told = now
                self._tell(0)
            for outcome in self._executor.outcomes(timeout=0.5):
                return outcome
            if self._file is not None:
                self._file.update(heard=time.time() - self._executor.silence())
                if run_files.take_cancel(self._store_path, self.run):  # by `knscope cancel`, or in another workbench
                    self.cancel()
            if number <= self._cancelled:
                self._executor.cancel()


def _unseen(units: Sequence[Unit], seen: set[str]) -> list[Unit]:
    """Units not handed out before: one that failed, or whose rows cannot be used, must not come again for ever."""
    names = {repr(unit): unit for unit in units}
    fresh = [unit for name, unit in names.items() if name not in seen]
    seen.update(names)
    return fresh


def _here() -> dict[str, object]:
    """Shards of scans and edits say no numerics version of their own: their run does."""
    return {**processes.identity(), "numerics_version": NUMERICS_VERSION}
