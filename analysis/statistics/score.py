"""Intervals that hold at the ends of a scale: shares near 0 or 1 and areas under a curve near 1.

A score interval holds every true value θ that is no farther from the estimate than q·sqrt(V(θ)), with the variance taken at
θ, so it has a width even where the sample has no spread (Wilson for shares, Newcombe for areas). V is that of independent
rows, times a design effect: how much larger the variance between clusters is than that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import t as student

from knscope.analysis.statistics.bootstrap import (
    ENOUGH,
    FEWEST,
    LEVEL,
    TOO_FEW,
    Interval,
    Statistic,
    cluster_sums,
    ratio,
)

_EDGE = 1e-9
_LEAST_EFFECT = 0.5  # a smaller one estimated from few clusters is luck more often than not


def score_interval(
    estimate: float,
    variance: Callable[[float], float],
    clusters: int,
    cluster_variance: float,
    worst: float,
    level: float = LEVEL,
    unseen: float | None = None,
) -> Interval:
    """Of an estimate between 0 and 1. `variance(θ)` is that of independent rows, `cluster_variance` the one estimated.

    The design effect is at least a half and at most `worst`, the rows of a cluster being one row. It is `worst` where the
    sample has no spread to estimate it by (`cluster_variance` 0), unless `unseen` says what it is then.
    """
    if clusters < FEWEST:
        return Interval(estimate, None, None, TOO_FEW)
    here = variance(estimate)
    effect = worst if unseen is None else min(max(unseen, _LEAST_EFFECT), worst)
    if cluster_variance > 0 and here > 0:
        effect = min(max(cluster_variance / here, _LEAST_EFFECT), worst)
    q = float(student.ppf((1 + level) / 2, clusters - 1))

    def beyond(true: float) -> float:
        return abs(estimate - true) - q * float(np.sqrt(variance(true) * effect))

    inside = min(max(estimate, _EDGE), 1 - _EDGE)  # at 0 and 1 themselves the variance is 0
    low = brentq(beyond, 0.0, inside) if estimate > _EDGE and beyond(0.0) > 0 else 0.0
    high = brentq(beyond, inside, 1.0) if estimate < 1 - _EDGE and beyond(1.0) > 0 else 1.0
    return Interval(estimate, float(low), float(high), rough=clusters < ENOUGH)


def design_effect(hits: npt.ArrayLike, trials: npt.ArrayLike, clusters: npt.ArrayLike) -> float | None:
    """How much larger the variance of Σ hits / Σ trials between clusters is than of independent trials; None where all or none are hits."""
    columns = np.stack([np.asarray(hits), np.asarray(trials)], axis=1).astype(np.float64)
    share = Statistic(cluster_sums(columns, clusters), ratio)
    p, total = share.estimate, float(columns[:, 1].sum())
    if p is None or not 0 < p < 1 or share.n_clusters < 2:
        return None
    return share.standard_error**2 / (p * (1 - p) / total)


def share_interval(
    hits: npt.ArrayLike,
    trials: npt.ArrayLike,
    clusters: npt.ArrayLike,
    level: float = LEVEL,
    unseen: float | None = None,
) -> Interval:
    """Wilson's interval of Σ hits / Σ trials with a cluster design effect; hits (rows,) lie between 0 and trials (rows,).

    Where all or none are hits, how alike the rows of a cluster are cannot be seen, and each cluster counts as one trial, unless
    `unseen` gives the design effect.
    """
    top, bottom, labels = (np.asarray(values) for values in (hits, trials, clusters))
    columns = np.stack([top, bottom], axis=1).astype(np.float64)[bottom > 0]
    if not len(columns):
        return Interval(None, None, None)
    share = Statistic(cluster_sums(columns, labels[bottom > 0]), ratio)
    n, total, estimate = share.n_clusters, float(columns[:, 1].sum()), share.estimate
    assert estimate is not None
    if n < FEWEST:
        return Interval(estimate, None, None, TOO_FEW)
    return score_interval(estimate, lambda p: p * (1 - p) / total, n, share.standard_error**2, total / n, level, unseen)


def difference_of(one: Interval, other: Interval, correlation: float) -> Interval:
    """Interval of one − other from the intervals of both and the correlation of their errors (Newcombe's, for pairs)."""
    if one.estimate is None or other.estimate is None:
        return Interval(None, None, None)
    difference = one.estimate - other.estimate
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(difference, None, None, one.instead or other.instead)
    below, above = one.estimate - one.low, one.high - one.estimate
    other_below, other_above = other.estimate - other.low, other.high - other.estimate
    low = below**2 + other_above**2 - 2 * correlation * below * other_above
    high = above**2 + other_below**2 - 2 * correlation * above * other_below
    ends = difference - float(np.sqrt(max(low, 0.0))), difference + float(np.sqrt(max(high, 0.0)))
    return Interval(difference, *ends, rough=one.rough or other.rough)


def area_variance(area: float, right: float, wrong: float) -> float:
    """Variance of an AUROC of so many independent right and wrong claims (Newcombe 2006, method 5)."""
    mean = (right + wrong) / 2
    spread = 1 + (mean - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * spread / (right * wrong)
