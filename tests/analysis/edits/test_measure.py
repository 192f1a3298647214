"""Edits, irrelevant facts, edited sets, and the success rates they are judged by."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from knscope.analysis.edits.judge import P_FLOOR, Changes, difference, success_rate
from knscope.analysis.edits.measure import collateral, make_edit, mean_activations, read_edits
from knscope.analysis.edits.sets import cross_language_sets, draw_irrelevant, half_templates, set_id, size_matched
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import Query, encode
from tests.analysis import planted


@cache
def world():
    built = planted.build(dtype=torch.float64)
    return built, Engine(built.loaded)


def encoded(fact, lang="en"):
    built, _ = world()
    return encode(built.loaded, built.queries[fact, lang])


def literal_logits(query, change):
    """Next-token logits of the whole model, `change(layer, activations)` applied at the last token."""
    model = world()[0].loaded.model
    handles = []
    for layer, block in enumerate(model.transformer.h):

        def hook(_module, args, layer=layer):
            x = args[0].clone()
            x[:, -1] = change(layer, x[:, -1])
            return (x,)

        handles.append(block.mlp.c_proj.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            return model(torch.tensor([query.steps[0].ids])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def scaled(factors):
    """Multiply flat neurons by their factor."""

    def change(layer, x):
        x = x.clone()
        for neuron, factor in factors.items():
            if neuron // planted.WIDTH == layer:
                x[:, neuron % planted.WIDTH] *= factor
        return x

    return change


# --- edits and what they do -------------------------------------------------------------------------------------------


def test_every_operation_equals_the_whole_model_edited_by_hand():
    built, engine = world()
    query, wrong = encoded(("lan", 9)), encode(built.loaded, _with_object(("lan", 9), "ocap3en"))
    own, mono = built.own["lan", 9], built.mono[("lan", 9), "en"]
    cases = [
        (make_edit("suppress", [own, mono]), {own: 0.0, mono: 0.0}),
        (make_edit("enhance", [own, mono]), {own: 2.0, mono: 2.0}),
        (make_edit("enhance", [own, mono, own]), {own: 4.0, mono: 2.0}),
        (make_edit("suppress", [own, own]), {own: 0.0}),
    ]
    found = read_edits(engine, query, [edit for edit, _ in cases], wrong)
    for row, (_, factors) in enumerate(cases):
        p = literal_logits(query, scaled(factors)).softmax(-1)
        assert found.p_after[row] == pytest.approx(float(p[query.steps[0].gold]), rel=1e-10)
        assert found.p_wrong_after[row] == pytest.approx(float(p[wrong.steps[0].gold]), rel=1e-10)
        assert found.rank_after[row] == 1 + int((p > p[query.steps[0].gold]).sum())
    assert found.known_before
    assert found.p_before == pytest.approx(float(literal_logits(query, scaled({})).softmax(-1)[query.steps[0].gold]))


def _with_object(fact, answer):
    query = world()[0].queries[fact, "en"]
    return Query(query.fact, query.relation, query.lang, query.template, query.subject, answer)


def test_mean_replaces_by_the_mean_activation_and_resample_by_another_facts():
    built, engine = world()
    queries = [encoded(fact) for fact in (("cap", 4), ("cap", 5), ("lan", 6))]
    reference = mean_activations(engine, queries)
    literal = np.mean([engine.activations(q)[0] for q in queries], axis=0)
    assert np.allclose(reference, literal)
    edit = make_edit("mean", [7, 3, 7], reference)
    assert edit.neurons.tolist() == [3, 7]
    assert edit.scale.tolist() == [0, 0]
    assert np.allclose(edit.shift, reference[[3, 7]])
    with pytest.raises(ValueError, match="activations to put in"):
        make_edit("resample", [1])
    assert mean_activations(engine, []).tolist() == [0.0] * built.loaded.n_neurons


def test_editing_planted_neurons_moves_their_fact_and_no_other():
    built, engine = world()
    sets = {"own": [built.own["cap", 7]], "hub": [built.hub]}
    mine = read_edits(engine, encoded(("cap", 7)), [make_edit("suppress", s) for s in sets.values()])
    other = read_edits(engine, encoded(("lan", 8)), [make_edit("suppress", s) for s in sets.values()])
    assert mine.p_after[0] < 0.5 * mine.p_before
    assert other.p_after[0] == pytest.approx(other.p_before, rel=1e-9)
    assert other.p_after[1] < 0.9 * other.p_before


def test_collateral_is_the_mean_divergence_of_the_next_token():
    built, engine = world()
    sentences = [encoded(("cap", 3)), encoded(("lan", 4), "zh")]
    factors = [{built.hub: 0.0}, {built.own["cap", 3]: 2.0}, {built.own["cap", 9]: 0.0}]
    edits = [make_edit("suppress", [built.hub]), make_edit("enhance", [built.own["cap", 3]])]
    edits.append(make_edit("suppress", [built.own["cap", 9]]))
    literal = []
    for change in factors:
        kl = []
        for sentence in sentences:
            before = literal_logits(sentence, scaled({})).log_softmax(-1)
            after = literal_logits(sentence, scaled(change)).log_softmax(-1)
            kl.append(float((before.exp() * (before - after)).sum()))
        literal.append(np.mean(kl))
    assert collateral(engine, sentences, edits) == pytest.approx(literal, rel=1e-4, abs=1e-6)
    assert collateral(engine, [], edits).tolist() == [0.0, 0.0, 0.0]


# --- whom an edit should leave alone ----------------------------------------------------------------------------------


def _facts(n=40):
    relation = [("r1", "r2", "r3")[i % 3] for i in range(n)]
    subject = [f"s{i // 3}" for i in range(n)]
    tokens = [{f"t{i % 7}", f"u{i}"} for i in range(n)]
    known = [i % 4 != 0 for i in range(n)]
    return [f"f{i}" for i in range(n)], relation, subject, tokens, known


def test_irrelevant_facts_differ_in_relation_subject_and_answer_and_match_in_known():
    facts, relation, subject, tokens, known = _facts()
    drawn = draw_irrelevant(facts, relation, subject, tokens, known, seed=3)
    assert np.bincount(drawn.fact).tolist() == [5] * len(facts)
    assert drawn.kind == "other relation"
    for i, j in zip(drawn.fact, drawn.other, strict=True):
        assert relation[i] != relation[j]
        assert subject[i] != subject[j]
        assert not tokens[i] & tokens[j]
        assert known[i] == known[j]
    assert len({tuple(drawn.other[drawn.fact == i]) for i in range(len(facts))}) > 20


def test_answers_that_share_only_the_space_before_them_may_be_irrelevant_to_each_other():
    tokens = [{"Ġ", "1", "9"}, {"Ġ", "8"}, {"▁", "德国"}, {"▁", "苹果"}]
    drawn = draw_irrelevant(list("abcd"), list("rsrs"), list("abcd"), tokens, [True] * 4)
    assert sorted(zip(drawn.fact.tolist(), drawn.other.tolist(), strict=True)) == [
        (0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2),
    ]  # fmt: skip


def test_the_draw_depends_on_labels_and_seed_and_not_on_the_order_of_rows():
    columns = _facts()
    order = np.random.default_rng(0).permutation(len(columns[0]))
    shuffled = [[column[i] for i in order] for column in columns]

    def pairs(columns, seed):
        drawn = draw_irrelevant(*columns, seed=seed)
        return {(columns[0][i], columns[0][j]) for i, j in zip(drawn.fact, drawn.other, strict=True)}

    assert pairs(columns, 1) == pairs(shuffled, 1)
    assert pairs(columns, 1) != pairs(columns, 2)


def test_one_relation_takes_other_objects_and_says_so_and_one_fact_takes_none():
    facts, _, subject, tokens, known = _facts(9)
    drawn = draw_irrelevant(facts, ["r"] * 9, subject, tokens, known)
    assert drawn.kind == "same relation"
    assert len(drawn.fact) > 0
    assert draw_irrelevant(["f"], ["r"], ["s"], [{"t"}], [True]).fact.size == 0
    assert draw_irrelevant([], [], [], [], []).fact.size == 0


# --- edited sets ------------------------------------------------------------------------------------------------------


def test_table_2_sets_hold_what_their_names_say_at_equal_size():
    sets = cross_language_sets([9, 4, 7, 1], [1, 9, 30], [50, 51, 52], seed=5)
    assert sets["LIKN"].tolist() == [9, 1]
    assert sets["Mono-KN"].tolist() == [9, 4, 7, 1]
    assert sorted(sets["Seq-KN"].tolist()) == [1, 1, 4, 7, 9, 9, 30]
    assert sets["Union"].tolist() == [1, 4, 7, 9, 30]
    assert sets["Mono-KN top"].tolist() == [9, 4]
    assert len(set(sets["Mono-KN random"].tolist()) & {9, 4, 7, 1}) == 2
    assert sets["mismatched"].tolist() == [50, 51]
    assert all(one.size == 0 for name, one in cross_language_sets([], [], []).items() if name)


def test_size_matching_cuts_every_method_to_the_smallest():
    matched = size_matched({"amig": [5, 6, 7], "bkn": [1, 2, 3, 4]}, {"amig": 2, "bkn": 4})
    assert {name: one.tolist() for name, one in matched.items()} == {"amig": [5, 6], "bkn": [1, 2]}
    assert size_matched({}, {}) == {}


def test_a_sets_name_is_the_hash_of_its_sorted_pairs_with_repeats():
    assert set_id([1, 0, 1], [2, 7, 2]) == hashlib.md5(b"0:7,1:2,1:2").hexdigest()
    assert set_id([0, 1], [7, 2]) == set_id([1, 0], [2, 7]) != set_id([1, 0, 1], [2, 7, 2])
    assert set_id([1, 0], [2, 10]) == hashlib.md5(b"0:10,1:2").hexdigest()


def test_templates_split_into_two_halves_without_overlap():
    fit, held = half_templates(["d", "a", "b", "c", "a", "e"], seed=2)
    assert len(fit) == 3
    assert len(held) == 2
    assert set(fit) | set(held) == set("abcde")
    assert half_templates(["only"]) == (("only",), ())


# --- judging ----------------------------------------------------------------------------------------------------------


def _changes(rng, n, k=5, direction="suppress"):
    before, irrelevant = rng.random(n), rng.random((n, k))
    factor = 0.3 if direction == "suppress" else 2.0
    after, aside = before * factor * rng.random(n), irrelevant * (0.9 + 0.2 * rng.random((n, k)))
    return Changes(direction, before, after, irrelevant, aside, rng.random((n, k)) < 0.7)


def _literal(changes, known, delta, exclude):
    """Eq. 11, specific SR and D in words: loops over facts and irrelevant facts."""
    rel, rel_before, irr, irr_before, d = [], [], [], [], []
    for i in range(len(changes.before)):
        b, a = float(changes.before[i]), float(changes.after[i])
        cap = 20 if changes.direction == "suppress" else 250
        kept = not (delta == "relative" and b == 0) and (exclude != "known" or known[i])
        kept = kept and (exclude != "caps" or b == 0 or (a - b) / b <= cap)
        if kept:
            rel.append((a - b) / b if delta == "relative" else a - b)
            rel_before.append(b)
        logs = []
        columns = (
            changes.irrelevant_before[i].tolist(),
            changes.irrelevant_after[i].tolist(),
            changes.irrelevant_known[i],
        )
        for ib, ia, it_is_known in zip(*columns, strict=True):
            if math.isnan(ib) or (exclude == "known" and not it_is_known):
                continue
            if (delta == "relative" and ib == 0) or (exclude == "caps" and ib > 0 and (ia - ib) / ib > cap):
                continue
            irr.append((ia - ib) / ib if delta == "relative" else ia - ib)
            irr_before.append(ib)
            logs.append(abs(math.log(max(ia, P_FLOOR)) - math.log(max(ib, P_FLOOR))))
        if kept and logs:
            sign = 1 if changes.direction == "enhance" else -1
            d.append(sign * (math.log(max(a, P_FLOOR)) - math.log(max(b, P_FLOOR))) - sum(logs) / len(logs))
    top, bottom, size = np.mean(rel), np.mean(irr), np.mean(np.abs(irr))
    if delta == "ratio":
        top, bottom, size = top / np.mean(rel_before), bottom / np.mean(irr_before), size / np.mean(irr_before)
    sign = 1 if changes.direction == "enhance" else -1
    return abs(top) / abs(bottom), sign * top / size, np.mean(d)


@pytest.mark.parametrize("delta", ["absolute", "relative", "ratio"])
@pytest.mark.parametrize("exclude", ["none", "known", "caps"])
def test_success_rates_equal_their_definitions(delta, exclude):
    rng = np.random.default_rng(1)
    both = [_changes(rng, 12, direction=direction) for direction in ("suppress", "enhance")]
    for one in both:
        one.irrelevant_before[3, 2:] = one.irrelevant_after[3, 2:] = np.nan
        one.after[5], one.before[5] = 0.9, 1e-4  # far beyond both caps
        one.before[6] = one.after[6] = 0.0
        one.irrelevant_before[1, 1], one.irrelevant_after[1, 1] = 1e-3, 0.6
    known = rng.random(12) < 0.7
    found = success_rate(both, np.arange(12), known, delta=delta, exclude=exclude, draws=50)
    parts = [_literal(one, known, delta, exclude) for one in both]
    for one, part in zip(both, parts, strict=True):
        alone = success_rate([one], np.arange(12), known, delta=delta, exclude=exclude, draws=50)
        for name, value in zip(("sr", "specific", "d"), part, strict=True):
            assert alone.figures[name].estimate == pytest.approx(value, rel=1e-10)
    assert found.sr.estimate == pytest.approx(parts[0][0] + parts[1][0], rel=1e-10)
    assert found.specific.estimate == pytest.approx(parts[0][1] + parts[1][1], rel=1e-10)
    assert found.d.estimate == pytest.approx((parts[0][2] + parts[1][2]) / 2, rel=1e-10)


def test_a_wrong_direction_is_negative_in_the_specific_rate_and_positive_in_eq_11():
    n = 20
    up = Changes("suppress", np.full(n, 0.2), np.full(n, 0.5), np.full((n, 2), 0.3), np.full((n, 2), 0.4))
    found = success_rate([up], np.arange(n), draws=50)
    assert found.sr.estimate == pytest.approx(3.0)
    assert found.specific.estimate == pytest.approx(-3.0)
    assert found.d.estimate < 0


def test_eq_11_grows_with_the_number_of_facts_where_the_specific_rate_does_not():
    def rates(n):
        sr, specific, loose = [], [], 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            irrelevant = np.full((n, 5), 0.5)
            change = Changes(
                "suppress",
                np.full(n, 0.5),
                0.5 + rng.normal(-0.1, 0.02, n),
                irrelevant,
                irrelevant + rng.normal(0, 0.02, (n, 5)),
            )
            found = success_rate([change], np.arange(n), draws=200, seed=seed)
            sr.append(found.sr.estimate)
            specific.append(found.specific.estimate)
            loose += found.sr.unbounded
        return np.median(sr), np.median(specific), loose

    few, many = rates(30), rates(2000)
    assert many[0] > 3 * few[0]
    assert many[1] == pytest.approx(few[1], rel=0.1)
    assert few[2] >= 17
    assert many[2] >= 17


@pytest.mark.parametrize(
    "case",
    ["zero before", "one before", "no irrelevant change", "all zero", "one fact", "one subject", "lost"],
)
def test_nothing_is_nan_on_extreme_probabilities_or_single_facts(case):
    n = 1 if case == "one fact" else 6
    before, after = np.full(n, 0.5), np.full(n, 0.1)
    ib, ia = np.full((n, 5), 0.4), np.full((n, 5), 0.41)
    if case == "zero before":
        before[:] = 0.0
        ib[:] = 0.0
    if case == "one before":
        before[:], after[:] = 1.0, 1.0
    if case == "no irrelevant change":
        ia = ib.copy()
    if case == "all zero":
        before, after, ib, ia = (np.zeros_like(x) for x in (before, after, ib, ia))
    if case == "lost":
        after[:] = 0.0
    subject = np.zeros(n) if case == "one subject" else np.arange(n)
    for delta in ("absolute", "relative", "ratio"):
        found = success_rate([Changes("suppress", before, after, ib, ia)], subject, delta=delta, draws=40)
        for figure in found.figures.values():
            for value in (figure.estimate, figure.low, figure.high):
                assert value is None or math.isfinite(value)
        if case == "no irrelevant change" and delta == "absolute":
            assert found.sr.unbounded
            assert found.sr.estimate is None


def test_without_facts_or_irrelevant_facts_there_is_a_reason_instead_of_a_number():
    none = Changes("suppress", np.ones(2), np.ones(2), np.full((2, 0), np.nan), np.full((2, 0), np.nan))
    assert success_rate([none], [0, 1]).reason == "no irrelevant fact to compare with"
    assert success_rate([], []).reason == "no fact"
    some = Changes("suppress", np.ones(2), np.ones(2), np.ones((2, 1)), np.ones((2, 1)))
    assert success_rate([some], [0, 1], [False, False], exclude="known").reason == "no fact is left after exclusions"


def test_paired_difference_of_a_choice_with_itself_is_zero_and_pairing_narrows_it():
    rng = np.random.default_rng(4)
    one = _changes(rng, 60)
    shifted = Changes(
        "suppress", one.before, one.after * rng.uniform(0.97, 0.99, 60), one.irrelevant_before, one.irrelevant_after
    )
    a, b = (success_rate([c], np.arange(60), draws=400) for c in (one, shifted))
    same = difference(a, a, "d")
    assert (same.estimate, same.low, same.high) == (0.0, None, None)
    paired = difference(b, a, "d")
    assert paired.low > 0
    assert paired.high - paired.low < 0.1 * (a.d.high - a.d.low)
    with pytest.raises(ValueError, match="same facts"):
        difference(a, success_rate([one], np.arange(60)[::-1], draws=400), "d")


def _judged(seed, n=40, signs=(-0.1, 0.1)):
    """Facts of n subjects, two each, with subject effects; true specific rate 1.5, true d from its own formula. With one sign
    irrelevant changes do not cancel, and eq. 11 is 1.5 too."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n), 2)
    drop = 0.15 + np.repeat(rng.normal(0, 0.05, n), 2) + rng.normal(0, 0.03, 2 * n)
    aside = rng.choice(signs, (2 * n, 5))
    before = np.full(2 * n, 0.5)
    irrelevant = np.full((2 * n, 5), 0.5)
    change = Changes(
        "suppress", before, before - drop, irrelevant, irrelevant + aside * rng.uniform(0.5, 1.5, (2 * n, 5))
    )
    return change, subject


