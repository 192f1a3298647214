"""What runs are doing, as an observer sees them: progress, rate, time left, and whether anybody is still there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from knscope.store import runs as run_files
from knscope.store.layout import check
from knscope.store.runs import RunRecord

LOST_AFTER = 30.0  # seconds of the observer's own clock without a heartbeat
STILL = 3.0  # seconds without one after which its process is looked for
STARVED = 20  # times as long where its process is seen to live: a loaded machine may keep it from beating
ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment. `rate` is results a second since its start, `left` seconds; None where nobody can say."""

    record: RunRecord
    status: str
    rate: float | None
    left: float | None

    @property
    def run(self) -> str:
        return self.record.run

    def to_json(self) -> dict[str, object]:
        record = self.record
        return {
            "run": record.run,
            "status": self.status,
            "done": record.done,
            "total": record.total,
            "rate": self.rate,
            "seconds_left": self.left,
            "failures": list(record.failures),
            "message": record.message,
            "config": record.config,
            "provenance": record.provenance,
        }


class Observer:
    """Looks at a store's runs again and again. Never trusts another machine's clock: only whether a beat moves."""

    def __init__(self, store_path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = check(store_path)
        self._clock = clock
        self._moved: dict[str, tuple[int, float]] = {}
        self._first: dict[str, tuple[float, int, float]] = {}
        """When a run, or the present task of a desk's run, had started by its own clock; what was done when it was first
        seen, and when that was."""
        self._last: dict[str, int] = {}

    def look(self) -> list[RunStatus]:
        """All runs as they are now, oldest first."""
        return [self._judge(record) for record in run_files.read_runs(self._path)]

    def run(self, name: str) -> RunStatus:
        return self._judge(run_files.read_run(self._path, name))

    def settled(self, patience: float = STILL) -> list[RunStatus]:
        """Like `look`; where a run claims to be active whose process is not seen, waits a moment for its heart to beat.

        One that stays silent is judged after `patience` seconds already: a person waits for this answer.
        """
        seen = self.look()
        deadline = self._clock() + patience
        doubtful = {one.run: one.record.beat for one in seen if one.status == "running" and not _is_seen(one.record)}
        while doubtful and self._clock() < deadline:
            time.sleep(0.2)
            seen = self.look()
            doubtful = {one.run: beat for one in seen if (beat := doubtful.get(one.run)) == one.record.beat}
        return [
            RunStatus(one.record, "lost", None, None) if one.run in doubtful and one.status in ACTIVE else one
            for one in seen
        ]

    def _judge(self, record: RunRecord) -> RunStatus:
        now = self._clock()
        beat, since = self._moved.get(record.run, (-1, now))
        if beat != record.beat:
            since = now
            self._moved[record.run] = (record.beat, now)
        status = record.status
        if status in ACTIVE:
            patience = LOST_AFTER * (STARVED if _lives(record) else 1)
            still = now - since
            # A process may live and not be seen from here (in a container, say), but then its heart beats.
            if still > patience or (still > STILL and _is_dead(record)):
                status = "lost"
        rate = self._rate(record, now) if status in ACTIVE else None
        rate = rate or _mean_rate(record)
        left = (record.total - record.done) / rate if rate and status in ACTIVE else None
        return RunStatus(record, status, rate, left)

    def _rate(self, record: RunRecord, now: float) -> float | None:
        """Results a second since the run was first seen; None where there is none yet."""
        first = self._first.get(record.run)
        if first is None or first[0] != record.started or record.done < self._last[record.run]:
            first = self._first[record.run] = (record.started, record.done, now)  # a desk's run begins again at 0
        self._last[record.run] = record.done
        _, done, start = first
        return (record.done - done) / (now - start) if now - start > 1.0 and record.done > done else None


def _mean_rate(record: RunRecord) -> float | None:
    """Results a second over the run's whole life, by its own machine's clock."""
    seconds = record.heartbeat - record.started if record.started else 0.0
    return record.computed / seconds if seconds > 1.0 and record.computed else None


def _is_here(record: RunRecord) -> bool:
    return bool(record.provenance.get("host") == socket.gethostname())


def _is_seen(record: RunRecord) -> bool:
    """Whether the run's process can be looked for here, and is there."""
    return _is_here(record) and not _is_dead(record)


def _lives(record: RunRecord) -> bool:
    """Whether the run's process is on this very machine and there still: a loaded machine may keep it from beating."""
    pid = record.provenance.get("pid")
    if not _is_here(record) or not isinstance(pid, int):
        return False
    try:
        return psutil.Process(pid).create_time() <= max(record.heartbeat, record.created) + 60  # else another's number
    except psutil.Error:
        return False


def _is_dead(record: RunRecord) -> bool:
    """Whether the run's process, on this very machine, is gone."""
    pid = record.provenance.get("pid")
    if not _is_here(record) or not isinstance(pid, int):
        return False
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # it is there, but not ours to look at
        return False
