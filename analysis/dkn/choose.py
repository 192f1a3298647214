"""Which neurons are ablated (METHOD §5): a fact's strongest, and two kinds of controls for them. Knows no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from knscope.analysis.types import Floats, Ints

SCAN_SIZE = 20
"""Neurons of a fact whose singles and pairs are ablated."""


def strongest(rel: Floats) -> Ints:
    """The SCAN_SIZE neurons of highest `rel` (n_neurons,), the mean over a fact's templates; fewer where fewer are above 0."""
    best = np.argsort(-rel, kind="stable")[:SCAN_SIZE]
    return best[rel[best] > 0].astype(np.int64)


def layer_of(neurons: npt.ArrayLike, offsets: Ints) -> Ints:
    """The layer of each flat neuron. `offsets` (n_layers + 1,): each layer's first neuron, and how many there are."""
    return np.searchsorted(offsets, np.asarray(neurons), side="right") - 1


def control_neurons(rel: npt.NDArray[np.floating], chosen: npt.ArrayLike, offsets: Ints, seed: int) -> Ints:
    """As many neurons as `chosen`, one for one from the same layers, drawn among those with `rel` 0.

    A layer with too few of them gives its lowest ones that are not chosen; a layer chosen whole has none to give, and the
    result is shorter.

    :param rel: (n_neurons,) highest rel over the fact's templates, 0 where it is below the store's floor
    """
    rng = np.random.default_rng(seed)
    picked = np.asarray(chosen, dtype=np.int64)
    layers = layer_of(picked, offsets)
    found: dict[int, list[int]] = {}
    for layer in np.unique(layers):
        everyone = np.arange(offsets[layer], offsets[layer + 1])
        outside = np.setdiff1d(everyone, picked)
        wanted = min(int((layers == layer).sum()), len(outside))
        pool = outside[rel[outside] == 0]
        if len(pool) < wanted:
            pool = outside[np.argsort(rel[outside], kind="stable")[:wanted]]
        found[int(layer)] = rng.choice(pool, size=wanted, replace=False).tolist()
    drawn = [found[int(layer)].pop() for layer in layers if found[int(layer)]]
    return np.array(drawn, dtype=np.int64)


def drop_candidates(
    rel: npt.NDArray[np.floating], chosen: npt.ArrayLike, outside: float = 0.2, budget: int = 5 * SCAN_SIZE
) -> Ints:
    """Neurons to look for equal single drops among: the `budget` highest in `rel` that are neither chosen nor in N.

    `rel` (n_neurons,) is the highest over the fact's templates: above `outside` on one of them a neuron may be in N.
    """
    allowed = rel <= outside
    allowed[np.asarray(chosen, dtype=np.int64)] = False
    candidates = np.flatnonzero(allowed)
    return candidates[np.argsort(-rel[candidates], kind="stable")[:budget]].astype(np.int64)


def match_drops(wanted: npt.ArrayLike, available: npt.ArrayLike) -> Ints:
    """For each wanted drop the place of the nearest available one, each used once, largest wanted drop first.

    With fewer available than wanted the smallest wanted drops stay without a partner and are left out.
    """
    drops, stock = np.asarray(wanted, dtype=np.float64), np.asarray(available, dtype=np.float64)
    free = np.ones(len(stock), dtype=np.bool_)
    partner = np.full(len(drops), -1, dtype=np.int64)
    for i in np.argsort(-drops, kind="stable")[: len(stock)]:
        distance = np.where(free, np.abs(stock - drops[i]), np.inf)
        partner[i] = int(np.argmin(distance))
        free[partner[i]] = False
    return partner[partner >= 0]
