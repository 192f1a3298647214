"""Uniform chance, and matched facts against mismatched ones."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from knscope.analysis.likn.chance import benjamini_hochberg, intersection_sizes, layer_pmf, shared_pmf, uniform_chance
from knscope.analysis.likn.mismatch import FactKeys, mismatch, overlap, share_tokens, shared_with
from knscope.analysis.likn.neuron_sets import NeuronSets, equal_size
from knscope.analysis.likn.table import verdict
from tests.analysis.made_sets import sets_of_lists


def random_sets(rng, n_facts, sizes, widths):
    """Uniform sets: exactly sizes[k][l] neurons of layer l in language k."""
    offsets = np.concatenate([[0], np.cumsum(widths)])
    rows = []
    for _ in range(n_facts):
        row = []
        for per_layer in sizes:
            parts = [
                offsets[layer] + rng.choice(widths[layer], size=n, replace=False) for layer, n in enumerate(per_layer)
            ]
            row.append(np.concatenate(parts))
        rows.append(row)
    return sets_of_lists(rows, widths)


def keys_for(n_facts, n_relations=2, n_langs=2, n_answers=None):
    """Fact f: relation f % n_relations, its own subject and its own answers, or one of a relation's n_answers."""
    index = np.arange(n_facts)
    answer = index if n_answers is None else index % (n_relations * n_answers)
    return FactKeys(index % n_relations, index, np.repeat(answer[:, None], n_langs, axis=1))


def test_shared_count_distribution_equals_enumeration_of_all_sets():
    widths, sizes = (5, 4), ((2, 1), (3, 2), (3, 3))
    counts: dict[int, float] = {0: 1.0}
    for layer, width in enumerate(widths):
        layer_counts: dict[int, float] = {}
        choices = [list(itertools.combinations(range(width), lang[layer])) for lang in sizes]
        every = list(itertools.product(*choices))
        for pick in every:
            shared = len(set.intersection(*map(set, pick)))
            layer_counts[shared] = layer_counts.get(shared, 0.0) + 1 / len(every)
        merged: dict[int, float] = {}
        for (a, pa), (b, pb) in itertools.product(counts.items(), layer_counts.items()):
            merged[a + b] = merged.get(a + b, 0.0) + pa * pb
        counts = merged
    pmf = shared_pmf(widths, sizes)
    assert {x: pytest.approx(p, abs=1e-12) for x, p in counts.items()} == {x: pmf[x] for x in counts}
    assert math.isclose(pmf.sum(), 1.0, abs_tol=1e-12)


def test_expectation_of_the_distribution_is_the_closed_form():
    rng = np.random.default_rng(3)
    widths = np.array([64, 40, 256])
    sets = random_sets(rng, 1, [(10, 0, 30), (20, 5, 9), (7, 40, 80)], widths)
    chance = uniform_chance(sets)
    pmf = shared_pmf(widths, sets.layer_sizes()[0])
    assert chance.expected[0] == pytest.approx(float(pmf @ np.arange(len(pmf))), rel=1e-10)
    assert chance.p[0] == pytest.approx(float(pmf[chance.observed[0] :].sum()), rel=1e-12)


@pytest.mark.parametrize("sizes", [(0, 3), (7, 7), (7, 0), (1, 1), (7, 7, 7)])
def test_empty_and_full_layers_have_a_distribution(sizes):
    pmf = layer_pmf(7, sizes)
    assert np.isfinite(pmf).all()
    assert pmf.sum() == pytest.approx(1.0)
    if set(sizes) == {7}:
        assert pmf[-1] == 1.0


def _randomised_p(sets):
    """p with the ties at the observed count broken at random: uniform exactly when the null holds."""
    rng = np.random.default_rng(11)
    chance = uniform_chance(sets)
    result = []
    for observed, sizes in zip(chance.observed, sets.layer_sizes(), strict=True):
        pmf = shared_pmf(sets.widths, sizes)
        result.append(pmf[observed + 1 :].sum() + rng.random() * pmf[observed])
    return np.array(result)


def test_chance_p_is_uniform_when_sets_are_random():
    rng = np.random.default_rng(0)
    sets = random_sets(rng, 2000, [(12, 30), (20, 25), (33, 18)], np.array([50, 90]))
    assert stats.kstest(_randomised_p(sets), "uniform").pvalue > 0.01
    assert (uniform_chance(sets).p <= 0.05).mean() <= 0.05 + 0.03


