"""How much N changes when something that should not matter does: template, node count, precision, seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, Interval, mean_interval
from knscope.analysis.types import Floats


@dataclass(frozen=True)
class Stability:
    """One variant beside the reference: over `n` (fact, language) sets that both have and that are not both empty.

    `jaccard` is |A ∩ B| / |A ∪ B|, its interval over subjects; `same` the share of identical sets; sizes are means.
    """

    variant: str
    n: int
    subjects: int
    size: float | None
    size_variant: float | None
    jaccard: Interval
    same: float | None


def jaccard(a: NeuronSets, b: NeuronSets) -> Floats:
    """(F, K), NaN where a set is missing on one side or both are empty."""
    n_neurons = int(a.widths.sum())
    mine, other = (
        np.repeat(np.arange(one.present.size), np.diff(one.starts)) * n_neurons + one.neurons for one in (a, b)
    )
    common = np.intersect1d(mine, other) // max(n_neurons, 1)
    both = np.bincount(common, minlength=a.present.size).reshape(a.present.shape)
    union = a.sizes() + b.sizes() - both
    usable = a.present & b.present & (union > 0)
    return np.where(usable, both / np.maximum(union, 1), np.nan)


def stability(
    reference: NeuronSets,
    variants: Mapping[str, NeuronSets],
    subject: npt.ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Stability]:
    """Compare each variant's sets with the reference's, fact by fact; `subject` (F,) is what intervals resample."""
    labels = np.repeat(np.asarray(subject), reference.n_langs)
    rows = []
    for name, sets in variants.items():
        values = jaccard(reference, sets).ravel()
        usable = np.isfinite(values)
        sizes = [one.sizes().ravel()[usable] for one in (reference, sets)]
        n = int(usable.sum())
        interval = (
            mean_interval(values[usable], labels[usable], draws=draws, seed=seed).within(0.0, 1.0) if n else UNKNOWN
        )
        means = [float(one.mean()) if n else None for one in sizes]
        same = float((values[usable] == 1.0).mean()) if n else None
        rows.append(Stability(name, n, len(np.unique(labels[usable])), means[0], means[1], interval, same))
    return rows