def _covers(repeats, draws, n):
    """How often the interval of the specific rate holds 1.5, that of d its own mean (by a large sample), that of eq. 11 1.5, and
    that of the difference of two d that are the same, on facts with an effect in common, 0."""
    change, subject = _judged(0, 20_000)
    large = success_rate([change], subject, draws=2).d.estimate
    hits = np.zeros(4)
    for seed in range(1, repeats + 1):
        change, subject = _judged(seed, n)
        found = success_rate([change], subject, draws=draws)
        plain = success_rate([_judged(seed, n, (-0.1,))[0]], subject, draws=draws).sr
        noise = [np.exp(np.random.default_rng([seed, i]).normal(0, 0.1, 2 * n)) for i in range(2)]
        alike = [success_rate([replace(change, after=change.after * one)], subject, draws=draws) for one in noise]
        pairs = ((found.specific, 1.5), (found.d, large), (plain, 1.5), (difference(*alike, "d"), 0.0))
        hits += [one.low <= true <= one.high for one, true in pairs]
    return hits / repeats


@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
def test_intervals_of_the_rates_of_d_and_of_its_paired_difference_cover(n):
    assert all(share >= 0.89 for share in _covers(100, 200, n)), "0.95 but for three standard errors"


@pytest.mark.soak
@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
def test_intervals_of_the_rates_of_d_and_of_its_paired_difference_cover_in_long_simulations(n):
    least = 0.92 if n >= 8 else 0.90
    assert all(least <= share <= 0.985 for share in _covers(1500, 1000, n))


@pytest.mark.soak
@pytest.mark.parametrize("n", [6, 8, 12, 30, 100])
def test_d_less_that_of_a_random_set_holds_0_where_every_p_moves_by_chance_alike(n):
    held = []
    for seed in range(1500):
        rng = np.random.default_rng(seed)

        def judged(rng=rng):
            before, aside = np.full(n, 0.5), np.full((n, 5), 0.5)
            after, moved = before * np.exp(rng.normal(0, 0.1, n)), aside * np.exp(rng.normal(0, 0.1, (n, 5)))
            return success_rate([Changes("suppress", before, after, aside, moved)], np.arange(n), draws=400)

        found = difference(judged(), judged(), "d")
        held.append(found.low <= 0 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98
