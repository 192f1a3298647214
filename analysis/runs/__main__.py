"""`python -m knscope.analysis.runs job STORE RUN` does a run; `… worker STORE RUN` serves a model over stdin and stdout."""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.protocol import ERROR, PROGRAM
from knscope.analysis.runs.slots import Executor
from knscope.store import ending
from knscope.store import runs as run_files


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    job = parts.add_parser("job", help="do a run that is written down in STORE")
    worker = parts.add_parser("worker", help="serve a model: one JSON object a line")
    for part in (job, worker):
        part.add_argument("store", type=Path)
        part.add_argument("run")
    worker.add_argument("settings", help="an analysis.runs.protocol.WorkerSettings, as JSON")
    look = parts.add_parser("inspect", help="print what a model is, as JSON")
    look.add_argument("model")
    look.add_argument("--device", default="auto")
    look.add_argument("--dtype", default="float32")
    check = parts.add_parser("check", help="print what a model can do with some facts, as JSON")
    check.add_argument("config", help="an analysis.runs.config.RunConfig, as JSON")
    chat = parts.add_parser("chat", help="print a message in a model's own chat template, as JSON")
    chat.add_argument("model")
    chat.add_argument("text")
    question = parts.add_parser("question", help="print what a model answers to a prompt, as JSON")
    question.add_argument("question", help="an analysis.api.question.Question, as JSON")
    judge = parts.add_parser("judge", help="ablate a set of neurons on facts, and print what is left, as JSON")
    judge.add_argument("task", help="an analysis.judge.measure.Task, as JSON")
    truth = parts.add_parser("faithfulness", help="hold methods against measured truth: one JSON object a line")
    truth.add_argument("task", help="a Task of analysis.runs.measuring, as JSON")
    options = parser.parse_args()
    if options.part == "faithfulness":
        with _kept_stdout() as answer:
            from knscope.analysis.runs import truth as room
            from knscope.analysis.runs.worker import lower_priority

            lower_priority()
            return room.serve(options.task, answer)
    if options.part == "job":
        sys.stdin.buffer.read()  # until whoever started this has written down which process it is
        return do_job(options.store, options.run)
    return serve(options) if options.part == "worker" else report(options)


def do_job(store_path: Path, run: str) -> int:
    from knscope.analysis.runs import job

    status = job.execute(store_path, run, lambda config, cancelled: make_executor(store_path, run, config, cancelled))
    return {"done": 0, "cancelled": 130}.get(status, 1)


def make_executor(store_path: Path, run: str, config: RunConfig, cancelled: Callable[[], bool]) -> Executor[Any]:
    """Child processes, one a device; for `ray`, its actors; for `inline`, this process (which then imports torch)."""
    if config.engine == "ray":
        from knscope.analysis.runs.ray_pool import RayExecutor

        return RayExecutor(store_path, run, config)
    from knscope.analysis.runs import process_pool

    settings = process_pool.settings_of(config)
    if config.engine == "process":
        return process_pool.ProcessExecutor(store_path, run, settings, run_files.run_folder(store_path, run))
    from knscope.analysis.runs import worker as room

    first = settings[0]
    return process_pool.InlineExecutor(room.Worker(store_path, run, first), cancelled, first)


def report(options: argparse.Namespace) -> int:
    """`inspect`, `check` and `question`: progress, a JSON object a line, then one document on stdout; a person's error on stderr with exit
    code 2."""
    with _kept_stdout() as answer:

        def progress(done: int, total: int) -> None:
            answer.write(json.dumps({"event": "progress", "done": done, "total": total}) + "\n")

        from knscope.analysis.runs import inspection
        from knscope.analysis.runs.worker import USER_ERRORS

        try:
            if options.part == "chat":
                from knscope.analysis.engine.models import chat_prefix

                document = {"prefix": chat_prefix(options.model, options.text)}
            elif options.part == "inspect":
                document = inspection.inspect_model(options.model, options.device, options.dtype)
            elif options.part == "question":
                from knscope.analysis.api import question

                document = question.answer(question.Question.from_json(options.question), progress)
            elif options.part == "judge":
                from knscope.analysis.judge import measure

                document = measure.measure(measure.Task.from_json(options.task), progress)
            else:
                document = inspection.check_data(RunConfig.from_json(json.loads(options.config)), progress)
        except USER_ERRORS as error:
            sys.stderr.write(f"{ERROR}{error}\n")
            return 2
        answer.write(json.dumps(document, ensure_ascii=False, default=str))
    return 0


