"""What sharing neurons between languages is worth if the sets were drawn at random.

With n_kl of a layer's d_l neurons in language k's set, sets drawn at random within each layer share
E = Σ_l d_l Π_k (n_kl / d_l) neurons, and the number shared in a layer is a chain of hypergeometrics: of the x neurons
still common after k languages, the next set of n hits Hypergeometric(d, x, n) of them. Layers are independent, so the
whole is their convolution. This is a floor only: neurons are not exchangeable, and the control that decides is in
`overlap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.types import Floats, Ints


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    inside = (k >= 0) & (k <= n)
    k = np.where(inside, k, 0)
    return np.where(inside, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)


def hypergeometric_pmf(width: int, marked: npt.ArrayLike, drawn: int, length: int) -> Floats:
    """P(x marked among `drawn` of `width`) for x = 0..length-1; `marked` (…) gives a row each: (…, length)."""
    marked = np.asarray(marked)[..., None]
    x = np.arange(length)
    log = _log_choose(marked, x) + _log_choose(width - marked, drawn - x) - _log_choose(width, drawn)
    pmf: Floats = np.exp(log)
    return pmf


def layer_pmf(width: int, sizes: Sequence[int]) -> Floats:
    """Distribution of the number of neurons of one layer that all sets of `sizes` share: entries 0..min(sizes)."""
    ordered = sorted(int(size) for size in sizes)
    length = ordered[0] + 1
    pmf: Floats = np.zeros(length)
    pmf[-1] = 1.0
    for size in ordered[1:]:
        support = np.flatnonzero(pmf > 0)
        pmf = pmf[support] @ hypergeometric_pmf(width, support, size, length)
    pmf /= pmf.sum()
    return pmf


_layer_pmf = cache(layer_pmf)


def shared_pmf(widths: npt.ArrayLike, sizes: npt.ArrayLike) -> Floats:
    """Distribution of the number of shared neurons over all layers.

    `widths` (n_layers,) layer sizes; `sizes` (n_langs, n_layers) neurons of each language's set in each layer.
    """
    widths, sizes = np.asarray(widths), np.asarray(sizes)
    total = np.ones(1)
    for layer in np.flatnonzero(sizes.min(axis=0) > 0):
        total = np.convolve(total, _layer_pmf(int(widths[layer]), tuple(sorted(sizes[:, layer].tolist()))))
    return total


@dataclass(frozen=True)
class UniformChance:
    """Per fact: `observed` |∩_k N_k|, `expected` and `p` = P(shared ≥ observed), sets uniform within layers."""

    observed: Ints
    expected: Floats
    p: Floats


def intersection_sizes(sets: NeuronSets) -> Ints:
    """|∩_k N_k| per fact, (F,)."""
    common, *others = sets.matrices()
    for other in others:
        common = common.multiply(other).tocsr()
    return np.asarray(common.sum(axis=1)).ravel().astype(np.int64)


def uniform_chance(sets: NeuronSets) -> UniformChance:
    """Uniform chance of every fact in `sets`, any number of languages (one language: shared = the set itself)."""
    sizes = sets.layer_sizes()  # (F, K, L)
    widths = np.maximum(sets.widths, 1).astype(np.float64)
    expected = (widths * np.prod(sizes / widths, axis=1)).sum(axis=1)
    observed = intersection_sizes(sets)
    p = np.ones(sets.n_facts)
    for fact in np.flatnonzero(observed > 0):
        pmf = shared_pmf(sets.widths, sizes[fact])
        p[fact] = min(1.0, float(pmf[observed[fact] :].sum()))
    return UniformChance(observed, expected, p)


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Adjusted p-values (q) in the order given; reject where q ≤ the false discovery rate asked for."""
    values = np.asarray(p, dtype=np.float64)
    if values.size == 0:
        return values
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    q = np.empty_like(values)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
