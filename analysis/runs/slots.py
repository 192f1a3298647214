"""The places where a run's units are computed, one worker each, what each of them is at, and what went wrong there."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from knscope.analysis.engine.sources import weight_bytes
from knscope.analysis.errors import ModelError
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.units import Unit
from knscope.store.errors import UserError

Cause = Literal["unit", "load", "store"]
"""Why a unit failed: by itself, because its model cannot be loaded in that place, or because the store cannot be written."""
MAX_DEATHS = 3  # of workers on one unit, before the unit counts as failed


@dataclass
class Slot:
    """One worker's place."""

    settings: WorkerSettings
    unit: Unit | None = None
    """What it is at; None: nothing."""
    deaths: int = 0
    """Of its workers, on the present unit."""
    cancelled: bool = False
    """Somebody wants the present unit stopped."""
    sources: set[str] = field(default_factory=set)
    """Models the worker holds."""
    silent: float = 0.0
    """Seconds without a result of its worker, as far as somebody listened."""
    unheard: float = 0.0
    """Seconds without any word of it: one that is at a long row says that it goes on."""
    limit: float = math.inf
    """To `silent`, beside what the pace of its unit allows."""

    @property
    def loads(self) -> bool:
        """Whether the unit waits for its model."""
        return self.unit is not None and (self.unit.phase == "load" or self.unit.source not in self.sources)


@dataclass(frozen=True)
class Outcome:
    """What became of a submitted unit: `error` is None when it is committed; `stored` counts results, `model` is
    what a load or a try answers.
    """

    unit: Unit
    error: str | None = None
    stored: int = 0
    model: Mapping[str, Any] | None = None
    fatal: bool = False
    """The error is one that a person can put right, or no part of the unit would do better."""
    cut: bool = False
    """Its worker was told to stop, though not by `cancel`: what is left is to be done elsewhere."""
    cause: Cause = "unit"
    """Of the error."""
    slot: int = 0
    seconds: float = 0.0
    """What computing took, without loading the model (of a load: what that took); 0 where it is not known."""


def fault(error: Exception, loading: bool) -> dict[str, Any]:
    """What a worker says of an error: `message`, `fatal` (`Outcome.fatal`) and `cause`.

    :param loading: the unit's model is not loaded yet
    """
    # The numeric core knows no store: past the load a UserError is a shard that cannot be written.
    cause: Cause = "load" if loading else "store" if isinstance(error, UserError) else "unit"
    for_a_person = isinstance(error, ModelError | UserError)
    message = str(error) if for_a_person else f"{type(error).__name__}: {error}"
    return {"message": message, "fatal": for_a_person or cause == "load", "cause": cause}


def failed(unit: Unit, slot: int, said: Mapping[str, Any]) -> Outcome:
    """The outcome of a unit whose worker said what `fault` says."""
    cause = said.get("cause", "unit")
    return Outcome(unit, str(said["message"]), fatal=bool(said.get("fatal")), cause=cause, slot=slot)


class Pace:
    """How long a worker may be silent: many times as long as it ever was on a unit of the same kind before it went on."""

    TIMES = 20
    LEAST, LEAST_LOADING = 120.0, 600.0  # seconds
    UNKNOWN = 7200.0
    """Before anything is known of a kind."""

    def __init__(self) -> None:
        self._longest: dict[tuple[str, str, str], float] = {}

    def learn(self, slot: Slot) -> None:
        """The slot's worker has just said something of its unit."""
        kind = self._kind(slot)
        self._longest[kind] = max(self._longest.get(kind, 0.0), slot.silent)

    def patience(self, slot: Slot) -> float:
        """Seconds. A model that is to be fetched may take any time."""
        longest = self._longest.get(self._kind(slot))
        if longest is not None:
            return max(self.LEAST_LOADING if slot.loads else self.LEAST, self.TIMES * longest)
        assert slot.unit is not None
        return math.inf if slot.loads and weight_bytes(slot.unit.source) is None else self.UNKNOWN

    @staticmethod
    def _kind(slot: Slot) -> tuple[str, str, str]:
        assert slot.unit is not None
        return ("load", "", slot.unit.source) if slot.loads else (slot.unit.phase, slot.unit.method, slot.unit.source)


ANSWER_SECONDS = 30.0
"""In which a worker answers when its unit is cancelled."""
LISTENED = 5.0
"""Seconds between two looks that count at most: who is held up himself cannot say that a worker is silent."""
AnySlot = TypeVar("AnySlot", bound=Slot)


class Executor(ABC, Generic[AnySlot]):
    """Takes units while it has a free slot and hands back outcomes in any order."""

    def __init__(self, slots: Sequence[AnySlot], clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = list(slots)
        self.rest: Callable[[Unit], Unit | None] = lambda unit: unit
        """What is left to do of a unit whose worker has died; None: nothing. Whoever has a schedule says so."""
        self._pace = Pace()
        self._clock = clock
        self._listened = clock()

    @abstractmethod
    def submit(self, slot: int, unit: Unit) -> None: ...

    @abstractmethod
    def outcomes(self, timeout: float) -> list[Outcome]: ...

    @abstractmethod
    def cancel(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def under_way(self) -> int:
        """Results that units not finished yet have computed so far, as far as that is known."""
        return 0

    def partly(self) -> list[tuple[Unit, int, float]]:
        """Of each of these that is timed: what it has computed, and in how many seconds."""
        return []

    def free(self) -> list[int]:
        return [index for index, slot in enumerate(self._slots) if slot.unit is None]

    def holds(self, slot: int) -> frozenset[str]:
        """Sources of the models the slot has loaded."""
        return frozenset(self._slots[slot].sources)

    def slots(self) -> list[str]:
        """What each slot computes on, free or not; slots of one name are alike."""
        return [slot.settings.device for slot in self._slots]

    def busy(self) -> bool:
        return any(slot.unit is not None for slot in self._slots)

    def gpus(self) -> int:
        """How many slots there are if each computes on a GPU (or several), else 0."""
        return len(self._slots) if all(slot.settings.device.startswith("cuda") for slot in self._slots) else 0

    def silence(self) -> float:
        """Seconds without a word of the busy worker that has been silent for longest."""
        return max((slot.unheard for slot in self._slots if slot.unit is not None), default=0.0)

    def _give(self, slot: AnySlot, unit: Unit) -> None:
        """A unit for the slot: nothing is held against its worker yet."""
        slot.unit, slot.silent, slot.unheard, slot.limit = unit, 0.0, 0.0, math.inf

    def _cancel(self) -> None:
        for slot in self._slots:
            slot.cancelled, slot.limit = True, slot.silent + ANSWER_SECONDS

    def _heard(self, slot: AnySlot) -> None:
        """A word of the slot's worker about its unit."""
        self._pace.learn(slot)
        slot.silent = slot.unheard = 0.0

    def _overdue(self) -> list[AnySlot]:
        """Slots whose workers have been silent for longer than they may. To be asked again and again."""
        now = self._clock()
        passed, self._listened = min(now - self._listened, LISTENED), now
        busy = [slot for slot in self._slots if slot.unit is not None]
        for slot in busy:
            slot.silent += passed
            slot.unheard += passed
        return [slot for slot in busy if slot.silent > min(slot.limit, self._pace.patience(slot))]
