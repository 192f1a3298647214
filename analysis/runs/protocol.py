"""From outside a model's process: start and cancel a job, and talk to a model worker. Knows no torch.

A *job* has a session of its own and speaks through its run.json only. A *model worker* is a child that speaks one
JSON object a line: requests `load compute cancel unload`, events `state progress done error`. Results never pass
through here; they arrive in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from knscope import store
from knscope.analysis.runs.plan import RunConfig, Unit
from knscope.store import processes
from knscope.store import runs as run_files

Event = Mapping[str, Any]
PROGRAM = "knscope.analysis.runs"
"""The module that every process of a run is: it says itself which parts it has."""
LOG = "log.txt"
"""In a run's folder: what its process prints."""
ERROR = "\x1e"
"""Stands before a person's error on the stderr of `inspect` and `check`, where libraries write too."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker's process computes; `threads` counts torch threads, `memory` bytes."""

    device: str = "auto"
    dtype: str = "float32"
    memory: int | None = None
    threads: int = 1

    def arguments(self) -> list[str]:
        memory = [] if self.memory is None else ["--memory", str(self.memory)]
        return ["--device", self.device, "--dtype", self.dtype, "--threads", str(self.threads), *memory]


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
        self._lock = threading.Lock()
        arguments = "worker", str(store_path), run, *settings.arguments()
        pipe, threads = subprocess.PIPE, settings.threads
        with _log(log) as output:
            self._process = processes.start(
                PROGRAM, *arguments, threads=threads, stdin=pipe, stdout=pipe, stderr=output
            )
        self._thread = threading.Thread(target=self._read, name=f"model-worker-{self.pid}", daemon=True)
        self._thread.start()

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
        """Stop the unit under way at its next row; what is computed is committed and answered by `done`."""
        self._send({"request": "cancel"})

    def unload(self) -> None:
        """Free the models and the device's memory."""
        self._send({"request": "unload"})

    def close(self, timeout: float = 5.0) -> None:
        """End the process: politely by end of file, then by SIGTERM and SIGKILL."""
        with self._lock:
            if self._process.stdin and not self._process.stdin.closed:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
        for end in (None, self._process.terminate, self._process.kill):
            if end is not None:
                end()
            try:
                self._process.wait(timeout)
                break
            except subprocess.TimeoutExpired:
                continue
        self._thread.join(timeout)

    def _send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                return  # the process has ended, which the reader thread reports

    def _read(self) -> None:
        for event in events(self._process):
            self._on_event(event)


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
    with _log(run_files.run_folder(place, run) / LOG) as output:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": output, "stderr": output}
        job = processes.start(PROGRAM, "job", str(place), run, start_new_session=True, **pipes)
    assert job.stdin is not None
    with job.stdin, contextlib.suppress(OSError):  # a full disk: the process says so itself
        run_files.write_run(place, replace(run_files.read_run(place, run), provenance=processes.identity(job.pid)))
    return run


def cancel_job(store_path: Path, run: str) -> None:
    """Ask a run to stop at its next unit boundary; what it has computed stays."""
    run_files.request_cancel(store_path, run)
