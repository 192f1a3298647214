"""Claims about attribution, each against the literal reference in float64 or a property that must hold exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.integrate import Attribution, attribute
from knscope.analysis.attribution.method import PRESETS, MethodConfig, parse_method
from knscope.analysis.attribution.paths import Paths
from knscope.analysis.attribution.quadrature import MAX_NODES
from knscope.analysis.engine.replay import Edit, Engine, Prepared
from knscope.analysis.prompts.encode import EncodedQuery, Query, encode
from tests import random_models
from tests.reference.attribution import Literal

SITES = {"encoder": "bert.encoder.layer.{}.output.dense", "decoder": "transformer.h.{}.mlp.c_proj"}
EN = "The capital of [X] is [Y]"
QUERIES = {  # with answers of one token and of several
    "encoder": [
        Query("tz", "P36", "en", EN, "Tanzania", "Dodoma"),
        Query("fr", "P36", "zh", "[X]首[Y]", "法国", "巴黎"),
        Query("fr", "P36", "en", "[Y] is the capital of [X].", "France", "Paris"),
    ],
    "decoder": [
        Query("tz", "P36", "en", EN, "Tanzania", "Dodoma"),
        Query("ke", "P36", "en", "[X]'s is [Y]", "Kenya", "Dodomabi"),
        Query("fr", "P36", "en", "[X]'s capital is [Y]", "France", "Paris"),
    ],
}
GRID = [
    *(
        name
        for name in PRESETS
        if name
        not in ("random", "ablation", "activation", "grad_x_act", "amig-code", "bkn-eleuther", "logprob_increase")
    ),
    "amig-code+site=post_act",
    "bkn-eleuther+site=post_act",
    "amig+last_word=drop,multiplier=activation",
    "amig+target=logprob,substitute=s",
    "amig+target=logit,normalise=layer",
    "amig+positions=all",
    "bkn+rule=gauss-legendre,positions=all",
    "amig-code+site=post_act,positions=all,nodes=7",
    "amig+tolerance=0.05",
    "bkn+rule=gauss-lobatto,nodes=9,tolerance=0.02,positions=all",
    "bkn+target=logprob",
    "amig+baseline=resample",
    "amig+baseline=mean,target=logprob",
    "attribution_patching+baseline=resample",
]


@pytest.fixture(params=["encoder", "decoder"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue({"encoder": "bert_engine", "decoder": "gpt2_engine"}[request.param])


def encoded(engine: Engine) -> list[EncodedQuery]:
    return [encode(engine.loaded, query) for query in QUERIES[engine.loaded.kind]]


def others_in(engine: Engine) -> dict[str, list[EncodedQuery]]:
    """One query for each of those that are attributed, several for a language."""
    queries = encoded(engine)
    return {queries[0].query.id: [queries[2]], "en": [queries[0], queries[2]], "zh": [queries[1], queries[0]]}


def literal_scores(engine: Engine, found: Attribution, method: MethodConfig) -> np.ndarray:
    paths = [SITES[engine.loaded.kind].format(site.layer) for site in engine.loaded.sites]
    number: dict[tuple[int, int], int] = {}  # a path's place among those of its step
    nodes: dict[tuple[int, int, int], int] = {}
    records = found.paths
    for step, path, layer, n in zip(records.step, records.path, records.layer, records.nodes, strict=True):
        place = number.setdefault((step, path), sum(1 for s, _ in number if s == step))
        nodes[step, place, layer] = int(n)
    others = others_in(engine)
    literal = Literal(engine.loaded, paths, method, lambda query: others.get(query.query.id, others[query.query.lang]))
    return literal.scores(found.query, lambda *key: nodes[key])


@pytest.mark.parametrize("text", GRID)
def test_scores_equal_the_literal_reference_to_1e_10_in_float64(engine: Engine, text: str) -> None:
    method = parse_method(text)
    queries = encoded(engine) if text in ("amig", "bkn") else encoded(engine)[:2]
    for found in attribute(engine, queries, method, others_in(engine)):
        expected = literal_scores(engine, found, method)
        assert np.abs(found.scores - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("text", ["amig", "bkn", "amig-paper+nodes=4"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_float32_scores_equal_the_literal_reference_to_1e_5_of_the_largest(kind: str, text: str) -> None:
    build = random_models.bert if kind == "encoder" else random_models.gpt2
    engine, method = Engine(build(torch.float32)), parse_method(text)
    for found in attribute(engine, encoded(engine), method):
        expected = literal_scores(engine, found, method)
        assert found.scores.dtype == np.float32
        if found.flagged_layers:
            continue  # a layer's sum near zero divides rounding by nothing: METHOD flags it
        assert np.abs(found.scores - expected).max() <= 1e-5 * np.abs(expected).max()


def test_reference_tells_the_options_apart(engine: Engine) -> None:
    found = next(attribute(engine, encoded(engine), parse_method("amig")))
    for change in ({"last_word": "drop"}, {"multiplier": "activation"}, {"baseline": "zero"}, {"target": "logprob"}):
        if "last_word" in change and engine.loaded.kind == "encoder":
            continue
        other = replace(PRESETS["amig"], **change)
        expected = next(attribute(engine, encoded(engine), other)).scores
        assert np.abs(found.scores - expected).max() > 1e-3 * np.abs(expected).max()


def test_sample_queries_include_several_answer_tokens_and_words(engine: Engine) -> None:
    queries = encoded(engine)
    assert {len(query.steps) for query in queries} >= {1, 2}
    assert all(query.n_words >= 3 for query in queries)


@pytest.mark.parametrize(
    "text", ["amig", "amig+positions=all", "amig+baseline=zero", "amig+target=logit", "amig+target=logprob"]
)
def test_every_path_is_complete_and_converges_in_float64(engine: Engine, text: str) -> None:
    for found in attribute(engine, encoded(engine), parse_method(text)):
        assert found.paths.converged.all()
        scale = np.maximum(np.abs(found.paths.f_end), np.abs(found.paths.f_start))
        assert (
            np.abs(found.paths.residual) <= 1e-3 * np.abs(found.paths.f_end - found.paths.f_start) + 1e-5 * scale
        ).all()


def test_residual_is_rounding_with_enough_nodes(engine: Engine) -> None:
    for found in attribute(engine, encoded(engine), parse_method("amig+nodes=60")):
        assert np.abs(found.paths.residual).max() <= 1e-10 * found.paths.f_end.max()


def test_nodes_double_only_where_the_residual_is_too_large(engine: Engine) -> None:
    coarse = list(attribute(engine, encoded(engine), parse_method("amig+rule=gauss-legendre,nodes=1,baseline=zero")))
    nodes = np.concatenate([found.paths.nodes for found in coarse])
    assert set(np.log2(nodes)) <= set(range(7)) | {np.log2(MAX_NODES)}
    assert len(set(nodes.tolist())) > 1  # some needed more than others
    fixed = parse_method("bkn+nodes=1")
    assert all((found.paths.nodes == 1).all() for found in attribute(engine, encoded(engine), fixed))


def test_scores_sum_to_the_mean_change_of_p(engine: Engine) -> None:
    for found in attribute(engine, encoded(engine), parse_method("amig+nodes=40")):
        change = (found.paths.f_end - found.paths.f_start).sum() / len(found.query.steps)
        assert found.scores.sum() == pytest.approx(change, rel=1e-8)


def test_f_start_equals_the_prediction_with_the_layer_at_the_start(engine: Engine) -> None:
    query = encoded(engine)[0]
    found = next(attribute(engine, [query], parse_method("bkn")))
    for site in engine.loaded.sites:
        neurons = np.arange(site.offset, site.offset + site.width)
        (edited,) = engine.edited(query, [Edit.suppress(neurons)])
        mine = found.paths.layer == site.layer
        assert found.paths.f_start[mine] == pytest.approx(edited.p_steps, rel=1e-10)


def test_scores_of_a_query_do_not_depend_on_the_other_queries(engine: Engine) -> None:
    queries = encoded(engine)
    for text in ("amig", "bkn", "amig+positions=all"):
        method = parse_method(text)
        together = list(attribute(engine, [*queries, *reversed(queries)], method))
        for query, found in zip([*queries, *reversed(queries)], together, strict=True):
            alone = next(attribute(engine, [query], method))
            assert found.query is query
            assert np.abs(found.scores - alone.scores).max() <= 1e-12 * np.abs(alone.scores).max()


@pytest.mark.parametrize("method", ["amig", "amig+rule=gauss-legendre", "bkn", "grad_x_act", "activation"])
def test_attribution_carries_the_prediction_of_its_query(engine: Engine, method: str) -> None:
    """Read off the end of the paths where these have a node there, off the recording elsewhere."""
    queries = encoded(engine)
    for found, expected in zip(attribute(engine, queries, parse_method(method)), engine.predict(queries), strict=True):
        assert found.prediction.p_steps == pytest.approx(expected.p_steps, rel=1e-9)
        assert np.array_equal(found.prediction.ranks, expected.ranks)
        assert np.array_equal(found.prediction.argmax, expected.argmax)


def test_small_memory_gives_the_same_scores_in_more_passes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, method = encoded(engine), parse_method("amig")
    expected = [found.scores for found in attribute(engine, queries, method)]
    monkeypatch.setattr(engine, "budget", 5 * (engine.proof.cost.token + engine.proof.cost.head))  # a few rows a pass
    for found, scores in zip(attribute(engine, queries, method), expected, strict=True):
        assert np.abs(found.scores - scores).max() <= 1e-12 * np.abs(scores).max()


def test_row_counts_once_when_its_pass_fails_while_gradients_are_added(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory at each place where a factor is made for the rows of a layer, once: the pass is done again."""
    query, method = encoded(engine)[0], parse_method("amig+nodes=3")
    expected, real = next(attribute(engine, [query], method)).scores, integrate.wide
    layers = len(engine.loaded.sites)
    for failing in range(2 * layers):  # what rows bring, then their weights
        calls = iter(range(10**6))

        def wide(*args: torch.Tensor, failing: int = failing, calls: Iterator[int] = calls) -> torch.Tensor:
            if next(calls) == failing:
                raise torch.OutOfMemoryError
            return real(*args)

        monkeypatch.setattr(integrate, "wide", wide)
        found = next(attribute(engine, [query], method)).scores
        assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max(), failing


