"""Python processes of our own: how they are started, how one is told from all others, and what is known of one that has ended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from knscope.store import files, safe_path

SAME_START = 2.0  # seconds by which two readings of one process's start may differ
LAST_BYTES = 8192
LONGEST = 300


def start(module: str, *arguments: str, threads: int = 1, **options: Any) -> subprocess.Popen[Any]:
    """Start a module as a process of its own, with library threads bounded. `options` are those of `subprocess.Popen`."""
    count = str(threads)
    environment = {
        **safe_path.environment(),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",  # none of its threads after a fork
    }
    return subprocess.Popen(safe_path.command(module, *arguments), env=environment, **options)


def identity(pid: int | None = None) -> dict[str, Any]:
    """What tells a process of this machine (this one, where none is named) from every other: no other has these four in common."""
    pid = os.getpid() if pid is None else pid
    with suppress(psutil.Error):  # one that has ended by now
        return {**_place(), "pid": pid, "process_started": psutil.Process(pid).create_time()}
    return {**_place(), "pid": pid}


def lives(process: Mapping[str, Any]) -> bool | None:
    """Whether the process of an `identity` is there still; None where that cannot be told from here."""
    pid, started = process.get("pid"), process.get("process_started")
    if any(process.get(name) != value for name, value in _place().items()):
        return None
    if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(started, int | float):
        return None
    try:
        found = psutil.Process(pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        # Another process may have the number by now, or the clock was set: only the run's heart can say.
        return True if abs(found.create_time() - started) <= SAME_START else None
    except psutil.NoSuchProcess:
        return None if _is_hidden(pid) else False
    except psutil.Error:  # it is there, but not ours to look at
        return None


def find(module: str, run: str) -> Iterator[psutil.Process]:
    """Processes of this machine that were started as a module for a run."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if module in words and run in words and process.pid != os.getpid():
                yield process


def ending(code: int) -> str:
    """How a process ended, by its exit code."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def without_result(what: str, code: int, said: str = "") -> str:
    """A message on a process that has ended and not answered."""
    return f"{what} ended without a result ({ending(code)}){': ' if said else ''}{said}"


def last_words(log: Path) -> str:
    """The last line of a log, for a message; empty where there is none."""
    with suppress(OSError), files.opened(log.parent, log.name) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES))
        return last_line(file.read(LAST_BYTES).decode("utf-8", errors="replace"))
    return ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:LONGEST] if lines else ""


def _place() -> dict[str, str]:
    """This machine since its start and, of containers, this one: they may share a host's name, and their process numbers overlap."""
    return {"host": socket.gethostname(), "boot": " ".join(_boot())}


def _boot() -> Sequence[str]:
    """Linux says both; elsewhere the start of the process has to do."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path
    except OSError:
        return ()


def _is_hidden(pid: int) -> bool:
    """Whether there is a process that this user may not see."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
