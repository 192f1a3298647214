"""Ablating singles and pairs, and the controls that take the same road."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch

from knscope.analysis.dkn.choose import control_neurons, drop_candidates, layer_of, match_drops
from knscope.analysis.dkn.measure import Scan, relative_drop, scan_roles
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import encode
from tests.analysis import planted
from tests.analysis.planted import scan

T_LOW, T_HIGH, DELTA = 0.2, 0.25, 0.1


@cache
def world(twin=False):
    built = planted.build(twin, torch.float64)
    return built, Engine(built.loaded)


def encoded(built, fact, lang="en"):
    return encode(built.loaded, built.queries[fact, lang])


def literal_p(built, query, neurons):
    """p(answer) of the whole model with the neurons zeroed at the last token, by a hook on the second MLP linear."""
    model = built.loaded.model
    handles = []
    for layer, block in enumerate(model.transformer.h):
        mine = [n - layer * planted.WIDTH for n in neurons if n // planted.WIDTH == layer]

        def zero(_module, args, mine=mine):
            x = args[0].clone()
            x[:, -1, mine] = 0.0
            return (x,)

        handles.append(block.mlp.c_proj.register_forward_pre_hook(zero))
    try:
        with torch.no_grad():
            logits = model(torch.tensor([query.steps[0].ids])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return float(logits.softmax(-1)[query.steps[0].gold])


def logit(p):
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p) - math.log1p(-p)


def literal_pairs(found: Scan, strict: bool):
    """Eq. 9-10 for pairs, relative drops, as METHOD says them: {(neuron, neuron)}."""
    n = len(found.neurons)
    single = dict(enumerate(found.p[:n]))
    result = set()
    for a, b, p in zip(found.first[n:], found.second[n:], found.p[n:], strict=True):
        lows = all((found.p_before - single[i]) / found.p_before <= T_LOW for i in (a, b))
        high = (found.p_before - p) / found.p_before > T_HIGH
        interaction = logit(p) - logit(single[a]) - logit(single[b]) + logit(found.p_before)
        if lows and high and (not strict or interaction < -DELTA):
            result.add((int(found.neurons[a]), int(found.neurons[b])))
    return result


def test_scan_equals_one_whole_forward_pass_per_ablation():
    built, engine = world()
    query = encoded(built, ("cap", 0))
    a, b = built.pairs["cap", 0]
    neurons = [a, b, built.hub, 320, 322, 7]
    found = scan(engine, query, neurons)
    assert len(found.p) == 6 + 15
    assert found.p_before == pytest.approx(literal_p(built, query, []), rel=1e-10)
    for row, (i, j) in enumerate(zip(found.first, found.second, strict=True)):
        members = [neurons[i]] if j < 0 else [neurons[i], neurons[j]]
        assert found.p[row] == pytest.approx(literal_p(built, query, members), rel=1e-10)
    assert [(i, j) for i, j in zip(found.first, found.second, strict=True)] == [
        *((i, -1) for i in range(6)),
        *itertools.combinations(range(6), 2),
    ]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("lang", planted.LANGS)
def test_exactly_the_planted_pairs_are_degenerate_and_none_in_the_twin(strict, lang):
    for twin in (False, True):
        built, engine = world(twin)
        for fact, (a, b) in built.pairs.items():
            everyone = sorted({a, b, *(n for n in (built.hub, *built.relation.values()) if n is not None), 322, 320})
            pairs = literal_pairs(scan(engine, encoded(built, fact, lang), everyone), strict)
            assert pairs == (set() if twin else {(a, b)})


def test_answer_survives_each_planted_single_and_not_the_pair():
    built, engine = world()
    found = scan(engine, encoded(built, ("cap", 0)), built.pairs["cap", 0])
    assert found.known_before
    assert found.argmax_kept.tolist() == [True, True, False]
    assert found.rank[2] > 1


def test_independent_neurons_pass_the_paper_rule_but_not_the_strict_one():
    p0 = 0.9
    scores = [logit(p0) - 0.9, logit(p0) - 0.9, logit(p0) - 1.8]  # two effects that add up in the logit
    p = [1 / (1 + math.exp(-s)) for s in scores]
    found = Scan(
        np.array([4, 9]), np.array([0, 1, 0]), np.array([-1, -1, 1]), np.array(p), np.array(p), np.ones(3, int),
        np.ones(3, bool), p0, p0, True,
    )  # fmt: skip
    assert literal_pairs(found, strict=False) == {(4, 9)}
    assert literal_pairs(found, strict=True) == set()


def test_controls_come_from_the_same_layers_and_from_outside_the_set():
    offsets = np.array([0, 30, 80])
    rel = np.zeros(80)
    chosen = np.array([3, 31, 32, 79])
    rel[chosen] = 1.0
    rel[40:60] = 0.3  # in N at some threshold
    control = control_neurons(rel, chosen, offsets, seed=1)
    assert layer_of(control, offsets).tolist() == layer_of(chosen, offsets).tolist()
    assert not set(control) & {*chosen, *range(40, 60)}
    assert len(set(control.tolist())) == 4
    assert control.tolist() == control_neurons(rel, chosen, offsets, seed=1).tolist()


def test_a_layer_without_outsiders_gives_its_lowest_and_a_full_one_gives_none():
    offsets = np.array([0, 4, 6])
    rel = np.array([0.9, 0.8, 0.2, 0.3, 1.0, 0.9])
    assert control_neurons(rel, [0], offsets, seed=0).tolist() == [2]
    assert control_neurons(rel, [4, 5, 0, 1], offsets, seed=0).tolist() in ([2, 3], [3, 2])


def test_drop_partners_are_the_nearest_and_used_once():
    assert match_drops([0.5, 0.1, 0.0], [0.02, 0.45, 0.11, 0.4]).tolist() == [1, 2, 0]
    assert match_drops([0.1, 0.5], [0.3]).tolist() == [0]
    assert match_drops([], [0.3]).size == 0


def test_drop_candidates_are_the_highest_outside_the_set():
    rel = np.zeros(10)
    rel[[1, 4, 5, 8]] = 1.0, 0.15, 0.4, 0.1
    assert drop_candidates(rel, [1], outside=0.2, budget=2).tolist() == [4, 8]


def test_scans_of_all_roles_together_are_those_of_each_alone():
    """The drop-matched control's neurons have the single drops nearest to the own ones, one for one."""
    built, engine = world()
    query = encoded(built, ("lan", 9))
    chosen = [built.own["lan", 9], built.hub, 320]
    rel = np.zeros(built.loaded.n_neurons)
    rel[chosen] = 1.0, 0.9, 0.8
    rel[[built.mono[("lan", 9), "en"], 5, 6, 7]] = 0.15, 0.1, 0.1, 0.1
    roles = ("kn", "layer_control", "drop_control")
    together = dict(scan_roles(engine, query, chosen, rel, roles, seed=3))
    candidates = drop_candidates(rel, chosen)
    singles = [scan(engine, query, neurons) for neurons in (chosen, candidates)]
    own, drops = (relative_drop(found.p_before, found.p[: len(found.neurons)]) for found in singles)
    expected = {
        "kn": chosen,
        "layer_control": control_neurons(rel, chosen, engine.offsets, seed=3),
        "drop_control": candidates[match_drops(own, drops)],
    }
    assert built.mono[("lan", 9), "en"] in expected["drop_control"]
    for role in roles:
        alone = scan(engine, query, expected[role])
        ((_, only),) = scan_roles(engine, query, chosen, rel, (role,), seed=3)
        for found in (together[role], only):
            assert found.neurons.tolist() == list(expected[role])
            assert found.second.tolist() == alone.second.tolist()
            assert found.p == pytest.approx(alone.p, rel=1e-12)
            assert found.rank.tolist() == alone.rank.tolist()
            assert found.argmax_kept.tolist() == alone.argmax_kept.tolist()
            assert (found.p_before, found.known_before) == (
                pytest.approx(alone.p_before, rel=1e-12),
                alone.known_before,
            )


def test_a_scan_of_one_or_no_neuron_and_a_lost_answer_stay_finite():
    built, engine = world()
    query = encoded(built, ("cap", 5))
    assert scan(engine, query, []).p.size == 0
    assert scan(engine, query, [built.hub]).p.shape == (1,)
    assert relative_drop(0.0, np.zeros(1)).tolist() == [0.0]