def test_method_ablation_equals_ablating_each_neuron(engine: Engine) -> None:
    query = encoded(engine)[1]
    found = next(attribute(engine, [query], parse_method("ablation")))
    (before,) = engine.predict([query])
    edits = [Edit.suppress([neuron]) for neuron in range(engine.loaded.n_neurons)]
    drops = [(before.p_steps - after.p_steps).mean() for after in engine.edited(query, edits)]
    assert found.scores == pytest.approx(drops, abs=1e-15)


@pytest.mark.parametrize("baseline", ["zero", "per_word"])
def test_ablation_at_pre_act_equals_ablation_at_post_act(engine: Engine, baseline: str) -> None:
    """The function takes one number: what it makes of w'_j is where the neuron goes behind it (gelu leaves 0 at 0)."""
    query = encoded(engine)[1]
    before, after = (
        next(attribute(engine, [query], parse_method(f"ablation+baseline={baseline},site={site}"))).scores
        for site in ("pre_act", "post_act")
    )
    assert np.abs(before - after).max() <= 1e-12 * np.abs(after).max()
    assert np.abs(after).max() > 1e-6


def test_looser_tolerance_takes_fewer_nodes_and_is_met(engine: Engine) -> None:
    fewer = parse_method("amig+tolerance=0.05")
    for loose, exact in zip(
        attribute(engine, encoded(engine), fewer),
        attribute(engine, encoded(engine), parse_method("amig+nodes=40")),
        strict=True,
    ):
        paths = loose.paths
        assert paths.nodes.min() == 3
        assert paths.converged.all()
        change, scale = np.abs(paths.f_end - paths.f_start), np.maximum(paths.f_end, paths.f_start)
        assert (np.abs(paths.residual) <= 0.05 * change + 5e-4 * scale).all()
        assert np.abs(loose.scores - exact.scores).max() <= 0.05 * np.abs(exact.scores).max()
        assert np.abs(loose.scores - exact.scores).max() > 0


