"""From outside a model's process: start and cancel a job, and talk to a model worker. Knows no torch.

A *job* has a session of its own and speaks through its run.json only. A *model worker* is a child that speaks one
JSON object a line: requests `load compute cancel unload`, events `state progress done error`. Results never pass
through here; they arrive in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from knscope import store
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.status import ANSWERS, Observer, RunStatus
from knscope.analysis.runs.units import Unit
from knscope.store import processes
from knscope.store import runs as run_files
from knscope.store.dense import Form
from knscope.store.runs import ACTIVE

Event = Mapping[str, Any]
PROGRAM = "knscope.analysis.runs"
"""The module that every process of a run is: it says itself which parts it has."""
STOP_SECONDS = 45.0
"""In which a run that is cancelled ends by itself, its workers included."""
KILL_SECONDS = 5.0
ERROR = "\x1e"
"""Stands before a person's error on the stderr of `inspect` and `check`, where libraries write too."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker's process computes; `threads` counts torch threads, `memory` bytes, `dense` says how scores are stored."""

    device: str = "auto"
    dtype: str = "float32"
    memory: int | None = None
    threads: int = 1
    dense: Form = "auto"


class ModelWorker:
    """A child process that holds models and computes units into the store; ends when this end of its stdin closes.

    `on_event` is called on a reader thread with each event, and with ``{"event": "ended", "code": …}`` when the
    process is gone.
    """

    def __init__(
        self,
        store_path: Path,
        run: str,
        on_event: Callable[[Event], None],
        log: Path,
        settings: WorkerSettings | None = None,
    ) -> None:
        settings = settings or WorkerSettings()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._on_event = on_event
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        arguments = "worker", str(store_path), run, json.dumps(asdict(settings))
        pipe, threads = subprocess.PIPE, settings.threads
        with _log(log) as output:
            self._process = processes.start(
                PROGRAM, *arguments, threads=threads, stdin=pipe, stdout=pipe, stderr=output
            )
        self._thread = threading.Thread(target=self._read, name=f"model-worker-{self.pid}", daemon=True)
        self._thread.start()
        # On a thread of its own: a process that has stopped takes no long request, and whoever asks must not stop with it.
        threading.Thread(target=self._write, name=f"asks-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, source: str) -> None:
        """Load a model (or find it loaded); answered by state `ready` with the model's row, or `error`."""
        self._send({"request": "load", "source": source})

    def compute(self, unit: Unit, number: int = 0) -> None:
        """Compute a unit; answered by `progress`, then `done` with the keys committed or `error`, both carrying
        `number`.
        """
        self._send({"request": "compute", "number": number, "unit": unit.to_json()})

    def cancel(self) -> None:
        """Stop the unit under way at its next pass; what is computed is committed and answered by `done`."""
        self._send({"request": "cancel"})

    def unload(self) -> None:
        """Free the models and the device's memory."""
        self._send({"request": "unload"})

    def hang_up(self) -> None:
        """End the process by end of file, and wait for nothing."""
        self._requests.put(None)

    def close(self, timeout: float = 5.0) -> None:
        """End the process: politely by end of file, then by SIGTERM and SIGKILL."""
        self.hang_up()
        for end in (None, self._process.terminate, self._process.kill):
            if end is not None:
                end()
            try:
                self._process.wait(timeout)
                break
            except subprocess.TimeoutExpired:
                continue
        self._thread.join(timeout)

    def kill(self) -> None:
        """End a process that does not answer, and wait for nothing: `on_event` hears of its end."""
        self._process.kill()

    def _send(self, message: Event) -> None:
        self._requests.put(json.dumps(message, ensure_ascii=False).encode() + b"\n")

    def _write(self) -> None:
        assert self._process.stdin is not None
        # The other thread reports the end of the process.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            while (line := self._requests.get()) is not None:
                stdin.write(line)
                stdin.flush()

    def _read(self) -> None:
        for event in events(self._process):
            self._on_event(event)
        self._requests.put(None)


def events(process: subprocess.Popen[bytes]) -> Iterator[Event]:
    """What a process says, one JSON object a line; at last ``{"event": "ended", "code": …}``."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # a line cut by the process's death
                yield json.loads(line)
    yield {"event": "ended", "code": process.wait()}


@contextlib.contextmanager
def _log(path: Path) -> Iterator[IO[bytes]]:
    """A log to append to; where it cannot be written (a full disk), nowhere."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("ab"))
        except OSError:
            file = stack.enter_context(Path(os.devnull).open("ab"))
        yield file


def start_job(store_path: Path, config: RunConfig) -> str:
    """Start a run in a session of its own, so that it outlives this process and its terminal; returns its name.

    run.json has one writer at a time: the process that is started waits until its stdin ends, and then it is the writer. Until it says
    its first word there, run.json names it all the same, so that everybody sees when it dies before.
    """
    place = store.create(store_path).absolute()
    run = run_files.new_run(place, config.to_json())
    with _log(run_files.log_file(place, run)) as output:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": output, "stderr": output}
        job = processes.start(PROGRAM, "job", str(place), run, start_new_session=True, **pipes)
    assert job.stdin is not None
    with job.stdin, contextlib.suppress(OSError):  # a full disk: the process says so itself
        run_files.write_run(place, replace(run_files.read_run(place, run), provenance=processes.identity(job.pid)))
    return run


def hears(store_path: Path, seen: RunStatus) -> bool:
    """Whether a run is sure to notice that it is cancelled: it said something lately, and its heart beats or it ends."""
    observer = Observer(store_path)
    deadline = time.monotonic() + ANSWERS
    while seen.answers and time.monotonic() < deadline:
        now = observer.run(seen.run)
        if now.record.beat != seen.record.beat or now.status not in ACTIVE:
            return True
        time.sleep(0.1)
    return False


def end_job(store_path: Path, run: str) -> bool:
    """Wait for a cancelled run to stop, and end what of it is left on this machine after STOP_SECONDS.

    Returns whether nobody is at work on it any more; what it has stored stays.
    """
    observer = Observer(store_path)

    def ends_within(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (active := observer.run(run).status in ACTIVE) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not active

    ends_within(STOP_SECONDS)
    left = list(processes.find(PROGRAM, run))
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    ended = ends_within(KILL_SECONDS)
    record = run_files.read_run(store_path, run)
    if left and ended and record.status in ACTIVE:  # it was ended here, and so cannot say it
        message = "it did not answer, so its processes were ended"
        run_files.write_run(store_path, replace(record, status="cancelled", message=message))
    return ended


def cancel_job(store_path: Path, run: str) -> None:
    """Ask a run to stop at its next pass; what it has stored stays."""
    run_files.request_cancel(store_path, run)
