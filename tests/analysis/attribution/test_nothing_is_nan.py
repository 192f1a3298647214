"""Whatever the probabilities and however few the facts: no figure is NaN or infinite, and nothing divides by zero."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from knscope.analysis.dkn.choose import match_drops
from knscope.analysis.dkn.measure import relative_drop
from knscope.analysis.edits.judge import Changes, difference, success_rate
from knscope.analysis.factcheck.judge import Claims, Contender, NeuronRows, always_true, judge, mean_score
from knscope.analysis.faithfulness.judge import agreement, choose, specific_area
from knscope.analysis.layers.enrichment import Kind, layer_rows
from knscope.analysis.likn import table as likn_table
from knscope.analysis.likn.chance import uniform_chance
from knscope.analysis.likn.mismatch import FactKeys, overlap
from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.stability.judge import stability
from knscope.analysis.statistics.bootstrap import Interval
from knscope.analysis.stored.neuron_sets import Neurons
from tests.analysis.made_sets import sets_of_lists

P = st.sampled_from([0.0, 1e-300, 1e-12, 0.3, 1 - 1e-12, 1.0])
FEW = settings(max_examples=25, deadline=None)


def finite(value, allowed=()):
    """Every number in a result, however deep."""
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, np.ndarray):
        return bool(np.isfinite(value).all()) if value.dtype.kind == "f" else True
    if is_dataclass(value):
        return all(finite(getattr(value, f.name)) for f in fields(value) if f.name not in ("draws", "reason", *allowed))
    if isinstance(value, dict):
        return all(finite(one) for one in value.values())
    if isinstance(value, list | tuple):
        return all(finite(one) for one in value)
    return True


@st.composite
def changes(draw):
    n, k = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    columns = st.lists(P, min_size=n, max_size=n).map(np.array)
    wide = st.lists(st.lists(st.one_of(P, st.just(math.nan)), min_size=k, max_size=k), min_size=n, max_size=n)
    make = wide.map(lambda rows: np.array(rows, dtype=np.float64).reshape(n, k))
    both = [
        Changes(direction, draw(columns).astype(float), draw(columns).astype(float), draw(make), draw(make))
        for direction in ("suppress", "enhance")
    ]
    return both, draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))


@FEW
@given(
    changes(),
    st.sampled_from(["absolute", "relative", "ratio"]),
    st.sampled_from(["none", "known", "caps"]),
    st.booleans(),
)
def test_success_rates_are_finite(given_changes, delta, exclude, known):
    both, subject = given_changes
    with np.errstate(divide="raise", invalid="raise"):
        found = success_rate(both, subject, [known] * len(subject), delta=delta, exclude=exclude, draws=20)
    assert finite(found.figures)
    assert finite(difference(found, found, "d"))
    if not found.figures:
        assert found.reason


@st.composite
def neuron_sets(draw):
    n_facts, n_langs = draw(st.integers(0, 4)), draw(st.integers(1, 3))
    one = st.one_of(st.none(), st.lists(st.integers(0, 8), max_size=4, unique=True))
    rows = draw(st.lists(st.lists(one, min_size=n_langs, max_size=n_langs), min_size=n_facts, max_size=n_facts))
    present = np.ones((n_facts, n_langs), bool)
    sets = sets_of_lists(rows, [4, 5]) if rows else NeuronSets.from_rows([], [], [], present, [4, 5])
    code = st.lists(st.integers(0, 1), min_size=n_facts, max_size=n_facts)
    answer = np.array(draw(st.lists(code.map(tuple), min_size=n_langs, max_size=n_langs)), dtype=np.int64).T
    keys = FactKeys(np.array(draw(code), np.int64), np.array(draw(code), np.int64), answer.reshape(n_facts, n_langs))
    return sets, keys


@FEW
@given(neuron_sets())
def test_overlaps_chance_and_their_table_are_finite(given_sets):
    sets, keys = given_sets
    with np.errstate(divide="raise", invalid="raise"):
        assert finite(overlap(sets, keys, draws=20))
        assert finite(uniform_chance(sets))
        langs, facts = ("en", "zh", "fr")[: sets.n_langs], tuple(f"f{i}" for i in range(sets.n_facts))
        tokens = tuple(tuple(("x",) if here else None for here in row) for row in sets.present)
        relations = tuple(f"r{code}" for code in keys.relation)
        if sets.n_langs > 1:
            neurons = Neurons(facts, langs, relations, sets, sets, keys, tokens)
            assert finite(likn_table.table_rows(neurons) + likn_table.pair_rows(neurons))
        assert finite(stability(sets, {"same": sets}, np.arange(sets.n_facts), draws=20))


@FEW
@given(neuron_sets())
def test_shares_by_layer_are_finite(given_sets):
    sets, _ = given_sets
    counts = sets.layer_sizes().astype(float)[:, 0]
    kind = Kind("LIKN", counts, np.zeros_like(counts), [f"s{i}" for i in range(sets.n_facts)])
    for row in layer_rows(kind, [0, 1], draws=20):
        assert finite(row)


@FEW
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from(["threshold", "test", "neurons"]), P), max_size=8
    )
)
def test_judgements_are_finite(rows):
    subject = np.array([row[0] for row in rows], dtype=np.int64)
    correct = np.array([row[1] for row in rows], dtype=bool)
    part = np.array([row[2] for row in rows], dtype=str)
    scores = np.array([row[3] for row in rows], dtype=np.float64)
    nothing = mean_score(NeuronRows(*(np.zeros(0, np.int64) for _ in range(3)), np.zeros(0)), {}, len(rows))
    claims = Claims(subject, correct, part == "threshold", part == "test")
    contenders = {
        "probability": Contender(scores),
        "always true": always_true(len(rows)),
        "argmax": Contender(scores, 0.5),
    }
    found = judge(claims, contenders)
    assert finite(found.judgements)
    assert found.coverage is None or 0 <= found.coverage <= 1
    assert finite(judge(claims, {"nobody": Contender(nothing)}).judgements)


@FEW
@given(st.lists(st.tuples(P, P), max_size=5), st.lists(st.sampled_from("ab"), min_size=5, max_size=5))
def test_choices_and_agreements_are_finite(pairs, subject):
    scores, truth = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in range(2))
    with np.errstate(divide="raise", invalid="raise"):
        assert finite(agreement(scores, truth, 0.0))
        found = choose({"amig": scores, "bkn": truth}, subject[: len(pairs)], draws=20)
    assert finite({**found.reported, "versus": dict(found.versus), "means": dict(found.chosen_on)})
    assert finite(specific_area(np.log(np.maximum(scores, 1e-12)), [np.log(np.maximum(truth, 1e-12))]) or 0.0)


@FEW
@given(P, st.lists(P, min_size=1, max_size=4))
def test_single_drops_and_their_partners_are_finite(before, after):
    with np.errstate(divide="raise", invalid="raise"):
        drops = relative_drop(before, np.array(after))
    assert np.isfinite(drops).all() or before < 1e-299
    assert len(match_drops(drops, drops)) == len(after)


def test_finite_check_finds_nan_and_infinity():
    assert not finite({"a": [Interval(math.nan, None, None)]})
    assert finite(Interval(None, None, None))