def test_eq_2_on_a_single_neuron_equals_its_ablation_to_1e_12(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that move one neuron of a layer alone: what it gets is F(w) - F(w_j <- w'_j), and no other neuron gets
    anything."""
    query, neuron = encoded(engine)[0], 3
    real = integrate.prepare

    def one_neuron_moves(*args: object, **options: object) -> tuple[Prepared, Paths]:
        prepared, paths = real(*args, **options)  # type: ignore[arg-type]
        for start, clean in zip(paths.start, prepared.activations, strict=True):
            ends = clean[paths.state]
            ends[:, neuron] = start[:, neuron]
            start.copy_(ends)
        return prepared, paths

    monkeypatch.setattr(integrate, "prepare", one_neuron_moves)
    found = next(attribute(engine, [query], parse_method("bkn+rule=gauss-legendre,nodes=80")))
    (before,) = engine.predict([query])
    moved = [site.offset + neuron for site in engine.loaded.sites]
    for flat, after in zip(moved, engine.edited(query, [Edit.suppress([each]) for each in moved]), strict=True):
        drop = (before.p_steps - after.p_steps).mean()
        assert found.scores[flat] == pytest.approx(drop, abs=1e-12)
        assert abs(drop) > 1e-6
    assert not np.delete(found.scores, moved).any()


def test_grad_x_act_equals_one_gradient_times_the_activation(engine: Engine) -> None:
    query = encoded(engine)[0]
    found = next(attribute(engine, [query], parse_method("grad_x_act")))
    method = parse_method("bkn+rule=right,nodes=1,multiplier=activation")
    assert np.array_equal(found.scores, next(attribute(engine, [query], method)).scores)


def test_activation_method_is_the_mean_absolute_activation_over_steps(engine: Engine) -> None:
    query = encoded(engine)[1]
    found = next(attribute(engine, [query], parse_method("activation")))
    assert found.scores == pytest.approx(np.abs(engine.activations(query)).mean(axis=0), rel=1e-6)


def test_random_shuffles_scores_within_each_layer_by_its_seed(engine: Engine) -> None:
    query = encoded(engine)[0]
    real, first, again, other = (
        next(attribute(engine, [query], parse_method(text))).scores
        for text in ("amig", "random", "random", "random+seed=1")
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    for site in engine.loaded.sites:
        part = slice(site.offset, site.offset + site.width)
        assert np.array_equal(np.sort(real[part]), np.sort(first[part]))
        assert not np.array_equal(real[part], first[part])


def test_normalised_layers_are_flagged_and_negative_neurons_stay_negative(engine: Engine) -> None:
    method = parse_method("amig+normalise=layer")
    seen = 0
    for raw, found in zip(
        attribute(engine, encoded(engine), PRESETS["amig"]), attribute(engine, encoded(engine), method), strict=True
    ):
        for site in engine.loaded.sites:
            part = slice(site.offset, site.offset + site.width)
            total, size = raw.scores[part].sum(), np.abs(raw.scores[part]).sum()
            assert (site.layer in found.flagged_layers) == (total <= 0 or abs(total) < 0.05 * size)
            assert (found.scores[part][raw.scores[part] < 0] <= 0).all()
            assert np.abs(found.scores[part]) == pytest.approx(np.abs(raw.scores[part] / total), rel=1e-9)
            seen += site.layer in found.flagged_layers
    assert seen > 0


def test_last_word_drop_applies_only_at_a_decoders_answer_position(gpt2_engine: Engine) -> None:
    query = next(query for query in encoded(gpt2_engine) if len(query.steps) > 1)
    found = next(attribute(gpt2_engine, [query], parse_method("amig+last_word=drop"))).paths
    last = query.n_words - 1
    assert last not in found.path[found.step == 0]
    assert last in found.path[found.step == 1]
    kept = next(attribute(gpt2_engine, [query], parse_method("amig"))).paths
    assert last in kept.path[kept.step == 0]


def test_pre_act_paths_start_before_the_activation_function(gpt2_engine: Engine) -> None:
    query = encoded(gpt2_engine)[0]
    post, pre = (
        next(attribute(gpt2_engine, [query], parse_method(f"bkn+site={site}"))) for site in ("post_act", "pre_act")
    )
    released = next(attribute(gpt2_engine, [query], parse_method("bkn+site=released")))
    assert np.array_equal(pre.scores, released.scores)
    assert np.abs(pre.scores - post.scores).max() > 1e-3 * np.abs(post.scores).max()
    full = next(attribute(gpt2_engine, [query], parse_method("bkn+site=pre_act,rule=gauss-legendre")))
    assert full.paths.converged.all()


def test_released_site_is_post_act_on_encoders(bert_engine: Engine) -> None:
    query = encoded(bert_engine)[0]
    post, released = (
        next(attribute(bert_engine, [query], parse_method(f"bkn+site={s}"))) for s in ("post_act", "released")
    )
    assert np.array_equal(post.scores, released.scores)
