"""The true effect of neurons by brute force, to hold attribution methods against.

Truth has three forms, none of which alone may crown a method: each neuron ablated alone (to 0, to its mean, to another
fact's value), its mean marginal effect within random groups, and curves that delete or restore neurons in a method's
order. Ranking and choosing are in `ranking`, which needs no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from knscope.analysis.engine.edits import Edit, FlatEdits
from knscope.analysis.types import Floats, Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine
    from knscope.analysis.prompts.encode import EncodedQuery


TOP = 100
POOL = 50
PERMUTATIONS = 200
POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
"""Numbers of deleted neurons at which curves are measured where many are: densest where they bend."""
P_FLOOR = 1e-12
_BATCH = 4096  # edits handed to the engine at once, so that their results never pile up


def _p_after(
    engine: Engine, query: EncodedQuery, groups: Iterable[Ints], values: npt.NDArray[np.floating] | None
) -> Floats:
    """p(answer) with each group of neurons set to 0, or to their entries in `values` (n_neurons,).

    Equal groups are ablated once: methods that agree share much of their curves.
    """
    places: dict[bytes, int] = {}
    which = [places.setdefault(np.sort(group).tobytes(), len(places)) for group in groups]
    distinct = [np.frombuffer(key, dtype=np.int64) for key in places]
    p = np.empty(len(distinct))
    for start in range(0, len(distinct), _BATCH):
        part = distinct[start : start + _BATCH]
        rows = np.repeat(np.arange(len(part)), [len(group) for group in part])
        neurons = np.concatenate(part)
        zero = np.zeros(len(neurons))
        edits = FlatEdits(rows, neurons, zero, zero if values is None else values[neurons].astype(np.float64))
        p[start : start + _BATCH] = engine.edited_rows(query, edits, len(part)).p_answer
    return p[which]


def single_effects(
    engine: Engine,
    query: EncodedQuery,
    values: npt.NDArray[np.floating] | None = None,
    neurons: npt.ArrayLike | None = None,
) -> Floats:
    """Drop of p(answer) when each neuron alone is ablated, (len(neurons),); all neurons unless some are named."""
    chosen = np.arange(engine.loaded.n_neurons) if neurons is None else np.asarray(neurons, dtype=np.int64)
    if not len(chosen):
        return np.empty(0)
    [before] = engine.predict([query])
    return before.p - _p_after(engine, query, (chosen[i : i + 1] for i in range(len(chosen))), values)


def noise_floor(engine: Engine, query: EncodedQuery) -> float:
    """Size of an effect that says nothing: ten times what edits that change nothing move p, at least 1e-7 of p."""
    neurons = [site.offset for site in engine.loaded.sites]
    idle = [Edit.scaled([neuron], 1.0) for neuron in neurons]
    [before] = engine.predict([query])
    moved = max(abs(one.p - before.p) for one in engine.edited(query, idle))
    return 10.0 * max(moved, 1e-7 * before.p)


@dataclass(frozen=True)
class GroupEffects:
    """Mean marginal drop of p(answer) of each neuron of `pool` (m,), and its standard error over permutations."""

    pool: Ints
    mean: Floats
    error: Floats


def group_effects(
    engine: Engine, query: EncodedQuery, pool: npt.ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0
) -> GroupEffects:
    """What each neuron adds to the drop when it joins a random subset of the pool.

    The pool is ablated neuron by neuron in random orders; a neuron's marginal drop is the fall of p at its turn. Two
    neurons that back each other up share the drop of both, where single ablation gives each about 0. The means add up
    to the drop of the whole pool.
    """
    members = np.asarray(pool, dtype=np.int64)
    if len(members) == 0:
        return GroupEffects(members, np.empty(0), np.empty(0))
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(members)) for _ in range(permutations)])
    groups = (members[order[: k + 1]] for order in orders for k in range(len(members)))
    after = _p_after(engine, query, groups, None).reshape(permutations, len(members))
    [before] = engine.predict([query])
    path = np.concatenate([np.full((permutations, 1), before.p), after], axis=1)
    marginal = np.empty_like(after)
    np.put_along_axis(marginal, orders, path[:, :-1] - path[:, 1:], axis=1)
    error = marginal.std(axis=0, ddof=1) / np.sqrt(permutations) if permutations > 1 else np.zeros(len(members))
    return GroupEffects(members, marginal.mean(axis=0), error)


def pooled_top(rankings: Sequence[npt.ArrayLike], top: int = POOL) -> Ints:
    """The union of several methods' first `top` neurons, sorted."""
    parts = [np.asarray(ranking, dtype=np.int64)[:top] for ranking in rankings]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def deletion_curves(
    engine: Engine,
    query: EncodedQuery,
    orders: Sequence[npt.ArrayLike],
    values: npt.NDArray[np.floating] | None = None,
    points: Sequence[int] | None = None,
) -> list[Floats]:
    """log p(answer) with the first 0, 1, …, k neurons of each order ablated, (k+1,) an order.

    With `points` only these counts (and the last) are measured, and those between them interpolated linearly.
    """
    ranked = [np.asarray(order, dtype=np.int64) for order in orders]
    [before] = engine.predict([query])
    counts = [_measured(len(order), points) for order in ranked]
    groups = (order[:count] for order, some in zip(ranked, counts, strict=True) for count in some)
    after = _p_after(engine, query, groups, values)
    curves, end = [], 0
    for order, some in zip(ranked, counts, strict=True):
        start, end = end, end + len(some)
        logs = log_p(np.concatenate([[before.p], after[start:end]]))
        curves.append(np.interp(np.arange(len(order) + 1), [0, *some], logs))
    return curves


def _measured(size: int, points: Sequence[int] | None) -> list[int]:
    wanted = range(1, size + 1) if points is None else [*points, size]
    return sorted({count for count in wanted if 0 < count <= size})


def insertion_curve(engine: Engine, query: EncodedQuery, order: npt.ArrayLike, pool: npt.ArrayLike) -> Floats:
    """log p(answer) with the whole pool ablated, then the first 1, …, m of `order` restored, (m+1,).

    Only the neurons of `order` that are in the pool count; those it does not name are never restored.
    """
    members = np.asarray(pool, dtype=np.int64)
    ranked = np.asarray(order, dtype=np.int64)
    ranked = ranked[np.isin(ranked, members)]
    left = (members[~np.isin(members, ranked[:k])] for k in range(len(ranked) + 1))
    return log_p(_p_after(engine, query, left, None))


def log_p(p: Floats) -> Floats:
    """log of probabilities, those below 1e-12 counted as 1e-12."""
    logs: Floats = np.log(np.maximum(p, P_FLOOR))
    return logs
