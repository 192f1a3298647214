"""Cluster bootstrap: intervals for any statistic that is a function of sums over rows.

All rows of one cluster (a subject) move together: facts about one subject are not independent. A statistic is written
as a function of column sums, so one matrix product serves every statistic of a table, and two statistics computed on
the same clusters with the same seed see the same resamples, which makes their difference a paired one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from knscope.analysis.types import Floats

DRAWS = 10_000
LEVEL = 0.95
_CHUNK_CELLS = 4_000_000  # resampled cells held at once: 32 MB of indices


@dataclass(frozen=True)
class Interval:
    """A two-sided percentile interval; `unbounded` says why no number can be printed for an end."""

    estimate: float | None
    low: float | None
    high: float | None
    unbounded: bool = False

    @property
    def contains_zero(self) -> bool:
        """True also where nothing is known: what has no interval is not shown to differ from 0."""
        return self.low is None or self.high is None or self.low <= 0.0 <= self.high


UNKNOWN = Interval(None, None, None)


@lru_cache(maxsize=4)
def resample_weights(n_clusters: int, draws: int = DRAWS, seed: int = 0) -> Floats:
    """How often each cluster is drawn, (draws, n_clusters), read-only; every row sums to n_clusters.

    A table asks for the same resamples again and again, so the last few are kept.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, n_clusters))
    step = max(1, _CHUNK_CELLS // max(n_clusters, 1))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picked = rng.integers(0, n_clusters, size=(rows, n_clusters))
        picked += np.arange(rows)[:, None] * n_clusters
        counts = np.bincount(picked.ravel(), minlength=rows * n_clusters)
        weights[start : start + rows] = counts.reshape(rows, n_clusters)
    weights.setflags(write=False)
    return weights


def cluster_sums(columns: npt.ArrayLike, clusters: npt.ArrayLike) -> Floats:
    """Sum (rows, C) columns within clusters: (n_clusters, C), clusters in sorted order of their labels."""
    values = np.asarray(columns, dtype=np.float64)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    n_clusters = int(index.max()) + 1 if len(index) else 0
    return np.stack([np.bincount(index, weights=column, minlength=n_clusters) for column in values.T], axis=1)


@dataclass(frozen=True)
class Replicates:
    """A statistic and its values on the resamples; NaN marks a resample on which it is undefined."""

    estimate: float | None
    draws: Floats

    def interval(self, level: float = LEVEL) -> Interval:
        """Percentile interval. None where no resample, or fewer than nine in ten, define the statistic."""
        usable = self.draws[np.isfinite(self.draws)]
        if self.estimate is None or len(usable) < 0.9 * len(self.draws) or len(usable) < 2:
            return Interval(self.estimate, None, None)
        low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.estimate, float(low), float(high))

    def minus(self, other: Replicates) -> Replicates:
        """The paired difference; both must come from the same clusters and seed."""
        if len(self.draws) != len(other.draws):
            raise ValueError("replicates of different resamples cannot be paired")
        known = self.estimate is not None and other.estimate is not None
        return Replicates((self.estimate or 0.0) - (other.estimate or 0.0) if known else None, self.draws - other.draws)


def replicate(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    weights: Floats | None = None,
) -> Replicates:
    """Bootstrap `statistic` over clusters.

    `sums` is (n_clusters, C); `statistic` maps (…, C) column sums to (…) values and may return NaN where undefined.
    With a single cluster there is nothing to resample: the estimate comes without draws.
    """
    if len(sums) == 0:
        return Replicates(None, np.empty(0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = float(statistic(sums.sum(axis=0)))
        estimate = value if np.isfinite(value) else None
        if len(sums) == 1:
            return Replicates(estimate, np.empty(0))
        drawn = resample_weights(len(sums), draws, seed) if weights is None else weights
        return Replicates(estimate, np.asarray(statistic(drawn @ sums), dtype=np.float64))


def mean_interval(
    values: npt.ArrayLike, clusters: npt.ArrayLike, *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Interval of the mean of `values` (rows,), clusters moving together."""
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        return UNKNOWN
    sums = cluster_sums(np.stack([values, np.ones_like(values)], axis=1), clusters)
    return replicate(sums, lambda s: s[..., 0] / s[..., 1], draws=draws, seed=seed).interval(level)
