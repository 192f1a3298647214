"""Edits: new activations of some neurons, for one row or many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knscope.analysis.types import Floats, Ints


@dataclass(frozen=True)
class Edit:
    """New activations of some neurons: scale * old + shift, at the answer position of each step.

    neurons: flat indices (k,), scale and shift (k,). A neuron that stands in it twice is edited twice, in order.
    """

    neurons: Ints
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(np.unique(self.neurons)) < len(self.neurons):
            merged: dict[int, tuple[np.float32, np.float32]] = {}
            for neuron, scale, shift in zip(self.neurons.tolist(), self.scale, self.shift, strict=True):
                old_scale, old_shift = merged.get(neuron, (np.float32(1), np.float32(0)))
                merged[neuron] = (scale * old_scale, scale * old_shift + shift)
            object.__setattr__(self, "neurons", np.array(list(merged), np.int64))
            object.__setattr__(self, "scale", np.array([s for s, _ in merged.values()], np.float32))
            object.__setattr__(self, "shift", np.array([s for _, s in merged.values()], np.float32))

    @classmethod
    def suppress(cls, neurons: ArrayLike) -> Edit:
        return cls.scaled(neurons, 0.0)

    @classmethod
    def enhance(cls, neurons: ArrayLike) -> Edit:
        return cls.scaled(neurons, 2.0)

    @classmethod
    def scaled(cls, neurons: ArrayLike, factor: float) -> Edit:
        flat = np.asarray(neurons, np.int64).reshape(-1)
        return cls(flat, np.full(len(flat), factor, np.float32), np.zeros(len(flat), np.float32))

    @classmethod
    def replace(cls, neurons: ArrayLike, values: ArrayLike) -> Edit:
        flat = np.asarray(neurons, np.int64).reshape(-1)
        return cls(flat, np.zeros(len(flat), np.float32), np.asarray(values, np.float32).reshape(-1))


@dataclass(frozen=True)
class FlatEdits:
    """Edits of many rows, one entry a (row, neuron): new = scale * old + shift. No entry twice."""

    rows: Ints
    neurons: Ints
    scale: NDArray[np.float32] | Floats
    shift: NDArray[np.float32] | Floats

    @classmethod
    def of(cls, edits: Sequence[Edit]) -> FlatEdits:
        """One row an edit."""

        def joined(parts: Iterable[NDArray[np.generic]]) -> NDArray[np.generic]:
            together = list(parts)
            return np.concatenate(together) if together else np.empty(0)

        rows = np.repeat(np.arange(len(edits)), [len(edit.neurons) for edit in edits])
        neurons = joined(edit.neurons for edit in edits).astype(np.int64)
        scale = joined(edit.scale for edit in edits).astype(np.float32)
        return cls(rows, neurons, scale, joined(edit.shift for edit in edits).astype(np.float32))

    def at_each(self, steps: int) -> FlatEdits:
        """Row r becomes the rows r * steps + t."""
        rows = (self.rows[:, None] * steps + np.arange(steps)).reshape(-1)
        each = np.repeat(np.arange(len(self.rows)), steps)
        return FlatEdits(rows, self.neurons[each], self.scale[each], self.shift[each])


def slices_by_value(ascending: Ints) -> dict[int, slice]:
    """The slice of an ascending array that holds each of its values."""
    found, starts = np.unique(ascending, return_index=True)
    ends = np.append(starts, len(ascending))[1:]
    of = zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return {value: slice(start, end) for value, start, end in of}
