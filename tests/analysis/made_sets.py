"""Neuron sets for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from knscope.analysis.likn.neuron_sets import NeuronSets


def sets_of_lists(sets: Sequence[Sequence[npt.ArrayLike | None]], widths: npt.ArrayLike) -> NeuronSets:
    """From sets[fact][language]; None where the fact was not attributed in that language."""
    present = np.array([[one is not None for one in row] for row in sets], dtype=np.bool_)
    if present.ndim != 2:
        present = present.reshape(len(sets), -1)
    flat = [np.asarray([] if one is None else one, dtype=np.int64) for row in sets for one in row]
    lengths = np.array([len(one) for one in flat], dtype=np.int64)
    neurons = np.concatenate(flat) if flat else np.empty(0, dtype=np.int64)
    return NeuronSets(neurons, np.concatenate([[0], np.cumsum(lengths)]), present, np.asarray(widths, dtype=np.int64))
