"""Intervals: equal to their literal definition, and they hold the true value as often as they say, with few subjects too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from knscope.analysis.statistics.bootstrap import (
    ALL_ALIKE,
    TOO_FEW,
    Interval,
    Statistic,
    cluster_sums,
    combined,
    mean_interval,
    mean_of,
    ratio,
    resample_weights,
)
from knscope.analysis.statistics.score import difference_of, share_interval

Rng = np.random.Generator
SUBJECTS = (6, 8, 12, 30, 100)


def covers(make: Callable[[Rng], Interval], true: float, seeds: Iterable[int]) -> float:
    """Share of the intervals that hold the true value; every sample has one with a width."""
    hits = []
    for seed in seeds:
        found = make(np.random.default_rng(seed))
        assert found.low is not None and found.high is not None and found.high > found.low
        hits.append(found.low <= true <= found.high)
    return float(np.mean(hits))


def clustered(rng: Rng, n: int, each: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Values of n subjects with an effect of each subject; their mean is 0."""
    subject = np.repeat(np.arange(n), each)
    return rng.normal(size=n)[subject] + rng.normal(size=n * each), subject


def skewed(rng: Rng, n: int) -> np.ndarray:
    return np.asarray(np.exp(0.7 * rng.normal(size=n)))


def pairs(rng: Rng, n: int, share: float = 0.02) -> Interval:
    """Degenerate pairs of facts: those of a fact have a rate of their own."""
    looked_at = rng.integers(60, 190, n)
    return share_interval(rng.binomial(looked_at, rng.beta(100 * share, 100 * (1 - share), n)), looked_at, np.arange(n))


def paired(rng: Rng, n: int, draws: int) -> Interval:
    """The difference of two means that are the same, on values with a skewed part in common."""
    common = skewed(rng, n)
    one, other = (mean_of(common + rng.normal(size=n) * 0.3, np.arange(n), draws=draws) for _ in range(2))
    return one.minus(other).interval()


@pytest.mark.parametrize("n", SUBJECTS)
def test_intervals_of_a_mean_of_a_share_of_pairs_and_of_a_paired_difference_cover(n: int) -> None:
    draws, seeds, least = 400, range(300), 0.92 if n >= 8 else 0.90
    assert least <= covers(lambda rng: mean_interval(*clustered(rng, n), draws=draws), 0.0, seeds) <= 0.98
    assert least <= covers(lambda rng: pairs(rng, n), 0.02, seeds) <= 0.985
    assert least <= covers(lambda rng: paired(rng, n, draws), 0.0, seeds) <= 0.985


@pytest.mark.soak
@pytest.mark.parametrize("n", SUBJECTS)
def test_intervals_of_means_differences_and_shares_cover_in_long_simulations(n: int) -> None:
    seeds, draws, index = range(10_000, 12_000), 1000, np.arange(n)
    least = 0.92 if n >= 8 else 0.90
    assert least <= covers(lambda rng: mean_interval(*clustered(rng, n), draws=draws), 0.0, seeds) <= 0.98
    most = covers(lambda rng: mean_interval(skewed(rng, n), index, draws=draws), math.exp(0.245), seeds)
    assert least - 0.02 <= most <= 0.98
    assert least <= covers(lambda rng: paired(rng, n, draws), 0.0, seeds) <= 0.98
    for share in (0.02, 0.3):
        assert least <= covers(lambda rng, share=share: pairs(rng, n, share), share, seeds) <= 0.985


def test_quantiles_of_the_resampled_mean_itself_would_not_cover() -> None:
    """The negative twin of the simulations: what they test is not met by any interval."""

    def plain(rng: Rng) -> Interval:
        values = rng.normal(size=6)
        drawn = resample_weights(6, 400) @ values / 6
        return Interval(float(values.mean()), *np.quantile(drawn, [0.025, 0.975]).tolist())

    assert covers(plain, 0.0, range(300)) < 0.90


def test_the_interval_equals_bootstrap_t_written_out() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 8, 40)
    values = rng.normal(size=40) + clusters

    def error(rows: list[np.ndarray]) -> float:
        """Of the ratio Σ values / Σ 1 over clusters."""
        total, count = sum(float(r.sum()) for r in rows), sum(len(r) for r in rows)
        parts = [(float(r.sum()) - total / count * len(r)) / count for r in rows]
        return math.sqrt(len(rows) / (len(rows) - 1) * sum(part**2 for part in parts))

    rows = [values[clusters == c] for c in range(8)]
    mean, t = values.mean(), []
    for weights in resample_weights(8, 200, 4):
        drawn = [rows[c] for c in range(8) for _ in range(int(weights[c]))]
        t.append((np.concatenate(drawn).mean() - mean) / error(drawn))
    low, high = np.quantile(t, [0.025, 0.975])
    found = mean_interval(values, clusters, draws=200, seed=4)
    assert found.low == pytest.approx(mean - high * error(rows), rel=1e-7)
    assert found.high == pytest.approx(mean - low * error(rows), rel=1e-7)