@contextmanager
def _kept_stdout() -> Iterator[TextIO]:
    """stdout for our own answer alone: whatever a library prints goes to stderr."""
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as answer:
        os.dup2(2, 1)
        yield answer


class Requests:
    """Requests off stdin, read on a thread so that `cancel` and end of file are heard while a unit is computed."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.waiting: queue.SimpleQueue[tuple[Mapping[str, Any] | None, threading.Event]] = queue.SimpleQueue()
        self._given: list[threading.Event] = []
        self._lock = threading.RLock()  # a signal may come while another one's handler holds it
        self._lines = lines
        self._closed = False
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            request = json.loads(line)
            if request["request"] == "cancel":
                self._cancel_all()
            else:
                given = threading.Event()
                with self._lock:
                    self._given.append(given)
                self.waiting.put((request, given))
        self._closed = True
        self._end()

    def _cancel_all(self) -> None:
        """Cancels what is under way and what waits, never what is asked afterwards."""
        with self._lock:
            for event in self._given:
                event.set()
            self._given.clear()

    def _end(self) -> None:
        self._cancel_all()
        self.waiting.put((None, threading.Event()))

    def interrupted(self, number: int, _: object) -> None:
        """SIGTERM and SIGINT: stop as after `cancel`, then end. Once nobody asks any more they end the process at once."""
        if not self._closed:
            self._end()
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def serve(options: argparse.Namespace) -> int:
    """The worker's loop. stdout is kept for events; whatever libraries print goes to the log, which is stderr."""
    with _kept_stdout() as events:

        def send(event: str, **fields: Any) -> None:
            events.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")

        # Not sys.stdin itself: Python cannot end while a thread waits at it.
        requests = Requests(os.fdopen(os.dup(0), "rb"))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, requests.interrupted)
        send("state", state="starting", pid=os.getpid())
        from knscope.analysis.runs import worker as room
        from knscope.analysis.runs.protocol import WorkerSettings

        room.lower_priority()
        worker = room.Worker(options.store, options.run, WorkerSettings(**json.loads(options.settings)))
        send("state", state="idle", loaded=[])
        with suppress(BrokenPipeError):  # nobody listens any more
            _serve(requests, worker, send)
    return 0


def _serve(requests: Requests, worker: Any, send: Callable[..., None]) -> None:
    from knscope.analysis.runs.slots import fault

    while True:
        request, cancelled = requests.waiting.get()
        if request is None:
            return
        try:
            _answer(request, worker, cancelled.is_set, send)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - a unit that fails is reported, and the next one served
            with suppress(OSError):  # the log may be on a full disk
                traceback.print_exc()
            source = request.get("unit", request).get("source")
            send("error", number=request.get("number", 0), **fault(error, source not in worker.loaded))


def _answer(request: Mapping[str, Any], worker: Any, cancelled: Callable[[], bool], send: Callable[..., None]) -> None:
    from knscope.analysis.runs.units import Unit

    kind = request["request"]
    if kind == "unload":
        worker.unload()
        send("state", state="idle", loaded=[])
    elif kind == "load":
        send("state", state="loading", source=request["source"])
        row = worker.load(request["source"]).row
        send("state", state="ready", source=request["source"], model=row, loaded=worker.loaded)
    elif kind == "compute":
        unit, number = Unit.from_json(request["unit"]), request.get("number", 0)

        def progress(done: int) -> None:
            send("progress", number=number, done=done, total=unit.size)

        if unit.source not in worker.loaded:
            worker.load(unit.source)
            send("state", state="ready", number=number, source=unit.source, loaded=worker.loaded)
        stored, model = worker.compute(unit, cancelled, progress)
        cut = cancelled() and stored < unit.size
        send("done", number=number, stored=stored, keys=worker.keys, model=model, loaded=worker.loaded, cut=cut)


if __name__ == "__main__":
    ending.end(main())
