"""Algorithm 1's measurements: what is left of p(answer) when one neuron, or two, are taken away (eq. 9-10).

For a fact's n neurons of highest mean rel, every neuron alone and every pair is ablated on the main query. Nothing here
knows a threshold: which pairs are degenerate is a question to what is stored. Two controls take the same road: neurons
outside N from the same layers, and neurons outside N with the same single drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.replay import Edit

if TYPE_CHECKING:
    from analysis.prompts import EncodedQuery
    from analysis.replay import Engine
    from analysis.sites import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

N_SCANNED = 20
FLOOR = 0.05  # a neuron below this share of the query's maximum is outside N at every threshold kept in the store


@dataclass(frozen=True)
class Scan:
    """Singles, then pairs, of one query. `first`, `second` index `neurons`; `second` is -1 for a single.

    `p`, `p_root`, `rank`, `argmax_kept` (rows,) are after the ablation, `*_before` without one. `argmax_kept`: every
    step still predicts the gold token.
    """

    neurons: Ints
    first: Ints
    second: Ints
    p: Floats
    p_root: Floats
    rank: Ints
    argmax_kept: Bools
    p_before: float
    p_root_before: float
    known_before: bool

    @property
    def n(self) -> int:
        return len(self.neurons)

    @property
    def single_drops(self) -> Floats:
        """Relative drop of p(answer) for each neuron alone, (n,); 0 where nothing could be lost."""
        return relative_drop(self.p_before, self.p[: self.n])


def relative_drop(before: float, after: Floats) -> Floats:
    """(before − after) / before, and 0 for a probability that was 0 already."""
    return (before - after) / before if before > 0 else np.zeros_like(after)


def rank_neurons(scores: Sequence[npt.NDArray[np.floating]], n: int = N_SCANNED) -> tuple[Ints, Floats]:
    """The n neurons of highest mean rel over templates (rel = score / the query's maximum) and that mean, best first.

    `scores` holds one dense (n_neurons,) array a template. A template without a positive score counts as all zero; only
    neurons of positive mean rel are returned, so there may be fewer than n. Ties go to the lower index.
    """
    mean = mean_rel(scores)
    order = np.argsort(-mean, kind="stable")[:n]
    order = order[mean[order] > 0]
    return order.astype(np.int64), mean[order]


def mean_rel(scores: Sequence[npt.NDArray[np.floating]]) -> Floats:
    """Mean over templates of score / the template's maximum, (n_neurons,) in double precision."""
    total = np.zeros(len(scores[0]))
    for one in scores:
        highest = float(one.max())
        if highest > 0:
            total += one.astype(np.float64) / highest
    return total / len(scores)


def scan(engine: Engine, query: EncodedQuery, neurons: npt.ArrayLike, shifts: npt.ArrayLike | None = None) -> Scan:
    """Ablate each of `neurons` (n,) alone and each of the n(n−1)/2 pairs.

    An ablated neuron becomes 0, or its entry in `shifts` (n,) when given (a mean, another fact's activation).
    """
    chosen = np.asarray(neurons, dtype=np.int64)
    values = np.zeros(len(chosen)) if shifts is None else np.asarray(shifts, dtype=np.float64)
    upper, lower = np.triu_indices(len(chosen), 1)
    first = np.concatenate([np.arange(len(chosen)), upper]).astype(np.int64)
    second = np.concatenate([np.full(len(chosen), -1), lower]).astype(np.int64)
    edits = []
    for a, b in zip(first, second, strict=True):
        members = [a] if b < 0 else [a, b]
        edits.append(Edit.replace(chosen[members], values[members]))
    [before] = engine.predict([query])
    after = engine.edited(query, edits) if edits else []
    return Scan(
        chosen,
        first,
        second,
        np.array([one.p for one in after], dtype=np.float64),
        np.array([one.p_root for one in after], dtype=np.float64),
        np.array([one.rank for one in after], dtype=np.int64),
        np.array([one.known for one in after], dtype=np.bool_),
        before.p,
        before.p_root,
        before.known,
    )


def layer_of(neurons: npt.ArrayLike, sites: Sequence[Site]) -> Ints:
    """Place in `sites` of each flat neuron."""
    ends = np.array([site.offset + site.width for site in sites])
    return np.searchsorted(ends, np.asarray(neurons), side="right").astype(np.int64)


def control_neurons(
    rel: npt.NDArray[np.floating], chosen: npt.ArrayLike, sites: Sequence[Site], seed: int, floor: float = FLOOR
) -> Ints:
    """As many neurons as `chosen`, one for one from the same layers, drawn among those below `floor` in `rel`.

    `rel` (n_neurons,) is relative to the maximum. A layer with too few of them gives its lowest ones that are not
    chosen; a layer chosen whole has none to give, and the result is shorter.
    """
    rng = np.random.default_rng(seed)
    picked = np.asarray(chosen, dtype=np.int64)
    layers = layer_of(picked, sites)
    found: dict[int, list[int]] = {}
    for layer in np.unique(layers):
        site = sites[layer]
        everyone = np.arange(site.offset, site.offset + site.width)
        outside = np.setdiff1d(everyone, picked)
        wanted = min(int((layers == layer).sum()), len(outside))
        pool = outside[rel[outside] < floor]
        if len(pool) < wanted:
            pool = outside[np.argsort(rel[outside], kind="stable")[:wanted]]
        found[int(layer)] = rng.choice(pool, size=wanted, replace=False).tolist()
    drawn = [found[int(layer)].pop() for layer in layers if found[int(layer)]]
    return np.array(drawn, dtype=np.int64)


def drop_candidates(
    rel: npt.NDArray[np.floating], chosen: npt.ArrayLike, outside: float = 0.2, budget: int = 5 * N_SCANNED
) -> Ints:
    """Neurons to look for equal single drops among: the `budget` highest in `rel` that are neither chosen nor in N."""
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


def matched_neurons(engine: Engine, query: EncodedQuery, drops: npt.ArrayLike, candidates: npt.ArrayLike) -> Ints:
    """The candidates whose single drops come nearest to `drops` (relative to p before), one for one.

    How near they came is in the scan of them: its singles are these ablations again.
    """
    neurons = np.asarray(candidates, dtype=np.int64)
    if len(neurons) == 0:
        return neurons
    [before] = engine.predict([query])
    after = engine.edited(query, [Edit.suppress(neurons[i : i + 1]) for i in range(len(neurons))])
    available = relative_drop(before.p, np.array([one.p for one in after], dtype=np.float64))
    return neurons[match_drops(drops, available)]
