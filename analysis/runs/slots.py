"""The places where a run's units are computed, one worker each, what each of them is at, and what went wrong there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from knscope.analysis.engine.sources import weight_bytes
from knscope.analysis.errors import ModelError
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.units import Unit
from knscope.store.errors import UserError

Cause = Literal["unit", "load", "store"]
"""Why a unit failed: by itself, because its model cannot be loaded in that place, or because the store cannot be written."""


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
    """Seconds without a word of its worker, as far as somebody listened."""
    limit: float = math.inf
    """To `silent`, beside what the pace of its unit allows."""

    @property
    def loads(self) -> bool:
        """Whether the unit waits for its model."""
        return self.unit is not None and (self.unit.phase == "load" or self.unit.source not in self.sources)


def fault(error: Exception, loading: bool) -> dict[str, Any]:
    """What a worker says of an error: `message`, `fatal` (`Outcome.fatal`) and `cause`.

    :param loading: the unit's model is not loaded yet
    """
    # The numeric core knows no store: past the load a UserError is a shard that cannot be written.
    cause: Cause = "load" if loading else "store" if isinstance(error, UserError) else "unit"
    for_a_person = isinstance(error, ModelError | UserError)
    message = str(error) if for_a_person else f"{type(error).__name__}: {error}"
    return {"message": message, "fatal": for_a_person or cause == "load", "cause": cause}


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


class Slots(Generic[AnySlot]):
    """The part of an executor that knows its slots, and for how long their workers have been silent."""

    def __init__(self, slots: Sequence[AnySlot], clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = list(slots)
        self.rest: Callable[[Unit], Unit | None] = lambda unit: unit
        self._pace = Pace()
        self._clock = clock
        self._listened = clock()

    def free(self) -> list[int]:
        return [index for index, slot in enumerate(self._slots) if slot.unit is None]

    def holds(self, slot: int) -> frozenset[str]:
        return frozenset(self._slots[slot].sources)

    def slots(self) -> list[str]:
        return [slot.settings.device for slot in self._slots]

    def busy(self) -> bool:
        return any(slot.unit is not None for slot in self._slots)

    def gpus(self) -> int:
        """How many slots there are if each computes on a GPU (or several), else 0."""
        return len(self._slots) if all(slot.settings.device.startswith("cuda") for slot in self._slots) else 0

    def silence(self) -> float:
        """Seconds without a word of the busy worker that has been silent for longest."""
        return max((slot.silent for slot in self._slots if slot.unit is not None), default=0.0)

    def _give(self, slot: AnySlot, unit: Unit) -> None:
        """A unit for the slot: nothing is held against its worker yet."""
        slot.unit, slot.silent, slot.limit = unit, 0.0, math.inf

    def _cancel(self) -> None:
        for slot in self._slots:
            slot.cancelled, slot.limit = True, slot.silent + ANSWER_SECONDS

    def _heard(self, slot: AnySlot) -> None:
        """A word of the slot's worker about its unit."""
        self._pace.learn(slot)
        slot.silent = 0.0

    def _overdue(self) -> list[AnySlot]:
        """Slots whose workers have been silent for longer than they may. To be asked again and again."""
        now = self._clock()
        passed, self._listened = min(now - self._listened, LISTENED), now
        busy = [slot for slot in self._slots if slot.unit is not None]
        for slot in busy:
            slot.silent += passed
        return [slot for slot in busy if slot.silent > min(slot.limit, self._pace.patience(slot))]
