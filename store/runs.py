"""Run records: what a run was asked to do, with what it computes, and how far it is. One writer, any number of readers."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from knscope.store import files
from knscope.store.errors import UserError
from knscope.store.layout import CLOSED, RUNS, read_json, write_json

RUN_FILE = "run.json"
ACTIVE = ("queued", "running")
QUIET = 60.0
"""Seconds after which a run that says it goes on, and says nothing new, is taken for one that has ended, as far as reading goes."""
DAMAGED = "damaged"
"""The status of a run whose run.json cannot be used; its message says why."""


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json. `beat` counts up while the run lives; an observer trusts that it moves, not the clock."""

    run: str
    status: str = "queued"
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    started: float = 0.0
    heartbeat: float = 0.0
    beat: int = 0
    total: int = 0
    done: int = 0
    computed: int = 0
    """Results computed by this run itself; `done` also counts those found stored."""
    failures: tuple[str, ...] = ()
    message: str = ""
    heard: float = 0.0
    """When the worker that has been silent for longest was last heard, by the clock of `heartbeat`; 0: none is at work."""


@dataclass(frozen=True)
class _Number:
    most: float
    least: float = 0
    whole: bool = True

    def holds(self, value: object) -> bool:
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.least <= value <= self.most  # type: ignore[operator]


_SECONDS, _COUNT = _Number(1e11, whole=False), _Number(2**53)
_SHAPE: dict[Any, Any] = {
    "status": str,
    "message": str,
    "failures": [str],
    **dict.fromkeys(("created", "started", "heartbeat", "heard"), _SECONDS),
    **dict.fromkeys(("beat", "total", "done", "computed"), _COUNT),
    "config": {
        "models": [{"source": str, "langs": [str]}],
        "data": str,
        "facts": (_COUNT, None),
        "seed": _COUNT,
        **{
            name: [str]
            for name in ("columns", "langs", "relations", "methods", "what", "scan_methods", "table_langs", "fact_ids")
        },
    },
    "provenance": {
        **dict.fromkeys(("host", "platform", "python", "code", "dataset", "dataset_hash", "device"), str),
        "pid": _Number(2**31 - 1, least=1),
        "numerics_version": _Number(2**31 - 1),
        "seed": _COUNT,
        "queries": _COUNT,
        "libraries": {str: str},
        "methods": {str: {}},
        "models": {str: {"model": str}},
        "ends": (_SECONDS, None),
        "speed": {str: {str: [_Number(1e15, whole=False)] * 2}},
    },
}
"""What run.json holds, as far as it is read: a type, a number, a list of one shape or of just those
named, alternatives, or an object by name (any name: `str`). More may be there, and less."""


def _misfit(value: Any, shape: Any, where: str) -> str:
    """The first place at which a value has another shape; empty where it fits."""
    if isinstance(shape, tuple):
        return where if all(_misfit(value, one, where) for one in shape) else ""
    if isinstance(shape, list) and isinstance(value, list) and len(shape) > 1:
        named = zip(value, shape, strict=True) if len(value) == len(shape) else [(value, None)]
        return next((bad for one, its in named if (bad := _misfit(one, its, where))), "")
    if isinstance(shape, list) and isinstance(value, list):
        return next((bad for one in value if (bad := _misfit(one, shape[0], where))), "")
    if isinstance(shape, dict) and isinstance(value, dict):
        parts = ((one, shape.get(name, shape.get(str, object)), f"{where}.{name}") for name, one in value.items())
        return next((bad for part in parts if (bad := _misfit(*part))), "")
    if isinstance(shape, _Number):
        return "" if shape.holds(value) else where
    return "" if (value is None if shape is None else isinstance(shape, type) and isinstance(value, shape)) else where


