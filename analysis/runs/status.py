"""What runs are doing, as an observer sees them: progress, rate, time left, and whether anybody is still there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from knscope.analysis.runs.speed import ENDS
from knscope.store import processes
from knscope.store import runs as run_files
from knscope.store.layout import check
from knscope.store.runs import ACTIVE, RunRecord

LOST_AFTER = 30.0  # seconds of the observer's own clock without a heartbeat
STILL = 3.0  # seconds for which one look waits for a heartbeat
STARVED = 20  # times as long where its process is seen to live: a loaded machine may keep it from beating
STARTING = 120.0  # seconds in which a process on another machine, whose clock may differ, says its first word
SILENT_AFTER = 30.0  # seconds without a word after which a run that goes on is called silent
LATE = 10.0  # seconds after which a time left that has run out is not told any more
ANSWERS = 5.0  # seconds without a word within which a run is sure to hear that it is to stop
UNHEARD = "it has not been heard of for a while"


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment. `rate` is results a second since its start, `left` seconds; None where nobody can say."""

    record: RunRecord
    status: str
    rate: float | None
    left: float | None
    unheard: float = 0.0
    """Seconds since a word came of the run, or of that of its workers that has been silent for longest."""

    @property
    def run(self) -> str:
        return self.record.run

    @property
    def silent(self) -> float | None:
        """`unheard`, where a person should know of it."""
        return self.unheard if self.unheard > SILENT_AFTER else None

    @property
    def answers(self) -> bool:
        """Whether the run is sure to hear that it is to stop."""
        return self.unheard < ANSWERS

    def to_json(self) -> dict[str, object]:
        record = self.record
        return {
            "run": record.run,
            "status": self.status,
            "done": record.done,
            "total": record.total,
            "rate": self.rate,
            "seconds_left": self.left,
            "silent_seconds": self.silent,
            "failures": list(record.failures),
            "message": record.message,
            "config": record.config,
            "provenance": record.provenance,
        }


class Observer:
    """Looks at a store's runs again and again. Never trusts another machine's clock: only whether a beat moves."""

    def __init__(self, store_path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = check(store_path)
        self._records = run_files.Records(self._path)
        self._clock = clock
        self._moved: dict[str, tuple[int, float]] = {}
        self._first: dict[str, tuple[float, int, float]] = {}
        """When a run, or the present task of a desk's run, had started by its own clock; what was done when it was first
        seen, and when that was."""
        self._last: dict[str, int] = {}

    def look(self) -> list[RunStatus]:
        """All runs as they are now, oldest first."""
        return [self._judge(record) for record in self._records.read()]

    def run(self, name: str) -> RunStatus:
        return self._judge(run_files.read_run(self._path, name))

    def settled(self, patience: float = STILL) -> list[RunStatus]:
        """Like `look`; where a run claims to be active whose process is not seen, waits a moment for its heart to beat.

        One that stays silent is judged after `patience` seconds already: a person waits for this answer.
        """
        seen = self.look()
        deadline = self._clock() + patience
        doubtful = {one.run: one.record.beat for one in seen if one.status in ACTIVE and _is_doubtful(one.record)}
        while doubtful and self._clock() < deadline:
            time.sleep(0.2)
            seen = self.look()
            doubtful = {one.run: beat for one in seen if (beat := doubtful.get(one.run)) == one.record.beat}
        return [
            self._gone(one.record, UNHEARD) if one.run in doubtful and one.status in ACTIVE else one for one in seen
        ]

    def _judge(self, record: RunRecord) -> RunStatus:
        now = self._clock()
        beat, since = self._moved.get(record.run, (-1, now))
        if beat != record.beat:
            since = now
            self._moved[record.run] = (record.beat, now)
        lives = processes.lives(record.provenance) if record.status in ACTIVE else None
        if lives is False or _never_began(record):
            record = run_files.read_run(self._path, record.run)  # it may have said its last word just now
            if record.status in ACTIVE:
                return self._gone(record, "its process is gone")
        if record.status not in ACTIVE:
            return RunStatus(record, record.status, _mean_rate(record), None)
        if now - since > LOST_AFTER * (STARVED if lives else 1):
            return self._gone(record, UNHEARD)
        rate = self._rate(record, now) or _mean_rate(record)
        left = (record.total - record.done) / rate if rate else None
        if ENDS in record.provenance:  # what the run itself expects, by kinds of work; None while it cannot tell
            ends = record.provenance[ENDS]
            late = ends is not None and record.heartbeat - ends > LATE  # it takes longer than it expected
            left = None if ends is None or late else max(0.0, ends - record.heartbeat)
        # A process that is seen here has the clock that is read here.
        still = time.time() - max(record.heartbeat, record.created) if lives else now - since
        of_worker = record.heartbeat - record.heard if record.heard else 0.0
        return RunStatus(record, record.status, rate, left, max(still, 0.0) + max(of_worker, 0.0))

    def _gone(self, record: RunRecord, why: str) -> RunStatus:
        """Nobody is there any more: the run is lost, or has failed where it never began. Says the last line of its log."""
        said = processes.last_words(run_files.log_file(self._path, record.run))
        if not record.beat:
            why = f"its process ended before it began{': ' if said else ', and said nothing'}{said}"
        elif said:
            why += f"; the last line of its log: {said}"
        status, rate = ("lost", _mean_rate(record)) if record.beat else ("failed", None)
        return RunStatus(replace(record, message=why), status, rate, None)

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


def _never_began(record: RunRecord) -> bool:
    """Whether whoever was to start the run's process is gone, too: which process it is, is written down within a moment."""
    unknown = "pid" not in record.provenance and not record.beat
    return record.status in ACTIVE and unknown and time.time() - record.created > LOST_AFTER


def _is_doubtful(record: RunRecord) -> bool:
    """Whether the run's process cannot be seen from here, and should have said something."""
    starting = not record.beat and time.time() - record.created < STARTING
    return not starting and processes.lives(record.provenance) is None
