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
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knscope import store
from knscope.analysis.runs.plan import RunConfig, Unit
from knscope.store import runs as run_files

Event = Mapping[str, Any]
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
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "knscope.analysis.runs",
                "worker",
                str(store_path),
                run,
                "--log",
                str(log),
                *settings.arguments(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(settings.threads),
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
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a line cut by the process's death
            self._on_event(event)
        self._process.stdout.close()
        self._on_event({"event": "ended", "code": self._process.wait()})


def child_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes: library threads bounded, no tokenizer threads after a fork."""
    count = str(threads)
    return {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false"}


def start_job(store_path: Path, config: RunConfig) -> str:
    """Start a run in a session of its own, so that it outlives this process and its terminal; returns its name."""
    store.create(store_path)
    run = run_files.new_run(store_path, config.to_json())
    log = run_files.run_folder(store_path, run) / "log.txt"
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "knscope.analysis.runs", "job", str(store_path), run],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=child_environment(1),
            start_new_session=True,
        )
    return run


def cancel_job(store_path: Path, run: str) -> None:
    """Ask a run to stop at its next unit boundary; what it has computed stays."""
    run_files.request_cancel(store_path, run)
