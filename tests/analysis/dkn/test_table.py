"""The table of degenerate pairs, on a made-up store."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from knscope import store
from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.statistics.bootstrap import Interval
from knscope.analysis.statistics.score import share_interval
from knscope.store.view import View
from tests.store import synthetic


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = synthetic.Size(facts=10, models=synthetic.MODELS[:1], methods=("amig",))
    return synthetic.build(tmp_path_factory.mktemp("dkn") / "s.knstore", size)


def test_pairs_too_near_certainty_for_an_interaction_are_counted_in_the_notes(path: Path) -> None:
    """Fact 6 is certain in Chinese."""
    view = View(synthetic.MODELS[0], "amig", synthetic.LANGS, taus=tuple((lang, 0.1) for lang in synthetic.LANGS))
    with store.open(path) as reader:
        certain = reader.dkn(view).filter(fact="fact-00006", lang="zh").height
        own = reader.dkn(view).filter(fact="fact-00006", lang="zh", role="kn").height
        assert certain > own > 1
        assert dkn_table.build(reader, view).notes[-1].startswith(f"{certain} pairs are too near certainty")
        assert dkn_table.pairs(reader, view).notes[-1].startswith(f"{own} pairs are too near certainty")
        for table in (dkn_table.build, dkn_table.pairs):
            notes = table(reader, view.with_(langs=("en", "fr"), taus=view.taus[::2])).notes
            assert not any("certainty" in note for note in notes)


def test_the_table_and_the_rates_count_the_same_pairs(path: Path) -> None:
    view = View(synthetic.MODELS[0], "amig", synthetic.LANGS, taus=tuple((lang, 0.1) for lang in synthetic.LANGS))
    with store.open(path) as reader:
        columns = ("facts", "pairs", "paper", "strict", "expressed")
        table = dkn_table.build(reader, view).frame.filter(lang="zh").select("neurons", *columns)
        rates = reader.dkn_rate(view).filter(lang="zh")
        for role, name in dkn_table.ROLES.items():
            assert rates.filter(role=role).select(columns).rows() == table.filter(neurons=name).select(columns).rows()


def lead(seed: int, n: int, share: float) -> Interval:
    """Of two rates that are the same, each subject having one of its own that both share in part."""
    rng = np.random.default_rng(seed)
    common, looked_at = rng.beta(100 * share, 100 * (1 - share), n), rng.integers(60, 190, n)
    rates = [np.where(rng.random(n) < 0.5, common, rng.beta(100 * share, 100 * (1 - share), n)) for _ in range(2)]
    subject = [f"s{i}" for i in range(n)]
    counts = [
        pl.DataFrame({"subject": subject, "strict": rng.binomial(looked_at, rate), "pairs": looked_at})
        for rate in rates
    ]
    return dkn_table.rate_lead(counts[0], counts[1], "strict", "pairs")


@pytest.mark.parametrize("n", [8, 30])
def test_the_interval_of_a_difference_of_rates_covers(n: int) -> None:
    found = [lead(seed, n, 0.02) for seed in range(300)]
    assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.985
    assert all(one.rough == (n < 10) for one in found)


@pytest.mark.soak
@pytest.mark.parametrize("share", [0.002, 0.02])
@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
def test_the_interval_of_a_difference_of_rates_covers_in_long_simulations(n: int, share: float) -> None:
    found = [lead(seed, n, share) for seed in range(10_000, 12_000)]
    least, most = (0.90, 1.0) if n < 8 else (0.91, 0.99)
    assert least <= np.mean([one.low <= 0 <= one.high for one in found]) <= most


def test_a_rate_is_compared_by_the_intervals_of_both() -> None:
    """Newcombe's interval written out, of two rates without common subjects, whose errors do not go together."""
    counts = [
        pl.DataFrame({"subject": [f"{name}{i}" for i in range(12)], "strict": hits, "pairs": [50] * 12})
        for name, hits in (("a", [3, 1, 0, 2, 4, 1, 0, 0, 2, 1, 3, 1]), ("b", [0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]))
    ]
    found = dkn_table.rate_lead(counts[0], counts[1], "strict", "pairs")
    one, other = (
        share_interval(c["strict"].to_numpy(), c["pairs"].to_numpy(), c["subject"].to_numpy()) for c in counts
    )
    difference = one.estimate - other.estimate
    assert found.estimate == pytest.approx(difference)
    # over the subjects of both, those of one are outside the other: their errors are small, and not quite 0
    low = difference - math.hypot(one.estimate - one.low, other.high - other.estimate)
    high = difference + math.hypot(one.high - one.estimate, other.estimate - other.low)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))
