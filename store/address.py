"""The address of a neuron: flat (its place among all neurons of its model) or layer and place in the layer, as table site says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True)
class Addresses:
    """The layers of a model, each array (n_layers,), in order. A flat neuron is its layer's offset + its place in the layer."""

    layer: npt.NDArray[np.int16]
    offset: npt.NDArray[np.int64]
    width: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sites: Iterable[tuple[int, int, int]]) -> Addresses:
        """From (layer, offset, width) of each site."""
        rows = np.array(sorted(sites), dtype=np.int64).reshape(-1, 3)
        return cls(rows[:, 0].astype(np.int16), rows[:, 1], rows[:, 2])

    @property
    def n_neurons(self) -> int:
        return int(self.width.sum())

    def split(self, flat: npt.ArrayLike) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Layer and place in it of flat neurons, each of their shape."""
        neurons = np.asarray(flat, dtype=np.int64)
        place = np.searchsorted(self.offset, neurons, side="right") - 1
        return self.layer[place], (neurons - self.offset[place]).astype(np.int32)

    def flat(self, layer: npt.ArrayLike, neuron: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The inverse of `split`."""
        place = np.searchsorted(self.layer, np.asarray(layer))
        return self.offset[place] + np.asarray(neuron, dtype=np.int64)

    def with_flat(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that name neurons by `layer` and `neuron`, with the column `flat`."""
        return rows.with_columns(pl.Series("flat", self.flat(rows["layer"].to_numpy(), rows["neuron"].to_numpy())))
