"""Claims: whose object is wrong, what is read on them, and how contenders are judged."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from knscope import store
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.replay import Engine
from knscope.analysis.factcheck.auroc import area
from knscope.analysis.factcheck.choose import WantedClaim, expected, judged, seed_of, unjudged
from knscope.analysis.factcheck.claims import claim_neurons, derange, split_subjects
from knscope.analysis.factcheck.judge import (
    Claims,
    Contender,
    NeuronRows,
    always_true,
    best_threshold,
    frequent_neurons,
    is_argmax,
    judge,
    mean_score,
)
from knscope.analysis.factcheck.measure import read_claims
from knscope.analysis.prompts.encode import Query, encode
from knscope.analysis.statistics.bootstrap import TOO_FEW, Interval
from knscope.store import runs
from tests.analysis import planted

# --- who is in which part, and who gets which wrong object -------------------------------------------------------------


def test_every_subject_is_in_one_part_at_the_stated_shares_whatever_the_order():
    subjects = [f"s{i}" for i in range(100)]
    parts = split_subjects(subjects * 3, seed=4)
    assert Counter(parts.values()) == {"neurons": 60, "threshold": 20, "test": 20}
    assert split_subjects(reversed(subjects), seed=4) == parts
    assert split_subjects(subjects, seed=5) != parts


def test_new_subjects_move_few_old_ones_to_another_part():
    before = split_subjects([f"s{i}" for i in range(100)])
    after = split_subjects([f"s{i}" for i in range(105)])
    assert sum(before[s] != after[s] for s in before) <= 10


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_subjects_are_split_without_error(n):
    assert len(split_subjects([f"s{i}" for i in range(n)])) == n


def _check_dealing(objects, right, dealt):
    kept = [i for i, wrong in enumerate(dealt) if wrong is not None]
    for i in kept:
        assert dealt[i] != objects[i]
        assert dealt[i] not in right[i]
    assert Counter(dealt[i] for i in kept) == Counter(objects[i] for i in kept)
    return kept


def test_wrong_objects_are_never_right_and_as_frequent_as_right_ones():
    rng = np.random.default_rng(0)
    for seed in range(60):
        n = int(rng.integers(2, 40))
        objects = [f"o{rng.integers(0, max(2, n // 3))}" for _ in range(n)]
        right = [{f"o{rng.integers(0, n)}"} if rng.random() < 0.3 else set() for _ in range(n)]
        dealt = derange(objects, right, seed)
        _check_dealing(objects, right, dealt)
        assert dealt == derange(objects, right, seed)


def test_a_dealing_leaves_nobody_out_when_one_exists():
    objects = ["a"] * 10 + ["b"] * 6 + ["c"] * 4
    assert len(_check_dealing(objects, [()] * 20, derange(objects, [()] * 20))) == 20


def test_too_frequent_an_object_leaves_out_only_its_surplus():
    objects = ["euro"] * 60 + [f"o{i}" for i in range(40)]
    dealt = derange(objects, [()] * 100, seed=1)
    assert len(_check_dealing(objects, [()] * 100, dealt)) == 80
    assert all(objects[i] == "euro" for i, wrong in enumerate(dealt) if wrong is None)


def test_dealing_is_random_and_quick_at_a_thousand_facts():
    objects = ["euro"] * 520 + [f"o{i % 200}" for i in range(480)]
    start = time.process_time()
    one, two = (derange(objects, [()] * 1000, seed) for seed in (1, 2))
    assert time.process_time() - start < 5
    assert one != two
    assert sum(wrong is None for wrong in one) == 40


@pytest.mark.parametrize("objects", [[], ["a"], ["a", "a", "a"]])
def test_without_another_object_there_is_no_wrong_claim(objects):
    assert derange(objects, [()] * len(objects)) == [None] * len(objects)


def test_alternatives_that_are_all_right_leave_no_wrong_object():
    assert derange(["a", "b"], [{"b"}, {"a"}]) == [None, None]


# --- what is read ------------------------------------------------------------------------------------------------------


@cache
def world():
    built = planted.build(dtype=torch.float64)
    return built, Engine(built.loaded)


def claim(fact, answer, lang="en"):
    query = world()[0].queries[fact, lang]
    return Query(query.fact, query.relation, lang, query.template, query.subject, answer)


def test_claims_carry_both_values_of_each_neuron_asked_for():
    built, engine = world()
    method = parse_method("amig")
    pair = list(built.pairs["cap", 0])
    queries = [encode(built.loaded, claim(("cap", 0), answer)) for answer in ("ocap0en", "ocap5en")]
    right, wrong = read_claims(engine, queries, [pair, [*pair, built.hub]], method)
    assert right.is_argmax
    assert not wrong.is_argmax
    assert (right.rank, wrong.rank > 1) == (1, True)
    assert right.p > wrong.p
    for query, reading, neurons in zip(queries, (right, wrong), (pair, [*pair, built.hub]), strict=True):
        [literal] = attribute(engine, [query], method)
        assert np.allclose(reading.attribution, literal.scores[neurons])
        assert np.allclose(reading.activation, _at_object(query, neurons))
    again = read_claims(engine, queries, [pair, [*pair, built.hub]], method, [right.attribution, None])
    for one, other in zip(again, (right, wrong), strict=True):  # what was known is taken, what was not computed
        for name in ("p", "p_root", "rank", "is_argmax", "activation", "attribution"):
            assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    (told,) = read_claims(engine, queries[:1], [pair], method, [[3.0, 4.0]])
    assert told.attribution.tolist() == [3.0, 4.0]
    assert right.attribution.min() > 0.1
    assert abs(wrong.attribution[:2]).max() < 0.05


def _at_object(query, neurons):
    """The whole sentence through the whole model; activations where the object stands, by a hook."""
    model, ids = world()[0].loaded.model, [*query.steps[-1].ids, query.steps[-1].gold]
    seen = []
    handles = [
        block.mlp.c_proj.register_forward_pre_hook(lambda _m, args: seen.append(args[0][0, -1]))
        for block in model.transformer.h
    ]
    try:
        with torch.no_grad():
            model(torch.tensor([ids]))
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(seen).numpy()[neurons]


def test_random_controls_are_as_many_in_the_same_layers_and_never_ablated_ones():
    sites = [planted.WIDTH, planted.WIDTH]
    watched, control = claim_neurons([5, 5, 3, 330], sites, seed=1)
    assert watched.tolist() == [3, 5, 330]
    assert not set(control.tolist()) & {3, 5, 330}
    assert [n // planted.WIDTH for n in control] == [0, 0, 1]
    assert claim_neurons([], sites)[1].size == 0


# --- scores ------------------------------------------------------------------------------------------------------------


def test_frequent_neurons_follow_both_readings_of_t():
    counts = [10, 8, 7, 1, 0]
    assert frequent_neurons(counts, 0.7).tolist() == [True, True, False, False, False]
    assert frequent_neurons(counts, 0.7, of="facts", n_facts=11).tolist() == [True, True, False, False, False]
    assert frequent_neurons(counts, 0.7, of="facts", n_facts=20).tolist() == [False] * 5
    assert frequent_neurons([0, 0]).tolist() == [False, False]
    assert frequent_neurons([]).size == 0


def test_scores_are_means_over_member_neurons_standardised_on_the_middle_part():
    rng = np.random.default_rng(2)
    rows = [(c, c % 2, n, float(rng.normal(n, 1 + n))) for c in range(12) for n in range(4)]
    claim_, group, neuron, value = (np.array(column) for column in zip(*rows, strict=True))
    members = {0: [1, 3], 1: [2]}
    middle = np.arange(12) % 3 == 0
    plain = mean_score(NeuronRows(claim_, group, neuron, value), members, 13)
    standard = mean_score(NeuronRows(claim_, group, neuron, value), members, 13, middle)
    table = {(c, n): v for c, _, n, v in rows}
    for c in range(12):
        mine = members[c % 2]
        assert plain[c] == pytest.approx(np.mean([table[c, n] for n in mine]))
        z = []
        for n in mine:
            reference = [table[k, n] for k in range(12) if k % 2 == c % 2 and middle[k]]
            z.append((table[c, n] - np.mean(reference)) / np.std(reference))
        assert standard[c] == pytest.approx(np.mean(z))
    assert math.isnan(plain[12])


def test_a_constant_neuron_and_an_empty_membership_give_no_division_by_zero():
    rows = NeuronRows(np.array([0, 1]), np.array([0, 0]), np.array([4, 4]), np.array([2.0, 2.0]))
    with np.errstate(all="raise"):
        assert mean_score(rows, {0: [4]}, 2, np.array([True, True])).tolist() == [0.0, 0.0]
        assert mean_score(rows, {0: [4]}, 2, np.array([False, False])).tolist() == [0.0, 0.0]
        assert np.isnan(mean_score(rows, {0: []}, 2)).all()


def test_best_threshold_maximises_balanced_accuracy():
    rng = np.random.default_rng(3)
    for _ in range(30):
        scores, correct = rng.integers(0, 8, 20) / 4, rng.random(20) < 0.5
        if correct.all() or not correct.any():
            continue
        cut = best_threshold(scores, correct)

        def balanced(at, scores=scores, correct=correct):
            return (scores[correct] > at).mean() + (scores[~correct] <= at).mean()

        assert balanced(cut) == pytest.approx(max(balanced(at) for at in np.linspace(-1, 3, 401)))
    assert best_threshold([1.0, 2.0], [True, True]) is None
    assert best_threshold([], []) is None


# --- judging -----------------------------------------------------------------------------------------------------------


def _claims(rng, n_subjects=60, signal=1.0):
    """Right and wrong claims of each subject; scores share a subject effect."""
    subject = np.repeat(np.arange(n_subjects), 4)
    correct = np.tile([True, False, True, False], n_subjects)
    scores = rng.normal(0, 1, n_subjects)[subject] * 0.5 + rng.normal(0, 1, len(subject)) + signal * correct
    part = np.arange(n_subjects)[subject] % 2 == 0
    return Claims(subject, correct, part, ~part), scores


def test_metrics_equal_their_definitions():
    rng = np.random.default_rng(1)
    claims, scores = _claims(rng)
    scores = np.round(scores, 1)
    found = judge(claims, {"probability": Contender(scores, 0.4)}).judgements["probability"]
    yes, right = scores[claims.test] > 0.4, claims.correct[claims.test]
    tp, fp, fn = (yes & right).sum(), (yes & ~right).sum(), (~yes & right).sum()
    assert found.precision.estimate == pytest.approx(tp / (tp + fp))
    assert found.recall.estimate == pytest.approx(tp / (tp + fn))
    assert found.f1.estimate == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert found.accuracy.estimate == pytest.approx((yes == right).mean())
    wins = [
        (a > b) + 0.5 * (a == b) for a, b in itertools.product(scores[claims.test][right], scores[claims.test][~right])
    ]
    assert found.auroc.estimate == pytest.approx(np.mean(wins))
    assert found.auroc_over_probability.estimate is None, "nothing is compared with itself"


def test_the_error_of_an_auroc_is_that_of_leaving_out_subjects():
    rng = np.random.default_rng(7)
    claims, scores = _claims(rng, 40)
    found = area(scores, claims.correct, claims.subject)
    literal = []
    for one in range(40):
        rows = claims.subject != one
        s, c = scores[rows], claims.correct[rows]
        literal.append((s[c][:, None] > s[~c]).mean())
    spread = math.sqrt(39 / 40 * sum((v - np.mean(literal)) ** 2 for v in literal))
    assert math.sqrt((found.influence**2).sum() * 40 / 39) == pytest.approx(spread, rel=0.05)


def test_claims_that_are_told_apart_perfectly_have_an_interval_with_a_width():
    n = 12
    subject, correct = np.repeat(np.arange(n), 2), np.tile([True, False], n)
    scores = correct + np.linspace(0, 0.5, 2 * n)
    everyone = Claims(subject, correct, ~correct, np.ones(2 * n, bool), subject)
    found = judge(everyone, {"probability": Contender(scores, 0.9), "same": Contender(scores * 2, 0.9)}).judgements[
        "same"
    ]
    assert (found.auroc.estimate, found.auroc.high) == (1.0, 1.0)
    assert 0.6 < found.auroc.low < 0.9
    assert found.auroc_over_probability.low < 0 < found.auroc_over_probability.high
    assert (found.paired.estimate, found.paired.high) == (1.0, 1.0)
    assert found.paired.low < 0.8
    few = Claims(subject[:18], correct[:18], ~correct[:18], np.ones(18, bool), subject[:18])
    judged = judge(few, {"probability": Contender(scores[:18], 0.9)})
    assert judged.subjects == 9
    for figure in ("auroc", "accuracy", "paired", "recall"):
        assert getattr(judged.judgements["probability"], figure) == Interval(1.0, None, None, TOO_FEW)


def test_the_paired_judgement_looks_within_a_fact_only():
    fact = np.repeat(np.arange(30), 2)
    correct = np.tile([True, False], 30)
    scores = np.repeat(np.arange(30) * 10.0, 2) + correct  # facts differ by more than right and wrong do
    scores[0:2] = 5.0, 9.0
    scores[2:4] = 7.0, 7.0
    claims = Claims(fact, correct, ~correct, np.ones(60, bool), fact)
    found = judge(claims, {"probability": Contender(scores, 0.0)}).judgements["probability"]
    assert found.paired.estimate == pytest.approx((28 + 0.5) / 30)
    assert found.auroc.estimate < 0.6


def test_always_true_has_an_f1_of_two_thirds_and_no_power():
    claims, scores = _claims(np.random.default_rng(0))
    found = judge(claims, {"always true": always_true(len(scores)), "probability": Contender(scores)})
    always = found.judgements["always true"]
    assert always.f1.estimate == pytest.approx(2 / 3)
    assert always.accuracy.estimate == pytest.approx(0.5)
    assert always.auroc.estimate == pytest.approx(0.5)
    assert always.auroc_over_probability.high < 0
    assert found.judgements["probability"].auroc.low > 0.5


def test_a_worthless_score_is_not_flipped_and_a_reversed_one_is_below_one_half():
    claims, scores = _claims(np.random.default_rng(5), signal=2.0)
    found = judge(claims, {"reversed": Contender(-scores)})
    assert found.judgements["reversed"].auroc.high < 0.5


def test_contenders_are_judged_on_the_claims_that_all_can_judge():
    claims, scores = _claims(np.random.default_rng(6))
    partial = scores.copy()
    partial[claims.subject < 30] = np.nan
    found = judge(claims, {"dkn": Contender(partial), "probability": Contender(scores)})
    assert found.coverage == pytest.approx(0.5)
    assert found.n == 60


@pytest.mark.parametrize("case", ["no claims", "one subject", "no test part", "only right", "nobody judged", "says no"])
def test_judging_is_finite_on_the_smallest_inputs(case):
    n = {"no claims": 0, "one subject": 2}.get(case, 12)
    subject = np.zeros(n, int) if case == "one subject" else np.arange(n) // 2
    correct = np.ones(n, bool) if case == "only right" else np.arange(n) % 2 == 0
    test = np.zeros(n, bool) if case == "no test part" else np.ones(n, bool)
    scores = np.full(n, np.nan) if case == "nobody judged" else np.linspace(-1, 0, n)
    contenders = {"probability": Contender(scores, 1.0 if case == "says no" else None), "argmax": is_argmax(scores > 0)}
    found = judge(Claims(subject, correct, np.ones(n, bool), test), contenders)
    for one in found.judgements.values():
        for figure in (
            one.precision,
            one.recall,
            one.f1,
            one.accuracy,
            one.auroc,
            one.auroc_over_probability,
            one.paired,
        ):
            assert all(v is None or math.isfinite(v) for v in (figure.estimate, figure.low, figure.high))
    if case == "says no":
        assert found.judgements["probability"].precision.estimate is None


def _covers(repeats, n, signal=1.0):
    """How often the interval of an AUROC holds it, and that of its difference to a noisier score holds that."""
    over = [0.5 * (1 + math.erf(signal / math.sqrt(2 * noise))) for noise in (2.5, 5.5)]  # P(N(signal, noise) > 0)
    hits = np.zeros(2)
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        claims, scores = _claims(rng, n, signal)
        noisier = scores + rng.normal(0, math.sqrt(1.5), len(scores))
        one, other = (area(values, claims.correct, claims.subject) for values in (scores, noisier))
        difference = one.minus(other)
        assert one.interval.high - one.interval.low > 0.01
        hits += [
            one.interval.low <= over[0] <= one.interval.high,
            difference.low <= over[0] - over[1] <= difference.high,
        ]
    return hits / repeats


@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
@pytest.mark.parametrize("signal", [1.0, 2.6])
def test_auroc_intervals_cover(n, signal):
    alone, difference = _covers(200, n, signal)
    assert 0.91 <= alone <= 0.995
    assert 0.91 <= difference <= 0.995


@pytest.mark.soak
@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
@pytest.mark.parametrize("signal", [1.0, 2.6])
def test_auroc_intervals_cover_between_92_and_99_percent(n, signal):
    alone, difference = _covers(3000, n, signal)
    assert 0.92 <= alone <= 0.99
    assert 0.92 <= difference <= 0.99


def test_claims_that_no_split_judges_are_named_beforehand():
    assert unjudged([("en", "neurons"), ("en", "test"), ("zh", "neurons"), ("fr", "threshold")]).startswith(
        "no claims are read in fr, zh: fact checking judges a fifth of the subjects"
    )
    assert unjudged([("en", "test")]) == unjudged([]) == ""


def test_the_split_of_stored_claims_is_that_of_the_run_that_read_them(tmp_path):
    place = store.create(tmp_path / "x.knstore")
    with store.open(place) as reader:
        assert seed_of(reader) == 0
    for number, (what, seed) in enumerate([(["factcheck"], 3), (["dkn", "factcheck"], 7), (["dkn"], 9)]):
        runs.new_run(place, {"what": what, "seed": seed}, f"20260101-00000{number}-000000")
    with store.open(place) as reader:
        assert seed_of(reader) == 7


def test_claims_are_counted_beforehand_by_the_split_of_the_subjects():
    def facts(relations):
        rows = [(f"f{i}", f"P{i % relations}", f"subject {i}") for i in range(20)]
        return [Query(fact, relation, "en", t, subject, fact) for fact, relation, subject in rows for t in ("a", "b")]

    assert expected(facts(1)) == 2 * (4 + 4)
    assert expected(facts(20)) == 0, "no other fact has an object for a wrong claim"


def test_claims_are_read_only_where_a_split_can_judge_them():
    """The first part chooses neurons by its pairs, whatever its claims are; a language without a judged claim needs none."""
    parts_of = {"en": ("neurons", "threshold", "test"), "zh": ("neurons", "threshold"), "fr": ("test",)}
    claims = [
        WantedClaim(Query(part, "P36", lang, "[X] [Y]", "s", "o"), f"{part}-{lang}", True, part, (1,))
        for lang, parts in parts_of.items()
        for part in parts
    ]
    found = [(claim.query.lang, claim.part) for claim in judged(claims)]
    assert found == [("en", "threshold"), ("en", "test"), ("fr", "test")]
    assert judged([]) == []
