"""The places where a run's units are computed, one worker each, and what each of them is at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from analysis.runs.client import WorkerSettings
from analysis.runs.plan import Unit


@dataclass
class Slot:
    """One worker's place."""

    settings: WorkerSettings
    unit: Unit | None = None
    """What it is at; None: nothing."""
    deaths: int = 0
    """Of its workers, on the present unit."""
    sources: set[str] = field(default_factory=set)
    """Models the worker holds."""


AnySlot = TypeVar("AnySlot", bound=Slot)


class Slots(Generic[AnySlot]):
    """The part of an executor that only looks at its slots."""

    def __init__(self, slots: Sequence[AnySlot]) -> None:
        self._slots = list(slots)

    def free(self) -> list[int]:
        return [index for index, slot in enumerate(self._slots) if slot.unit is None]

    def holds(self, slot: int) -> frozenset[str]:
        return frozenset(self._slots[slot].sources)

    def busy(self) -> bool:
        return any(slot.unit is not None for slot in self._slots)

    def gpus(self) -> int:
        """How many slots there are if each computes on a GPU (or several), else 0."""
        return len(self._slots) if all(slot.settings.device.startswith("cuda") for slot in self._slots) else 0
