"""Cluster bootstrap-t: intervals for any statistic that is a smooth function of sums over rows, also with few clusters.

All rows of one cluster (a subject) move together: facts about one subject are not independent. A statistic is written as
a function of column sums. Its standard error follows from its gradient (the delta method), in the sample and in every
resample, so that what is resampled is t, the error in units of its own standard error. Quantiles of the resampled
statistic itself would cover .75 of the time with 6 clusters where they promise .95.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from knscope.analysis.types import Floats

Value = Callable[[Floats], Floats]
"""Maps (…, C) column sums to (…) values; NaN where undefined."""

DRAWS = 10_000
LEVEL = 0.95
FEWEST = 5
"""With fewer clusters no interval is given."""
ENOUGH = 10
"""With fewer clusters an interval is rough."""
TOO_FEW = "too few"
UNBOUNDED = "unbounded"
ALL_ALIKE = "all alike"
_CELLS = 2_000_000  # resampled cells held at once: 16 MB
_STEP = 1e-5  # of a numerical gradient, as a share of a column's absolute sum
_ROUNDING = 1e-8
_FARTHEST = 4.0  # a resample's t counts as so many Student quantiles at most: one without spread has no t


@dataclass(frozen=True)
class Interval:
    """A two-sided interval. `instead` is what is said in its place; `rough`: of fewer than ten clusters."""

    estimate: float | None
    low: float | None
    high: float | None
    instead: str = ""
    rough: bool = False

    def within(self, least: float, most: float = float("inf")) -> Interval:
        """The same with ends no farther than a scale reaches."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    @property
    def unbounded(self) -> bool:
        return self.instead == UNBOUNDED

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
    step = max(1, _CELLS // max(n_clusters, 1))
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
class Statistic:
    """`value` of the sums over clusters of `sums` (n_clusters, C); `draws` resamples from `seed` give its interval."""

    sums: Floats
    value: Value
    draws: int = DRAWS
    seed: int = 0

    @property
    def n_clusters(self) -> int:
        return len(self.sums)

    @property
    def estimate(self) -> float | None:
        if not self.n_clusters:
            return None
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = float(self.value(self.sums.sum(axis=0)))
        return found if np.isfinite(found) else None

    def minus(self, other: Statistic) -> Statistic:
        """The paired difference, a statistic of its own; both must be of the same clusters in the same order."""
        return combined([self, other], [1.0, -1.0])

    @property
    def standard_error(self) -> float:
        """By the delta method; of two clusters or more."""
        n, totals = self.n_clusters, self.sums.sum(axis=0)
        influence = (self.sums - totals / n) @ self._gradient(totals)
        return float(np.sqrt((influence**2).sum() * n / (n - 1)))

    def _gradient(self, totals: Floats) -> Floats:
        """Numerical, in (…, C)."""
        steps = _STEP * np.abs(self.sums).sum(axis=0)
        gradient = np.zeros_like(totals)
        for column in np.flatnonzero(steps):
            move = np.zeros(len(steps))
            move[column] = steps[column]
            gradient[..., column] = (self.value(totals + move) - self.value(totals - move)) / (2 * steps[column])
        return gradient

    def interval(self, level: float = LEVEL) -> Interval:
        """Bootstrap-t interval. None where the clusters are all alike, or fewer than nine resamples in ten define it."""
        estimate, n = self.estimate, self.n_clusters
        if estimate is None or n < FEWEST:
            return Interval(estimate, None, None, "" if estimate is None else TOO_FEW)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            totals = self.sums.sum(axis=0)
            size = float(np.abs(self._gradient(totals)) @ np.abs(self.sums).sum(axis=0))
            error = self.standard_error
            if error <= _ROUNDING * size:
                return Interval(estimate, None, None, ALL_ALIKE)
            t = self._resampled_t(estimate)
        usable = t[~np.isnan(t)]
        if not np.isfinite(error) or len(usable) < max(0.9 * self.draws, 2):
            return Interval(estimate, None, None)
        farthest = _FARTHEST * float(student.ppf((1 + level) / 2, n - 1))
        low, high = np.quantile(np.clip(usable, -farthest, farthest), [(1 - level) / 2, (1 + level) / 2])
        return Interval(estimate, estimate - float(high) * error, estimate - float(low) * error, rough=n < ENOUGH)

    def _resampled_t(self, estimate: float) -> Floats:
        """(draws,); far from 0 where a resample differs and has no spread, NaN where it is undefined."""
        n = self.n_clusters
        centred = self.sums - self.sums.mean(axis=0)  # (n, C)
        weights = resample_weights(n, self.draws, self.seed)  # (draws, n)
        totals = weights @ self.sums  # (draws, C)
        gradient = self._gradient(totals)  # (draws, C)
        squared = gradient @ centred.T  # (draws, n), the influence of each cluster
        squared *= squared
        sums = np.einsum("bc,bc->b", gradient, weights @ centred)  # of the influences, without another (draws, n)
        squares = np.einsum("bk,bk->b", weights, squared) - sums**2 / n
        errors = np.sqrt(np.maximum(squares, 0.0) * n / (n - 1))
        distance = self.value(totals) - estimate
        t: Floats = np.where(distance == 0, 0.0, distance / errors)
        return t


def combined(parts: Sequence[Statistic], factors: Sequence[float]) -> Statistic:
    """Σ factor · part as one statistic, so that it is studentised as a whole; all parts of the same clusters and seed."""
    first = parts[0]
    if any((one.n_clusters, one.draws, one.seed) != (first.n_clusters, first.draws, first.seed) for one in parts):
        raise ValueError("statistics of different clusters or resamples cannot be paired")
    ends = np.cumsum([one.sums.shape[1] for one in parts]).tolist()
    places = [slice(end - one.sums.shape[1], end) for end, one in zip(ends, parts, strict=True)]

    def value(s: Floats) -> Floats:
        terms = [factor * one.value(s[..., at]) for factor, one, at in zip(factors, parts, places, strict=True)]
        found: Floats = np.sum(terms, axis=0)
        return found

    return Statistic(np.concatenate([one.sums for one in parts], axis=1), value, first.draws, first.seed)


def ratio(s: Floats) -> Floats:
    """The first column's sum over the second's: a mean, where the second counts."""
    found: Floats = s[..., 0] / s[..., 1]
    return found


def mean_of(values: npt.ArrayLike, clusters: npt.ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Statistic:
    """The mean of `values` (rows,), clusters moving together."""
    values = np.asarray(values, dtype=np.float64)
    return Statistic(cluster_sums(np.stack([values, np.ones_like(values)], axis=1), clusters), ratio, draws, seed)


def mean_interval(
    values: npt.ArrayLike, clusters: npt.ArrayLike, *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Interval of the mean of `values` (rows,), clusters moving together."""
    return mean_of(values, clusters, draws=draws, seed=seed).interval(level)