def test_a_paired_difference_is_studentised_as_a_whole() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=20) * 10
    other = one + 0.1 + 0.01 * rng.normal(size=20)
    a, b = (mean_of(values, np.arange(20), draws=300) for values in (one, other))
    paired, literal = b.minus(a).interval(), mean_interval(other - one, np.arange(20), draws=300)
    assert paired.estimate == pytest.approx(0.1, abs=0.01)
    assert (paired.low, paired.high) == (pytest.approx(literal.low, rel=1e-4), pytest.approx(literal.high, rel=1e-4))
    assert a.minus(a).interval() == Interval(0.0, None, None, ALL_ALIKE)
    halves = combined([a, b], [0.5, 0.5])
    assert halves.estimate == pytest.approx((one.mean() + other.mean()) / 2)
    with pytest.raises(ValueError, match="paired"):
        a.minus(mean_of(one, np.arange(20), draws=300, seed=1))


def test_few_subjects_make_a_rough_interval_and_fewer_than_five_none() -> None:
    values = np.random.default_rng(3).normal(size=12)
    found = {n: mean_interval(values[:n], np.arange(n), draws=100) for n in (0, 1, 4, 5, 9, 10)}
    assert found[0].estimate is None
    assert all(found[n].low is None and found[n].instead == TOO_FEW for n in (1, 4))
    assert [found[n].rough for n in (5, 9, 10)] == [True, True, False]
    assert share_interval([1, 2], [3, 3], [0, 1]).instead == TOO_FEW


def test_constant_samples_have_no_interval_and_extreme_shares_a_wide_one() -> None:
    assert mean_interval(np.full(20, 0.7), np.arange(20), draws=50) == Interval(
        pytest.approx(0.7), None, None, ALL_ALIKE
    )
    none, every = (share_interval(np.full(12, hits), np.full(12, 100), np.arange(12)) for hits in (0, 100))
    assert none.estimate == 0.0 and none.low == 0.0 and none.high is not None and 0.2 < none.high < 0.4
    assert every.estimate == 1.0 and every.high == 1.0 and every.low == pytest.approx(1 - none.high)
    assert share_interval([], [], []).estimate is None
    assert share_interval([0, 1], [0, 0], [0, 1]).estimate is None


def test_a_share_of_single_trials_has_wilsons_interval() -> None:
    hits = np.array([1.0] * 30 + [0.0] * 70)
    found = share_interval(hits, np.ones(100), np.arange(100))
    q, p, n = 1.9842, 0.3, 100  # Student's quantile of 99 degrees of freedom
    centre, spread = p + q**2 / (2 * n), q * math.sqrt(p * (1 - p) / n + q**2 / (4 * n**2))
    assert found.low == pytest.approx((centre - spread) / (1 + q**2 / n), abs=1e-4)
    assert found.high == pytest.approx((centre + spread) / (1 + q**2 / n), abs=1e-4)


def test_a_difference_of_two_figures_at_the_end_of_their_scale_has_a_width() -> None:
    top = Interval(1.0, 0.8, 1.0)
    found = difference_of(top, top, 0.0)
    assert found.low is not None and found.high is not None and found.low < 0 < found.high
    assert difference_of(top, Interval(0.5, None, None, TOO_FEW), 0.0) == Interval(0.5, None, None, TOO_FEW)


def test_a_resample_without_spread_does_not_make_an_end_infinite() -> None:
    values = np.zeros(10)
    values[0] = 1.0
    found = mean_interval(values, np.arange(10), draws=500)
    assert found.low is not None and found.high is not None and math.isfinite(found.high)


def test_cluster_sums_equal_sums_over_the_rows_of_a_cluster() -> None:
    rng = np.random.default_rng(1)
    clusters, columns = rng.integers(0, 6, 30), rng.random((30, 2))
    weights = resample_weights(6, draws=25, seed=4)
    assert (weights.sum(axis=1) == 6).all()
    sums = cluster_sums(columns, clusters)
    assert sums.tolist() == [pytest.approx(columns[clusters == c].sum(axis=0).tolist()) for c in range(6)]
    assert Statistic(sums, ratio).estimate == pytest.approx(columns[:, 0].sum() / columns[:, 1].sum())
