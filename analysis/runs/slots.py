"""The places where a run's units are computed, one worker each, what each of them is at, and what went wrong there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from knscope.analysis.errors import ModelError
from knscope.analysis.runs.plan import Unit
from knscope.analysis.runs.protocol import WorkerSettings
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


def fault(error: Exception, loading: bool) -> dict[str, Any]:
    """What a worker says of an error: `message`, `fatal` (`Outcome.fatal`) and `cause`.

    :param loading: the unit's model is not loaded yet
    """
    # The numeric core knows no store: past the load a UserError is a shard that cannot be written.
    cause: Cause = "load" if loading else "store" if isinstance(error, UserError) else "unit"
    for_a_person = isinstance(error, ModelError | UserError)
    message = str(error) if for_a_person else f"{type(error).__name__}: {error}"
    return {"message": message, "fatal": for_a_person or cause == "load", "cause": cause}


AnySlot = TypeVar("AnySlot", bound=Slot)


class Slots(Generic[AnySlot]):
    """The part of an executor that only looks at its slots."""

    def __init__(self, slots: Sequence[AnySlot]) -> None:
        self._slots = list(slots)
        self.rest: Callable[[Unit], Unit | None] = lambda unit: unit

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