@pytest.mark.soak
def test_chance_p_is_uniform_for_many_shapes_of_random_sets():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        widths = rng.integers(20, 200, size=4)
        sizes = [[int(rng.integers(0, w // 2)) for w in widths] for _ in range(int(rng.integers(2, 5)))]
        sets = random_sets(rng, 2000, sizes, widths)
        assert stats.kstest(_randomised_p(sets), "uniform").pvalue > 1e-3


def test_intersections_equal_python_sets_and_layers_are_counted():
    rng = np.random.default_rng(0)
    widths = np.array([6, 10])
    rows = [[rng.choice(16, size=rng.integers(0, 12), replace=False) for _ in range(3)] for _ in range(30)]
    sets = sets_of_lists(rows, widths)
    literal = [len(set.intersection(*(set(one.tolist()) for one in row))) for row in rows]
    assert intersection_sizes(sets).tolist() == literal
    for fact, row in enumerate(rows):
        for lang, one in enumerate(row):
            assert sets.layer_sizes()[fact, lang].tolist() == [int((one < 6).sum()), int((one >= 6).sum())]
    table = shared_with(sets)
    for i, j in itertools.product(range(30), range(30)):
        assert table[i, j] == len(set(rows[i][0]) & set(rows[j][1]) & set(rows[j][2]))


def test_rows_in_any_order_and_lists_build_the_same_sets():
    rows = [[[3, 1], [2]], [[], [5, 4]]]
    sets = sets_of_lists(rows, [6])
    again = NeuronSets.from_rows([1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [5, 3, 2, 1, 4], np.ones((2, 2), bool), [6])
    assert again.neurons.tolist() == sets.neurons.tolist()
    assert again.starts.tolist() == sets.starts.tolist()
    swapped = sets.select([1, 0], [1, 0])
    assert swapped.get(0, 0).tolist() == [5, 4]
    assert swapped.get(1, 1).tolist() == [3, 1]
    assert sets.top(1).neurons.tolist() == [3, 2, 5]


def test_equal_size_takes_the_median_of_the_first_language_everywhere():
    ranked = sets_of_lists([[range(10), range(20, 30)], [range(10), range(20, 30)]], [40])
    sets = sets_of_lists([[range(4), range(20, 29)], [range(2), range(20, 21)]], [40])
    equal, n = equal_size(sets, ranked)
    assert n == 3
    assert equal.sizes().tolist() == [[3, 3], [3, 3]]


def _planted_sets(rng, n_facts, *, own=True, relation_size=2, hubs=2, answers=0):
    """Noise of each language; in both: hubs of every fact, each relation's neurons, (own) each fact's, each answer's."""
    rows = []
    for fact in range(n_facts):
        shared = list(range(hubs)) + [10 + 5 * (fact % 2) + i for i in range(relation_size)]
        if answers:
            shared += [800 + 3 * (fact % (2 * answers)) + i for i in range(2 + fact // 2 % 2)]
        if own:  # two or three
            shared += [100 + 3 * fact + i for i in range(2 + fact // 2 % 2)]
        rows.append([shared + (1000 * (k + 1) + rng.choice(1000, 12, replace=False)).tolist() for k in range(2)])
    return sets_of_lists(rows, [3000])


def test_overlap_calls_facts_with_planted_neurons_own():
    sets = _planted_sets(np.random.default_rng(0), 120)
    result = overlap(sets, keys_for(120, n_answers=2), draws=500)
    assert result.coverage == 1.0
    assert set(result.verdicts) == {"own"}
    for control in (result.same_relation, result.same_answer):
        assert control.interval.low > 0
        assert 2.3 < control.interval.estimate < 2.7
    assert 4.3 < result.other_relation.interval.estimate < 4.7


def test_overlap_calls_neurons_of_an_answer_of_the_answer():
    sets = _planted_sets(np.random.default_rng(0), 120, own=False, answers=2)
    result = overlap(sets, keys_for(120, n_answers=2), draws=500)
    assert set(result.verdicts) == {"of the answer"}
    assert result.same_relation.interval.low > 0
    assert result.same_answer.interval.contains_zero
    assert result.same_answer.facts == 120


def test_without_a_fact_of_the_same_answer_what_is_above_the_relation_is_undecided():
    result = overlap(_planted_sets(np.random.default_rng(0), 60), keys_for(60), draws=200)
    assert set(result.verdicts) == {"undecided"}
    assert result.same_relation.interval.low > 0
    assert (result.same_answer.facts, result.same_answer.average, result.same_answer.p_overall) == (0, None, None)


def test_without_own_neurons_overlap_far_above_chance_is_not_called_language_independent():
    sets = _planted_sets(np.random.default_rng(1), 60, own=False)
    result = overlap(sets, keys_for(60))
    assert result.observed > 10 * result.expected
    assert set(result.verdicts) == {"relation"}
    assert not result.same_relation.above
    assert result.other_relation.interval.estimate > 1.8


def test_hubs_alone_are_called_generic_and_undecided_without_another_relation():
    sets = _planted_sets(np.random.default_rng(2), 60, own=False, relation_size=0, hubs=5)
    keys = keys_for(60)
    result = overlap(sets, keys)
    assert set(result.verdicts) == {"generic"}
    alone = overlap(sets, FactKeys(np.zeros_like(keys.relation), keys.subject, keys.answer))
    assert (
        set(alone.verdicts) == {verdict(alone, keys.subject)} == {"undecided"}
    )  # no other relation to be generic beside


def test_few_partners_leave_a_fact_undecided_instead_of_claimed():
    sets = _planted_sets(np.random.default_rng(3), 12)
    assert set(overlap(sets, keys_for(12)).verdicts) == {"undecided"}


def test_mismatched_p_equals_the_literal_count_and_ignores_same_answers():
    rng = np.random.default_rng(4)
    rows = [[rng.choice(30, 10, replace=False), rng.choice(30, 10, replace=False)] for _ in range(20)]
    keys = FactKeys(
        rng.integers(0, 2, 20),
        rng.integers(0, 15, 20),
        np.stack([rng.integers(0, 4, 20), np.where(rng.random(20) < 0.3, 9, 0)], axis=1),
    )
    result = overlap(sets_of_lists(rows, [30]), keys, draws=100)
    for i in range(20):
        a, b, c = [], [], []
        for j in range(20):
            size = len(set(rows[i][0]) & set(rows[j][1]))
            if keys.subject[i] == keys.subject[j]:
                continue
            if keys.relation[i] != keys.relation[j]:
                b.append(size)
            elif all(keys.answer[i] != keys.answer[j]):
                a.append(size)
            elif all(keys.answer[i] == keys.answer[j]):
                c.append(size)
        own = len(set(rows[i][0]) & set(rows[i][1]))
        for control, sizes in ((result.same_relation, a), (result.other_relation, b), (result.same_answer, c)):
            assert control.partners[i] == len(sizes)
            if not sizes:
                assert control.p[i] is None and control.mean[i] is None
                continue
            assert control.p[i] == pytest.approx((1 + sum(s >= own for s in sizes)) / (1 + len(sizes)))
            assert control.mean[i] == pytest.approx(np.mean(sizes))


def test_drawn_partners_are_seeded_distinct_and_within_the_limit():
    rng = np.random.default_rng(6)
    shared = rng.integers(0, 9, (150, 150))
    eligible = ~np.eye(150, dtype=bool)
    one, two = (mismatch(shared, eligible, np.arange(150), limit=100, draws=50, seed=9) for _ in range(2))
    assert (one.p, one.mean, one.interval, one.p_overall) == (two.p, two.mean, two.interval, two.p_overall)
    assert set(one.partners.tolist()) == {100}


def test_the_mean_of_the_per_fact_effects_is_matched_minus_mismatched():
    rng = np.random.default_rng(8)
    shared = rng.integers(0, 9, (40, 40))
    keys = keys_for(40, 3)
    eligible = keys.eligible().other_answer
    result = mismatch(shared, eligible, keys.subject, draws=200)
    literal = np.mean([shared[i, i] - shared[i][eligible[i]].mean() for i in range(40)])
    assert result.interval.estimate == pytest.approx(literal, abs=1e-12)


def _dyadic(rng, n_facts, effect=0.0):
    """Overlap sizes with hub-like rows and columns: what makes facts dependent."""
    rows, columns = rng.gamma(2, 1, n_facts), rng.gamma(2, 1, n_facts)
    shared = rng.poisson(np.outer(rows, columns))
    shared[np.diag_indices(n_facts)] += rng.poisson(effect, n_facts) if effect else 0
    return shared


def _coverage(repeats, n_facts, draws):
    keys = keys_for(n_facts, 2)
    eligible = keys.eligible().other_answer
    hits = 0
    for seed in range(repeats):
        shared = _dyadic(np.random.default_rng(seed), n_facts, effect=1.5)
        interval = mismatch(shared, eligible, keys.subject, limit=n_facts, draws=draws, seed=seed).interval
        hits += interval.low <= 1.5 <= interval.high
    return hits / repeats


@pytest.mark.parametrize("n_facts", [8, 30])
def test_interval_of_matched_minus_mismatched_covers(n_facts):
    assert 0.90 <= _coverage(200, n_facts, 400) <= 0.99


@pytest.mark.soak
@pytest.mark.parametrize("n_facts", [6, 8, 12, 30, 100, 200])
def test_interval_of_matched_minus_mismatched_covers_between_92_and_98_percent(n_facts):
    assert 0.92 <= _coverage(1500, n_facts, 2000) <= 0.98


def test_p_of_all_facts_is_a_dash_where_they_have_too_few_partners_to_say_anything():
    def false_positives(n_facts, n_relations):
        """Of the null, and how many times a p is given."""
        given = []
        for seed in range(200):
            eligible = keys_for(n_facts, n_relations).eligible().other_answer
            shared = _dyadic(np.random.default_rng(seed), n_facts)
            given.append(mismatch(shared, eligible, np.arange(n_facts), limit=500, draws=20, seed=seed).p_overall)
        known = [p for p in given if p is not None]
        return np.mean([p <= 0.05 for p in known]) if known else None

    assert false_positives(8, 4) is None  # two facts a relation: one re-pairing
    assert false_positives(12, 4) is None
    assert false_positives(15, 3) <= 0.09  # 0.05 but for two standard errors


def test_p_of_all_facts_counts_every_re_pairing_once_where_there_are_few():
    shared = np.random.default_rng(0).integers(0, 9, (5, 5))
    shared[0] = (6, 1, 6, 9, 0)
    eligible = np.zeros((5, 5), bool)
    eligible[0, 1:] = True  # one fact with four partners: four re-pairings, two of them at least as large
    assert mismatch(shared, eligible, np.arange(5), draws=20).p_overall == pytest.approx(3 / 5)


def test_mismatched_p_is_uniform_when_the_pairing_means_nothing():
    p = []
    for seed in range(60):
        shared = _dyadic(np.random.default_rng(seed), 40)
        found = mismatch(shared, ~np.eye(40, dtype=bool), np.arange(40), draws=10, seed=seed)
        p.append(found.p[0])
    p = np.array(p, dtype=float)
    assert (p <= 0.1).mean() <= 0.2
    assert 0.2 <= (p <= 0.5).mean() <= 0.65


def test_benjamini_hochberg_equals_scipy():
    p = np.random.default_rng(2).random(50) ** 2
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    assert benjamini_hochberg([]).size == 0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[[1, 2], [2]]],
        [[[], []], [[], []]],
        [[[1], None], [None, [1]]],
        [[[1, 2]], [[2, 3]]],
    ],
)
def test_likn_handles_missing_facts_partners_neurons_and_languages(rows):
    n_langs = len(rows[0]) if rows else 2
    sets = sets_of_lists(rows, [6]) if rows else NeuronSets.from_rows([], [], [], np.ones((0, 2), bool), [6])
    with np.errstate(all="raise"):
        result = overlap(sets, keys_for(len(rows), 1, n_langs), draws=20)
    assert np.isfinite(result.uniform.p).all()
    for control in (result.same_relation, result.other_relation, result.same_answer):
        values = [*control.mean, *control.p, control.interval.low, control.interval.high, control.p_overall]
        assert all(value is None or math.isfinite(value) for value in values)


def test_punctuation_and_white_space_are_no_shared_tokens():
    assert not share_tokens([["Ġ", "8"], ["Ġ", "法国"]])
    assert not share_tokens([["<0x0A>", "8"], ["<0x0A>", "法国"]])
    assert share_tokens([["Ber", "lin"], ["Ber", "lín"]])
    assert not share_tokens([["Tokyo", "."], ["东京", "."]])


@pytest.mark.parametrize(("n_facts", "seconds"), [(60, 0.4), (1000, 4.0)])
def test_overlap_is_quick_enough_for_a_pane(n_facts, seconds):
    rng = np.random.default_rng(0)
    widths = np.full(12, 3072)
    weights = rng.gamma(0.05, size=36864) + 1e-6  # hubs
    weights /= weights.sum()
    rows = [[rng.choice(36864, 60, replace=False, p=weights) for _ in range(2)] for _ in range(n_facts)]
    sets = sets_of_lists(rows, widths)
    start = time.process_time()
    overlap(sets, keys_for(n_facts, 4))
    assert time.process_time() - start < seconds
