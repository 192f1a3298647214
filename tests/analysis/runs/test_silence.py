"""For how long a worker may be silent, and what becomes of one that is silent for longer."""

import math
from pathlib import Path

import pytest

from knscope.analysis.runs import process_pool
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.slots import ANSWER_SECONDS, LISTENED, Outcome, Pace
from knscope.analysis.runs.units import Unit
from tests.analysis.runs.test_schedule import rows

Pool = tuple[process_pool.ProcessExecutor, list[float]]


class Mute:
    """A worker that says nothing of its own."""

    def __init__(self, *_: object) -> None:
        self.asked: list[Unit] = []
        self.killed = False

    def compute(self, unit: Unit, number: int) -> None:
        self.asked.append(unit)

    def cancel(self) -> None:
        pass

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """An executor of one mute worker that holds model `m`, and the clock that it reads."""
    monkeypatch.setattr(process_pool, "ModelWorker", Mute)
    executor, now = process_pool.ProcessExecutor(tmp_path, "run", [WorkerSettings("cpu")], tmp_path), [0.0]
    executor._clock = lambda: now[0]
    executor._listened = 0.0
    return executor, now


def silent(pool: Pool, seconds: float) -> list[Outcome]:
    """What comes of it where nothing is heard for so long, while somebody listens."""
    executor, now = pool
    outcomes, end = [], now[0] + seconds
    while now[0] < end:
        now[0] = min(now[0] + 0.5, end)
        outcomes += executor.outcomes(0)
    return outcomes


def goes_on(pool: Pool, after: float) -> None:
    silent(pool, after)
    slot = pool[0]._slots[0]
    pool[0]._handle(0, None, {"event": "progress", "number": slot.number, "done": 1})


def test_worker_that_stops_answering_is_killed_and_its_unit_tried_again(
    pool: Pool,
) -> None:
    executor, slot, unit = pool[0], pool[0]._slots[0], Unit("attribute", "m", "amig", queries=tuple(rows()))
    executor.submit(0, unit)
    slot.sources.add("m")
    executor._handle(0, None, {"event": "progress", "number": slot.number, "done": 0})
    assert executor._pace.patience(slot) == Pace.UNKNOWN, (
        "nothing is computed yet: a row may take longer than this word"
    )
    goes_on(pool, 8)
    assert silent(pool, 10 * 8) == [] and executor.silence() == 80
    executor._handle(0, None, {"event": "progress", "number": slot.number, "done": 1})
    assert executor.silence() == 0, "it goes on with its row"
    assert silent(pool, 10 * 8) == [] and executor.silence() == 80 and slot.silent == 160
    first = slot.worker
    assert isinstance(first, Mute) and not first.killed
    assert silent(pool, 1) == [] and first.killed and executor.silence() < 1
    again = slot.worker
    assert isinstance(again, Mute) and again is not first and again.asked == [unit] and slot.sources == set()
    assert executor._handle(0, first, {"event": "ended", "code": -9}) == [], "the end of the first is no news"


def test_unit_at_which_three_workers_stop_answering_has_failed(
    pool: Pool,
) -> None:
    executor, slot, unit = pool[0], pool[0]._slots[0], Unit("attribute", "m", "amig", queries=tuple(rows()))
    executor.submit(0, unit)
    for _ in range(process_pool.MAX_DEATHS):
        slot.sources.add("m")
        goes_on(pool, 1)
        outcomes = silent(pool, 121)
    (outcome,) = outcomes
    assert outcome.cause == "unit" and "died 3 times (no word for 12" in str(outcome.error)


def test_pace_of_a_kind_of_unit_limits_no_other_kind(pool: Pool) -> None:
    executor, slot = pool[0], pool[0]._slots[0]
    executor.submit(0, Unit("attribute", "m", "amig"))
    slot.sources.add("m")
    goes_on(pool, 1)
    limits = []
    for unit in (
        Unit("attribute", "m", "amig"),
        Unit("attribute", "m", "bkn"),
        Unit("scan", "m", "amig"),
        Unit("load", "m"),
    ):
        slot.unit = unit
        limits.append(executor._pace.patience(slot))
    assert limits == [Pace.LEAST, Pace.UNKNOWN, Pace.UNKNOWN, math.inf], "what is fetched may take any time"


def test_workers_are_not_blamed_for_time_in_which_nobody_listened(
    pool: Pool,
) -> None:
    executor, now = pool
    executor.submit(0, Unit("attribute", "m", "amig"))
    executor._slots[0].sources.add("m")
    goes_on(pool, 1)
    now[0] += 10_000  # the run's own process was stopped
    assert executor.outcomes(0) == [] and executor.silence() <= LISTENED


def test_cancelled_worker_that_does_not_answer_is_killed(
    pool: Pool,
) -> None:
    executor, unit = pool[0], Unit("attribute", "m", "amig", queries=tuple(rows()))
    executor.submit(0, unit)
    assert silent(pool, 75) == []
    executor.cancel()
    assert silent(pool, ANSWER_SECONDS) == [] and silent(pool, 1) == [Outcome(unit)]
    assert not executor.busy()