def new_name() -> str:
    """A run's id, which sorts by time. Nothing is written."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def new_run(store: Path, config: dict[str, Any], run: str = "") -> str:
    """Write down a run that is about to start; returns its id: a new one, or that which `new_name` gave before."""
    run = run or new_name()
    try:
        (run_folder(store, run) / "shards").mkdir(parents=True)
        write_run(store, RunRecord(run, config=config, created=time.time()))
        files.flush(run_folder(store, run), store / RUNS, store)
    except OSError as error:
        raise UserError(
            f"{store} cannot be written ({error.strerror}); make it writable or name another store"
        ) from error
    return run


def run_folder(store: Path, run: str) -> Path:
    return store / RUNS / run


def log_file(store: Path, run: str) -> Path:
    """What the run's process prints."""
    return run_folder(store, run) / "log.txt"


def write_run(store: Path, record: RunRecord) -> None:
    """Replace run.json atomically."""
    write_json(run_folder(store, record.run) / RUN_FILE, asdict(record))


def beating(record: RunRecord) -> RunRecord:
    """The record with its heart moved on by one."""
    return replace(record, beat=record.beat + 1, heartbeat=time.time())


def read_run(store: Path, run: str) -> RunRecord:
    """Raises UserError where the run does not exist or its file is damaged."""
    path = run_folder(store, run) / RUN_FILE
    if not os.access(path.parent, os.X_OK) and path.parent.is_dir():
        raise UserError(f"{path.parent} is {CLOSED}")
    if not os.path.lexists(path):
        raise UserError(f"{store} has no run {run!r}; it has {', '.join(files.folders(store / RUNS)) or 'none'}")
    stored = read_json(path)
    if where := _misfit(stored, _SHAPE, ""):
        raise UserError(
            f"{path}: {where.removeprefix('.')} is not what knscope writes there; the results of the run are read without it"
        )
    known = {f.name for f in fields(RunRecord)}
    values = {name: value for name, value in stored.items() if name in known}
    return RunRecord(**(values | {"failures": tuple(values.get("failures", ())), "run": run}))


def read_runs(store: Path) -> list[RunRecord]:
    """All runs, oldest first. One whose run.json cannot be used has the status `damaged`; a folder without one, or one that this user
    may not look into, is passed over."""
    return Records(store).read()


class Records:
    """The records of a store's runs, for who asks again and again: one is read only where it may have changed.

    A run that has ended hardly changes, and its file's times tell. Those of a run that goes on are not trusted: on a network they may be
    old, while opening a file asks anew.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._folder = files.Folder(store / RUNS)
        self._known: dict[str, tuple[object, float, RunRecord | None]] = {}
        """Of each run: what changes with its file, when it last did, and what it says."""

    def read(self) -> list[RunRecord]:
        """As `read_runs`."""
        now = time.monotonic()
        if self._folder.changed(now):
            self._known = {name: self._known[name] for name in self._folder.names if name in self._known}
        found = []
        for name in self._folder.names:
            stamp = _stamp(f"{self._store}/{RUNS}/{name}/{RUN_FILE}")
            before, since, record = self._known.get(name, (None, now, None))
            if stamp != before or (record and record.status in ACTIVE and now - since < QUIET):
                record = _record(self._store, name) if stamp else None
                self._known[name] = (stamp, now if stamp != before else since, record)
            if record:
                found.append(record)
        return found


def _stamp(path: str) -> object:
    """What changes when a file is replaced; None where there is none, or none that this user may look at."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _record(store: Path, run: str) -> RunRecord:
    try:
        return read_run(store, run)
    except UserError as error:
        return RunRecord(run, DAMAGED, message=str(error))


def request_cancel(store: Path, run: str) -> None:
    """Ask a run to stop at its next pass."""
    read_run(store, run)
    try:
        files.append(run_folder(store, run), "cancel", "")
    except OSError as error:
        raise UserError(f"run {run} cannot be asked to stop: {error.filename}: {error.strerror}") from error


def cancel_requested(store: Path, run: str) -> bool:
    return (run_folder(store, run) / "cancel").exists()


def take_cancel(store: Path, run: str) -> bool:
    """Whether a run was asked to stop. What it does after this answer was not meant."""
    try:
        (run_folder(store, run) / "cancel").unlink()
    except OSError:
        return False
    return True
