"""Methods against measured truth on whole models, in processes of their own. Knows no torch; `truth` measures.

    for event in measure(tasks(config, "amig,bkn", ...)): ...

Each process is given one task as JSON and speaks one JSON object a line: `progress`, then `result` or `error`. It ends early,
with what it has, once its stdin is closed: so it ends with its parent, and by ctrl+c.
"""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from knscope.analysis.runs import protocol
from knscope.analysis.runs.config import RunConfig
from knscope.store import processes
from knscope.store.errors import ProcessFailed, UserError
from knscope.store.processes import cpu_count


@dataclass(frozen=True)
class Task:
    """A share of the known facts of one model: every `of`-th, from `part`. `grouped` of all get the group truth."""

    config: RunConfig
    methods: tuple[str, ...]
    grouped: int = 8
    permutations: int = 200
    singles: int | None = None
    """Neurons ablated alone; None: all."""
    store: str = ""
    """A store that attributions are taken from, and that results are kept in."""
    irrelevant: int = 5
    part: int = 0
    of: int = 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "config": self.config.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Task:
        return cls(**{**stored, "config": RunConfig.from_json(stored["config"]), "methods": tuple(stored["methods"])})


@dataclass(frozen=True)
class Progress:
    """Facts measured and to be measured, over all tasks; `total` grows as models are loaded."""

    done: int
    total: int


def tasks(whole: Task, processes: int) -> list[Task]:
    """One task a model, or several where there are fewer models than processes."""
    models = whole.config.models
    of = max(1, processes // len(models))
    return [
        replace(whole, config=replace(whole.config, models=(model,)), part=part, of=of)
        for model in models
        for part in range(of)
    ]


class Measurement:
    """Runs tasks, at most `processes` at once, and joins what they find into one document a model."""

    def __init__(self, wanted: Sequence[Task], processes: int | None = None) -> None:
        self._waiting = list(wanted)
        self._size = max(1, processes or cpu_count())
        self._events: queue.SimpleQueue[tuple[int, Mapping[str, Any]]] = queue.SimpleQueue()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="knscope-")
        self._started = 0
        self._answered: set[int] = set()
        """Those that have given their result."""
        self._seen: dict[int, Progress] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        self.cancelled = False

    def run(self) -> Iterator[Progress]:
        """Progress as it comes; afterwards `documents` holds rows and groups by model. A first interrupt cancels, a second is raised.

        :raises UserError: with what a process says is wrong
        :raises ProcessFailed: where a process ends without a result
        """
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._size:
                    self._start(self._waiting.pop(0))
                try:
                    number, event = self._events.get()
                except KeyboardInterrupt:
                    if self.cancelled:
                        raise
                    self.cancel()
                else:
                    self._take(number, event)
                yield Progress(sum(p.done for p in self._seen.values()), sum(p.total for p in self._seen.values()))
        finally:
            self.cancel()
            for process in self._running.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
            self._folder.cleanup()

    def cancel(self) -> None:
        """Ask every process to end after the fact it is at; their results so far still arrive in `run`."""
        self.cancelled = self.cancelled or bool(self._waiting or self._running)
        self._waiting.clear()
        for process in self._running.values():
            if process.stdin and not process.stdin.closed:
                with suppress(BrokenPipeError):
                    process.stdin.close()

    def _start(self, task: Task) -> None:
        number, self._started = self._started, self._started + 1
        arguments = protocol.PROGRAM, "faithfulness", json.dumps(task.to_json(), ensure_ascii=False)
        with self._log(number).open("wb") as log:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            # in a session of its own: ctrl+c is ours to pass on
            self._running[number] = process = processes.start(*arguments, start_new_session=True, **pipes)
        threading.Thread(target=self._read, args=(number, process), daemon=True).start()

    def _log(self, number: int) -> Path:
        return Path(self._folder.name, f"{number}.txt")

    def _read(self, number: int, process: subprocess.Popen[bytes]) -> None:
        for event in protocol.events(process):
            self._events.put((number, event))

    def _take(self, number: int, event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            self._seen[number] = Progress(event["done"], event["total"])
        elif event["event"] == "error":
            raise UserError(event["message"])
        elif event["event"] == "result":
            found = event["document"]
            whole = self.documents.setdefault(found["model"], {"model": found["model"], "rows": [], "groups": []})
            whole["rows"] += found["rows"]
            whole["groups"] += found["groups"]
            self._answered.add(number)
        elif event["event"] == "ended":
            del self._running[number]
            if number not in self._answered and not self.cancelled:
                raise ProcessFailed(
                    processes.without_result(
                        "a measuring process", event["code"], processes.last_words(self._log(number))
                    )
                )
