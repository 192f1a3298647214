"""Run records: what a run was asked to do, with what it computes, and how far it is. One writer, any number of readers."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from knscope.store.errors import UserError
from knscope.store.layout import CLOSED, read_json, write_json


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


def new_name() -> str:
    """A run's id, which sorts by time. Nothing is written."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def new_run(store: Path, config: dict[str, Any], run: str = "") -> str:
    """Write down a run that is about to start; returns its id: a new one, or that which `new_name` gave before."""
    run = run or new_name()
    try:
        (run_folder(store, run) / "shards").mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"{store} cannot be written ({error.strerror}); make it writable or name another store"
        ) from error
    write_run(store, RunRecord(run, config=config, created=time.time()))
    return run


def run_folder(store: Path, run: str) -> Path:
    return store / "runs" / run


def write_run(store: Path, record: RunRecord) -> None:
    """Replace run.json atomically."""
    write_json(run_folder(store, record.run) / "run.json", asdict(record))


def beating(record: RunRecord) -> RunRecord:
    """The record with its heart moved on by one."""
    return replace(record, beat=record.beat + 1, heartbeat=time.time())


def read_run(store: Path, run: str) -> RunRecord:
    """Raises UserError where the run does not exist or its file is damaged."""
    path = run_folder(store, run) / "run.json"
    if not os.access(path.parent, os.X_OK) and path.parent.is_dir():
        raise UserError(f"{path.parent} is {CLOSED}")
    if not path.exists():
        raise UserError(f"{store} has no run {run!r}; it has {', '.join(_run_names(store)) or 'none'}")
    stored = read_json(path)
    known = {f.name for f in fields(RunRecord)}
    values = {name: value for name, value in stored.items() if name in known}
    return RunRecord(**(values | {"failures": tuple(values.get("failures", ())), "run": run}))


def read_runs(store: Path) -> list[RunRecord]:
    """All readable runs, oldest first; a folder without a readable run.json is passed over."""
    found = []
    for name in _run_names(store):
        try:
            found.append(read_run(store, name))
        except (UserError, TypeError, PermissionError):
            continue
    return found


def request_cancel(store: Path, run: str) -> None:
    """Ask a run to stop at its next unit boundary."""
    read_run(store, run)
    (run_folder(store, run) / "cancel").touch()


def cancel_requested(store: Path, run: str) -> bool:
    return (run_folder(store, run) / "cancel").exists()


def _run_names(store: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(store / "runs") if entry.is_dir())
    except (FileNotFoundError, PermissionError):
        return []
