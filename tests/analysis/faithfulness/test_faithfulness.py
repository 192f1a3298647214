"""Truth by brute force, how methods agree with it, which one becomes the default, and how stable sets are."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.faithfulness.judge import (
    agreement,
    area,
    candidate,
    choose,
    halves,
    ranks,
    spearman,
    specific_area,
)
from knscope.analysis.faithfulness.measure import (
    P_FLOOR,
    deletion_curves,
    group_effects,
    insertion_curve,
    log_p,
    noise_floor,
    pooled_top,
    single_effects,
)
from knscope.analysis.prompts.encode import encode
from knscope.analysis.stability.judge import jaccard, stability
from tests.analysis import planted
from tests.analysis.made_sets import sets_of_lists


@cache
def world():
    built = planted.build(dtype=torch.float64)
    return built, Engine(built.loaded)


def encoded(fact, lang="en"):
    built, _ = world()
    return encode(built.loaded, built.queries[fact, lang])


def p_without(query, neurons, values=None):
    """One ablation at a time through the engine, which equals whole passes by its own tests."""
    edit = Edit.suppress(neurons) if values is None else Edit.replace(neurons, values[list(neurons)])
    return world()[1].edited(query, [edit])[0].p


# --- truth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ["zero", "resample"])
def test_single_effects_are_one_ablation_each(ablation):
    built, engine = world()
    query = encoded(("lan", 9))
    values = None if ablation == "zero" else engine.activations(encoded(("cap", 4)))[0]
    effects = single_effects(engine, query, values)
    assert effects.shape == (built.loaded.n_neurons,)
    for neuron in (built.own["lan", 9], built.hub, built.own["cap", 4], 5, 330):
        expected = engine.predict([query])[0].p - p_without(query, [neuron], values)
        assert effects[neuron] == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(single_effects(engine, query, values, [7, built.hub]), effects[[7, built.hub]])


def test_only_planted_neurons_rise_above_the_noise_floor():
    built, engine = world()
    effects = single_effects(engine, encoded(("lan", 9)))
    above = set(np.flatnonzero(np.abs(effects) > noise_floor(engine, encoded(("lan", 9)))).tolist())
    assert above == {built.own["lan", 9], built.mono[("lan", 9), "en"], built.hub, built.relation["lan"]}


def test_a_redundant_pair_has_no_single_effect_but_shares_its_group_effect():
    built, engine = world()
    query = encoded(("lan", 3))
    a, b = built.pairs["lan", 3]
    alone = single_effects(engine, query, neurons=[a, b])
    together = group_effects(engine, query, [a, b, 5], permutations=64, seed=1)
    assert abs(alone).max() < 0.02
    assert together.mean[:2].min() > 0.3
    assert together.mean[2] == pytest.approx(0.0, abs=1e-12)


def test_group_effects_equal_the_mean_over_all_orders_within_their_error():
    built, engine = world()
    query = encoded(("lan", 9))
    pool = [built.own["lan", 9], built.mono[("lan", 9), "en"], built.hub]
    before = engine.predict([query])[0].p
    exact = np.zeros(3)
    orders = list(itertools.permutations(range(3)))
    for order in orders:
        last = before
        for k in range(3):
            p = p_without(query, [pool[i] for i in order[: k + 1]])
            exact[order[k]] += (last - p) / len(orders)
            last = p
    found = group_effects(engine, query, pool, permutations=300, seed=2)
    assert (np.abs(found.mean - exact) <= 4 * found.error + 1e-12).all()
    assert found.mean.sum() == pytest.approx(before - p_without(query, pool), rel=1e-9)
    assert (found.error > 0).all()


def test_curves_are_cumulative_ablations_and_restorations():
    built, engine = world()
    query = encoded(("lan", 9))
    order = [built.own["lan", 9], built.hub, 5]
    deleted, shorter = deletion_curves(engine, query, [order, order[1:]])
    assert len(shorter) == 3
    assert shorter[1] == pytest.approx(math.log(p_without(query, order[1:2])))
    assert deleted[0] == pytest.approx(math.log(engine.predict([query])[0].p))
    for k in range(1, 4):
        assert deleted[k] == pytest.approx(math.log(p_without(query, order[:k])))
    [thinned] = deletion_curves(engine, query, [order], points=(1, 7))
    assert thinned == pytest.approx([deleted[0], deleted[1], (deleted[1] + deleted[3]) / 2, deleted[3]])
    pool = [*order, built.relation["lan"]]
    restored = insertion_curve(engine, query, [999 % 640, *order], pool)
    assert len(restored) == 4
    for k in range(4):
        assert restored[k] == pytest.approx(math.log(p_without(query, [n for n in pool if n not in order[:k]])))


def test_nothing_is_ablated_from_empty_orders_and_pools():
    _, engine = world()
    query = encoded(("lan", 9))
    assert [len(one) for one in deletion_curves(engine, query, [[], [5], []])] == [1, 2, 1]
    assert deletion_curves(engine, query, []) == []
    assert insertion_curve(engine, query, [], []).shape == (1,)
    assert group_effects(engine, query, []).mean.size == 0
    assert pooled_top([]).size == 0
    assert pooled_top([[5, 3, 9], [3, 1]], top=2).tolist() == [1, 3, 5]
    assert log_p(np.array([0.0, 1.0])).tolist() == [math.log(P_FLOOR), 0.0]


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_spearman_equals_scipy_with_ties_and_is_unknown_where_undefined():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert ranks([3, 1, 3]).tolist() == [2.5, 1.0, 2.5]
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([], []) is None


def test_agreement_counts_shared_top_neurons_beside_their_chance():
    truth = np.zeros(100)
    truth[:10] = np.arange(10, 0, -1)
    scores = truth.copy()
    scores[0], scores[50] = -1.0, 20.0
    found = agreement(scores, truth, noise=0.5, k=10)
    assert (found.n, found.overlap, found.chance) == (10, 0.9, 0.1)
    assert agreement(truth, truth, noise=0.5).spearman == pytest.approx(1.0)
    assert agreement([], [], 0.0).overlap is None


def test_the_primary_metric_is_the_extra_drop_of_the_fact_itself():
    relevant, aside = [-0.1, -1.1, -2.1], [[-0.5, -0.6, -0.5], [-0.2, -0.2, -0.2]]
    assert area(relevant) == pytest.approx(-1.5)
    assert specific_area(relevant, aside) == pytest.approx(1.5 - 0.025)
    assert specific_area(relevant, []) is None
    assert area([-0.3]) == 0.0


def _areas(rng, means, n=80):
    fact = rng.normal(0, 0.2, n)
    return {name: mean + fact + rng.normal(0, 0.05, n) for name, mean in means.items()}, [f"s{i}" for i in range(n)]


def test_clearly_better_method_is_named_on_the_half_that_did_not_choose_it():
    areas, subject = _areas(np.random.default_rng(1), {"amig": 1.0, "bkn": 1.6, "amig-code": 0.5})
    choice = choose(areas, subject, draws=500)
    assert (choice.default, choice.best, choice.better, choice.subjects) == ("amig", "bkn", "bkn", 40)
    assert choice.ranking == ("bkn", "amig", "amig-code")
    chosen_by = halves(subject)
    other = [i for i, s in enumerate(subject) if s not in chosen_by]
    assert choice.reported["bkn"].estimate == pytest.approx(areas["bkn"][other].mean())
    assert choice.versus["bkn"].estimate == pytest.approx((areas["bkn"] - areas["amig"])[other].mean())
    assert 0.5 < choice.versus["bkn"].low < 0.6 < choice.versus["bkn"].high < 0.7 and "amig" not in choice.versus
    assert len(chosen_by) == 40


def test_difference_is_judged_paired_where_the_methods_own_intervals_overlap():
    """Facts differ more than methods do: side by side nothing could be said."""
    rng = np.random.default_rng(7)
    fact = rng.normal(0, 3, 80)
    areas = {"amig": 1 + fact, "bkn": 1.3 + fact + rng.normal(0, 0.05, 80)}
    choice = choose(areas, [f"s{i}" for i in range(80)], draws=500)
    assert choice.reported["bkn"].low < choice.reported["amig"].high
    assert choice.better == "bkn"


def test_method_that_is_no_better_than_the_default_is_not_named():
    areas, subject = _areas(np.random.default_rng(2), {"amig": 1.0, "bkn": 1.0})
    choice = choose(areas, subject, draws=500)
    assert (choice.best, choice.better) == ("bkn", None)


def test_other_quadrature_of_the_default_is_no_candidate():
    areas, subject = _areas(np.random.default_rng(5), {"amig": 1.0, "amig+nodes=10": 2.0, "bkn": 0.5})
    assert (choose(areas, subject, draws=500).best, choose(areas, subject, draws=500).better) == ("bkn", None)
    assert candidate("bkn") == candidate("bkn+nodes=5,rule=right") != candidate("bkn+target=logprob")


def test_control_may_lead_but_is_never_named():
    areas, subject = _areas(np.random.default_rng(3), {"amig": 1.0, "bkn": 0.2, "grad_x_act": 3.0})
    choice = choose(areas, subject, draws=500)
    assert choice.ranking[0] == "grad_x_act"
    assert (choice.best, choice.better) == ("bkn", None)


@pytest.mark.parametrize("n", [0, 1, 2, 38])
def test_fewer_than_20_reporting_subjects_name_no_better_method(n):
    areas, subject = _areas(np.random.default_rng(4), {"amig": 1.0, "bkn": 3.0}, n)
    choice = choose(areas, subject, draws=20)
    assert choice.better is None and choice.subjects <= 19


# --- stability --------------------------------------------------------------------------------------------------------


def test_jaccard_equals_python_sets():
    rng = np.random.default_rng(5)
    rows = [
        [[rng.choice(20, rng.integers(0, 9), replace=False) for _ in range(2)] for _ in range(15)] for _ in range(2)
    ]
    rows[0][3][1] = None
    a, b = (sets_of_lists(one, [20]) for one in rows)
    found = jaccard(a, b)
    for f, k in itertools.product(range(15), range(2)):
        if rows[0][f][k] is None:
            assert math.isnan(found[f, k])
            continue
        one, other = set(rows[0][f][k].tolist()), set(rows[1][f][k].tolist())
        if one | other:
            assert found[f, k] == pytest.approx(len(one & other) / len(one | other))
        else:
            assert math.isnan(found[f, k])


def test_stability_of_a_set_with_itself_is_one_and_with_nothing_is_unknown():
    sets = sets_of_lists([[[1, 2]], [[3]], [[]]], [9])
    empty = sets_of_lists([[None]] * 3, [9])
    same, nothing = stability(sets, {"same": sets, "nothing": empty}, [0, 1, 2], draws=20)
    assert (same.n, same.subjects, same.jaccard.estimate, same.same) == (2, 2, 1.0, 1.0)
    assert (nothing.n, nothing.jaccard.estimate, nothing.size) == (0, None, None)
