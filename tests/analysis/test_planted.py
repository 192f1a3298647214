"""From attributions to names: neurons planted in a model are found, and called what they are; in its twin there are none."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.dkn.choose import strongest
from knscope.analysis.dkn.measure import relative_drop
from knscope.analysis.engine.replay import Engine
from knscope.analysis.likn.mismatch import FactKeys, overlap
from knscope.analysis.prompts.encode import encode
from tests.analysis import planted
from tests.analysis.made_sets import sets_of_lists

METHODS = ("amig", "bkn")
TAUS = {"en": 0.3, "zh": 0.2}
T_LOW, T_HIGH, DELTA = 0.2, 0.25, 0.1


@cache
def world(twin):
    built = planted.build(twin, torch.float64)
    return built, Engine(built.loaded)


@cache
def scored(twin, method):
    built, engine = world(twin)
    queries = [encode(built.loaded, query) for query in built.queries.values()]
    found = attribute(engine, queries, parse_method(method))
    return {key: (one.query, one.scores) for key, one in zip(built.queries, found, strict=True)}


@cache
def neuron_sets(twin, method):
    """N of every fact and language: score > τ · maximum, best first."""
    built, _ = world(twin)
    rows = []
    for fact in built.facts:
        row = []
        for lang in planted.LANGS:
            rel = scored(twin, method)[fact, lang][1]
            rel = rel / rel.max()
            row.append([n for n in np.argsort(-rel, kind="stable").tolist() if rel[n] > TAUS[lang]])
        rows.append(row)
    return sets_of_lists(rows, [planted.WIDTH, planted.WIDTH])


def keys(built):
    return FactKeys.from_labels(
        [relation for relation, _ in built.facts],
        [f"s{subject}" for _, subject in built.facts],
        [[built.queries[fact, lang].object for lang in planted.LANGS] for fact in built.facts],
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_planted_fact_has_language_independent_neurons_and_the_twin_none(method):
    built, _ = world(False)
    found = overlap(neuron_sets(False, method), keys(built), draws=200)
    assert set(found.verdicts) == {"undecided"}, "above the relation, and no other fact has its answer"
    assert found.same_relation.interval.low > 0
    twin, _ = world(True)
    nothing = overlap(neuron_sets(True, method), keys(twin), draws=200)
    assert set(nothing.verdicts) == {"empty"}
    assert nothing.coverage == 0.0
    assert nothing.same_relation.interval.contains_zero


def logit(p):
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p) - math.log1p(-p)


@cache
def scans(twin, method):
    """{(fact, lang): (N, scan of its strongest neurons)}."""
    built, engine = world(twin)
    found = {}
    for index, fact in enumerate(built.facts):
        for k, lang in enumerate(planted.LANGS):
            query, scores = scored(twin, method)[fact, lang]
            members = set(neuron_sets(twin, method).get(index, k).tolist())
            found[fact, lang] = members, planted.scan(engine, query, strongest(scores))
    return found


def degenerate_pairs(twin, method, strict):
    """{(fact, lang): pairs} by the definitions, both neurons in N."""
    found = {}
    for key, (members, one) in scans(twin, method).items():
        n = len(one.neurons)
        alone = relative_drop(one.p_before, one.p[:n])
        for a, b, p in zip(one.first[n:], one.second[n:], one.p[n:], strict=True):
            pair = tuple(sorted((int(one.neurons[a]), int(one.neurons[b]))))
            low = max(alone[a], alone[b]) <= T_LOW
            high = (one.p_before - p) / one.p_before > T_HIGH
            interaction = logit(p) - logit(one.p[a]) - logit(one.p[b]) + logit(one.p_before)
            if set(pair) <= members and low and high and (not strict or interaction < -DELTA):
                found.setdefault(key, set()).add(pair)
    return found


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_degenerate_pairs_are_the_planted_ones_in_both_languages_and_none_in_the_twin(method, strict):
    built, _ = world(False)
    expected = {(fact, lang): {pair} for fact, pair in built.pairs.items() for lang in planted.LANGS}
    assert degenerate_pairs(False, method, strict) == expected
    assert degenerate_pairs(True, method, strict) == {}


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_is_degenerate_where_each_serves_others_and_redundant_where_neither_does(method):
    built, _ = world(False)
    sets = neuron_sets(False, method)
    for fact, (a, b) in built.pairs.items():
        others = [f for f in range(sets.n_facts) if built.facts[f] != fact]
        serves = {n: {f for f in others if n in sets.get(f, 0)} for n in (a, b)}
        if fact in planted.DEGENERATE:
            assert serves[a] - serves[b]
            assert serves[b] - serves[a]
        else:
            assert serves[a] == serves[b] == set()
