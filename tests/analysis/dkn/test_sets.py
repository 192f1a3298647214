"""Degenerate sets of any size against a literal search over all subsets."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.dkn.sets import Ablated, judge, masks_of, screen, subsets
from knscope.analysis.edits.measure import make_edit, read_edits
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import encode
from tests.analysis import planted


def world(rng, n, order, pairs=None):
    """p after the ablation of any set, from random effects in logits up to `order` neurons; `pairs` names the mean of two's."""
    alone = (-0.15, 0.15) if pairs is None else (-0.02, 0.02)
    effects = {
        part: rng.normal(*alone) if size == 1 else rng.normal(pairs or 0.0, 0.15 / size if pairs is None else 0.02)
        for size in range(1, order + 1)
        for part in combinations(range(n), size)
    }
    base = rng.normal(0.5, 0.5)

    def p(members):
        total = base + sum(
            effects[part] for size in range(1, order + 1) for part in combinations(sorted(members), size)
        )
        return 1 / (1 + math.exp(-total))

    return p


def scanned(p, n, relative=True):
    pair = np.full((n, n), np.nan)
    for a, b in combinations(range(n), 2):
        pair[a, b] = pair[b, a] = p((a, b))
    return Ablated(p(()), np.array([p((i,)) for i in range(n)]), pair, relative)


def literal(p, n, size, t_low, t_high, relative):
    """Eq. 9 word for word: every proper subset drops at most T_low, the whole more than T_high."""

    def drop(members):
        change = p(()) - p(members)
        return change / p(()) if relative else change

    return {
        members
        for members in combinations(range(n), size)
        if drop(members) > t_high
        and all(drop(part) <= t_low for k in range(1, size) for part in combinations(members, k))
    }


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("size", [3, 4, 5])
def test_with_pair_effects_alone_every_degenerate_set_is_flagged_and_judged_as_eq_9_has_it(size, relative):
    rng, t_low, t_high = np.random.default_rng(size), 0.12, 0.15
    total = 0
    for _ in range(12):
        n = 9
        p = world(rng, n, 2, pairs={3: -0.2, 4: -0.09, 5: -0.045}[size])
        scan = scanned(p, n, relative)
        expected = literal(p, n, size, t_low, t_high, relative)
        found = screen(scan, size, t_low, t_high)[-1]
        flagged = {tuple(members) for members in found.sets[found.flagged].tolist()}
        assert expected <= flagged
        assert found.predicted == pytest.approx(
            [float(scan.drop(p(tuple(members)))) for members in found.sets.tolist()]
        ), "nothing is left out where only pairs interact"
        after = {part: p(part) for k in range(3, size + 1) for part in combinations(range(n), k)}
        assert {one for one in flagged if judge(scan, one, after, t_low, t_high).degenerate} == expected
        total += len(expected)
    assert total > 5


def test_candidates_are_all_sets_whose_subsets_are_predicted_low():
    rng, t_low, t_high, margin = np.random.default_rng(3), 0.2, 0.25, 0.03
    n = 8
    p = world(rng, n, 3)
    scan = scanned(p, n)
    levels = screen(scan, 5, t_low, t_high, margin)
    low = {(i,) for i in range(n) if scan.drop(p((i,))) <= t_low}
    low |= {two for two in combinations(range(n), 2) if scan.drop(p(two)) <= t_low and {(two[0],), (two[1],)} <= low}
    for size, level in enumerate(levels, start=3):
        expected = [
            members
            for members in combinations(range(n), size)
            if all(part in low for k in range(1, size) for part in combinations(members, k))
        ]
        assert sorted(map(tuple, level.sets.tolist())) == expected
        low |= {tuple(s) for s, d in zip(level.sets.tolist(), level.predicted, strict=True) if d <= t_low + margin}


def test_the_interaction_of_a_set_is_what_smaller_ones_do_not_account_for():
    rng = np.random.default_rng(4)
    for size in (3, 4):
        p = world(rng, size, size)
        scan = scanned(p, size)
        members = tuple(range(size))
        after = {part: p(part) for k in range(3, size + 1) for part in combinations(members, k)}
        found = judge(scan, members, after, 0.2, 0.25)
        expected = sum(
            (-1) ** (size - k) * math.log(p(part) / (1 - p(part)))
            for k in range(size + 1)
            for part in combinations(members, k)
        )
        assert found.interaction == pytest.approx(expected, abs=1e-12)
        independent = world(rng, size, size - 1)
        after = {part: independent(part) for k in range(3, size + 1) for part in combinations(members, k)}
        assert judge(scanned(independent, size), members, after, 0.2, 0.25).interaction == pytest.approx(0, abs=1e-12)


def test_a_set_with_a_subset_that_is_not_ablated_is_not_judged_and_near_certainty_no_interaction_is_known():
    p = world(np.random.default_rng(5), 4, 2)
    scan = scanned(p, 4)
    assert judge(scan, (0, 1, 2, 3), {(0, 1, 2, 3): 0.1, (0, 1, 2): 0.3}, 0.2, 0.25) is None
    sure = Ablated(1 - 1e-7, np.full(3, 1 - 1e-7), np.full((3, 3), 1 - 1e-7))
    found = judge(sure, (0, 1, 2), {(0, 1, 2): 0.2}, 0.2, 0.25)
    assert found.degenerate and math.isnan(found.interaction)


def test_subsets_and_masks():
    assert list(subsets((1, 4, 7), 2)) == [(1, 4), (1, 7), (4, 7)]
    assert masks_of(np.array([[0, 2], [1, 5]])).tolist() == [5, 34]
    assert [len(level.sets) for level in screen(Ablated(0.5, np.empty(0), np.empty((0, 0))), 4, 0.2, 0.25)] == [0, 0]


@pytest.mark.parametrize("twin", [False, True])
def test_the_planted_triple_is_found_and_its_twin_is_not(twin):
    built = planted.build(twin, dtype=torch.float64, triple=True)
    engine = Engine(built.loaded)
    for lang in planted.LANGS:
        query = encode(built.loaded, built.queries[planted.TRIPLE, lang])
        [scored] = attribute(engine, [query], parse_method("amig"))
        strong = np.argsort(-scored.scores, kind="stable")[:12]
        others = [neuron for neuron in strong.tolist() if neuron not in built.triple][:9]
        neurons = np.array(sorted([*others, *built.triple]))
        found = planted.scan(engine, query, neurons)
        n, paired = len(neurons), found.second >= 0
        pair = np.full((n, n), np.nan)
        pair[found.first[paired], found.second[paired]] = found.p[paired]
        pair[found.second[paired], found.first[paired]] = found.p[paired]
        scan = Ablated(found.p_before, found.p[~paired], pair)
        [level] = screen(scan, 3, 0.2, 0.25)
        flagged = [tuple(members) for members in level.sets[level.flagged].tolist()]
        edits = [make_edit("suppress", neurons[list(members)]) for members in flagged]
        after = dict(zip(flagged, read_edits(engine, query, edits).p_after.tolist(), strict=True))
        judged = {members: judge(scan, members, after, 0.2, 0.25) for members in flagged}
        degenerate = {tuple(neurons[list(s)].tolist()) for s, one in judged.items() if one.degenerate}
        assert degenerate == (set() if twin else {built.triple})
        assert all(judged[s].interaction < -0.1 for s, one in judged.items() if one.degenerate)
