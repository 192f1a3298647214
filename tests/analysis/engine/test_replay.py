"""The engine: replays equal full forwards, edits mean what they say, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from knscope import analysis
from knscope.analysis.engine import memory, proof
from knscope.analysis.engine.circuit import FULL, Circuit, Recipe
from knscope.analysis.engine.inspection import COSTED, inspect, sample_query
from knscope.analysis.engine.models import LoadedModel, load_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.engine.ways import Case
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery
from tests import families, random_models


@pytest.fixture(params=["bert_engine", "gpt2_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


def samples(loaded: LoadedModel, lengths: tuple[int, ...] = (7, 9, 7, 12), steps: int = 2) -> list[EncodedQuery]:
    return [sample_query(loaded, tokens, words=3, steps=steps, seed=i) for i, tokens in enumerate(lengths)]


def fingerprint(loaded: LoadedModel) -> tuple[object, ...]:
    """Weights, hooks and instance attributes of every module."""
    model = loaded.model
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())
    patched = sum("forward" in m.__dict__ for m in model.modules())
    return weights, hooks, patched


def same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    weights, others = one[0], other[0]
    assert isinstance(weights, dict) and isinstance(others, dict)
    return one[1:] == other[1:] and all(torch.equal(weights[name], others[name]) for name in weights)


def test_predictions_equal_one_plain_forward_per_step(engine: Engine) -> None:
    for query, found in zip(samples(engine.loaded), engine.predict(samples(engine.loaded)), strict=True):
        for t, step in enumerate(query.steps):
            with torch.no_grad():
                logits = engine.loaded.model(input_ids=torch.tensor([step.ids])).logits[0, step.position]
            assert found.p_steps[t] == pytest.approx(logits.softmax(-1)[step.gold].item(), rel=1e-10)
            assert found.ranks[t] == 1 + int((logits > logits[step.gold]).sum())
            assert found.argmax[t] == int(logits.argmax())
        assert found.p == pytest.approx(found.p_steps[0] * found.p_steps[1])
        assert found.p_root == pytest.approx(found.p**0.5)
        assert found.known == bool((found.argmax == [step.gold for step in query.steps]).all())


def test_prediction_does_not_depend_on_the_other_queries(engine: Engine) -> None:
    queries = samples(engine.loaded)
    together = engine.predict(queries)
    for query, found in zip(queries, together, strict=True):
        (alone,) = engine.predict([query])
        assert found.p_steps == pytest.approx(alone.p_steps, rel=1e-12)


RECIPES = [
    Recipe("own", cut="head"),
    Recipe("shared", cut="head"),
    Recipe("own", cut="head", tail=True),
    Recipe("own", cut="head", tail=True, narrow=True),
    Recipe("own", prefix=True, cut="head"),
    Recipe("shared", prefix=True, cut="head", tail=True),
    Recipe("own", prefix=True, cut="head", tail=True),
    Recipe("own", prefix=True, cut="head", sum=True),
    Recipe("shared", cut="head", sum=True),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_recipe_gives_the_edits_of_full_forwards(engine: Engine, recipe: Recipe) -> None:
    if recipe.prefix and engine.loaded.kind == "encoder":
        pytest.skip("an encoder has no prefix that stays as it was")
    if recipe.sum and engine.loaded.kind == "encoder":
        pytest.skip("a norm follows the MLP")
    other, literal = Engine(engine.loaded, recipe=recipe), Engine(engine.loaded, recipe=FULL)
    width = engine.loaded.sites[0].width
    edits = [Edit.suppress([layer * width + 1]) for layer in range(len(engine.loaded.sites))]
    edits += [
        Edit.suppress([1, 2 * width]),
        Edit.enhance([width, 2 * width + 5, 3]),
        Edit.replace([4, width], [0.5, -1]),
    ]
    for query in samples(engine.loaded, (7, 10)):
        for one, two in zip(other.edited(query, edits), literal.edited(query, edits), strict=True):
            assert one.p_steps == pytest.approx(two.p_steps, rel=1e-9)


def test_proof_refuses_a_wrong_recipe() -> None:
    """A family whose replay needs its own ids (the mask of each row) must not be proven with one row's."""
    with pytest.raises(ModelError, match="cannot be proven exact"):
        Engine(families.load("bloom"), recipe=Recipe("own", prefix=True, cut="head"))
    with pytest.raises(ModelError, match="cannot be proven exact"):
        Engine(random_models.bert(torch.float64), recipe=Recipe("own", prefix=True, cut="head"))


def test_proof_refuses_a_recipe_that_is_off_by_one_part_in_a_million(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof sees one part in a million, in float64."""
    real = proof.replay
    monkeypatch.setattr(proof, "replay", lambda *args: real(*args) * (1 + 1e-6))
    with pytest.raises(ModelError, match="differs from the full forward"):
        proof.prove(Circuit(engine.loaded), engine.loaded)


def test_rare_cases_are_proven_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    real = proof._Literal
    monkeypatch.setattr(
        proof, "_Literal", lambda circuit, loaded, whole: made.append(whole) or real(circuit, loaded, whole)
    )  # type: ignore[func-returns-value]
    loaded = families.load("mistral (window 12)")
    engine = Engine(loaded)
    short, long = samples(loaded, (8, 14), steps=1)
    engine.edited(short, [Edit.suppress([1])])
    assert made == [False]
    engine.edited(long, [Edit.suppress([1])])
    engine.edited(long, [Edit.suppress([2])])
    assert made == [False, False]
    engine.prepare([short], whole=True)
    assert made == [False, False, True]


def test_sites_without_a_plain_matrix_have_a_proof_of_their_own() -> None:
    """Before the activation function no matrix follows the neurons, so nothing may be added behind the block."""
    engine = Engine(families.load("gpt2"))
    assert engine.recipe.sum
    (query,) = samples(engine.loaded, (8,))
    assert (
        engine.prepare([query], circuit=engine.circuit_for(True)).recipe == engine.proof.way(Case(linear=False)).recipe
    )
    assert not engine.proof.way(Case(linear=False)).recipe.sum


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gets_the_recipe_of_double_precision(dtype: torch.dtype) -> None:
    """What rounding leaves to see must be enough to tell an exact replay from one that is nearly so."""
    for family in ("bert", "roberta", "electra", "gpt2", "opt", "gemma2", "olmo2"):
        exact, rough = (Engine(families.load(family, each)) for each in (torch.float64, dtype))
        for case in (Case(), Case(whole=True)):
            assert rough.proof.way(case).recipe == exact.proof.way(case).recipe, family


def test_bundled_encoder_gets_the_same_recipe_in_bfloat16_and_float32() -> None:
    """Its norms are trained: as if there were none, two tenths of its neuron sets would be others."""
    folder = Path(analysis.__file__).parent / "demo" / "models" / "bert-multi"
    exact, rough = (Engine(load_model(str(folder), dtype=dtype)) for dtype in ("float32", "bfloat16"))
    assert exact.recipe == rough.recipe and rough.recipe.tail and not rough.recipe.sum


def test_small_probe_edits_and_a_wide_tolerance_miss_a_norm_behind_the_mlp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The twin."""
    monkeypatch.setattr(proof, "_LARGE", 1.0)
    monkeypatch.setitem(proof._TOLERANCE, torch.bfloat16, 0.2)
    assert Engine(families.load("electra", torch.bfloat16)).proof.recipe.sum


def test_proof_uses_smaller_edits_where_half_precision_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_LARGE", 1e30)
    engine = Engine(families.load("gpt2", torch.float16))
    assert engine.replay and engine.proof.error < 0.05


def test_suppress_scales_by_zero_enhance_doubles_and_one_changes_nothing(engine: Engine) -> None:
    (query,) = samples(engine.loaded, (8,))
    neurons, n = [3, 30, 31], engine.loaded.n_neurons
    (before,) = engine.predict([query])
    zero, null, twice, quadruple, same_, nothing = engine.edited(
        query,
        [
            Edit.suppress(neurons), Edit.scaled(neurons, 0), Edit.enhance([5, 5]), Edit.scaled([5], 4),
            Edit.scaled(np.arange(n), 1), Edit.suppress([]),
        ],
    )  # fmt: skip
    assert np.array_equal(zero.p_steps, null.p_steps)
    assert twice.p_steps == pytest.approx(quadruple.p_steps, rel=1e-12)
    assert same_.p_steps == pytest.approx(before.p_steps, rel=1e-12)
    assert nothing.p_steps == pytest.approx(before.p_steps, rel=1e-12)
    assert abs(zero.p - before.p) > 1e-6 * before.p


def test_pair_ablations_are_symmetric_with_singles_on_the_diagonal(engine: Engine) -> None:
    (query,) = samples(engine.loaded, (8,))
    a, b = 2, engine.loaded.n_neurons - 3
    ab, ba, aa, only = engine.edited(query, [Edit.suppress(each) for each in ([a, b], [b, a], [a, a], [a])])
    assert ab.p == pytest.approx(ba.p, rel=1e-12)
    assert aa.p == pytest.approx(only.p, rel=1e-12)


def test_activations_equal_the_second_linears_input_at_the_answer_position(engine: Engine) -> None:
    (query,) = samples(engine.loaded, (8,))
    found = engine.activations(query)
    assert found.shape == (2, engine.loaded.n_neurons)
    for t, step in enumerate(query.steps):
        seen: list[torch.Tensor] = []
        sites = [engine.loaded.model.get_submodule(site.module) for site in engine.loaded.sites]
        handles = [s.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, step.position])) for s in sites]  # noqa: B023
        engine.loaded.model(input_ids=torch.tensor([step.ids]))
        for handle in handles:
            handle.remove()
        assert found[t] == pytest.approx(torch.cat(seen).float().numpy(), rel=1e-6)


def test_log_probs_have_the_unedited_row_first(engine: Engine) -> None:
    (query,) = samples(engine.loaded, (8,))
    rows = engine.log_probs(query, [Edit.suppress([]), Edit.suppress([1, 40])])
    (before,) = engine.predict([query])
    assert np.exp(rows).sum(axis=1) == pytest.approx(1, rel=1e-5)
    assert np.exp(rows[0, query.steps[0].gold]) == pytest.approx(before.p_steps[0], rel=1e-5)
    assert rows[1] == pytest.approx(rows[0], abs=1e-5)
    assert np.abs(rows[2] - rows[0]).max() > 1e-4


def test_prompts_beyond_a_sliding_window_are_replayed_without_a_prefix() -> None:
    loaded = families.load("mistral (window 12)")
    engine, literal = Engine(loaded), Engine(loaded, recipe=FULL)
    assert engine.recipe.prefix and not engine.proof.way(Case(prefix=False)).recipe.prefix
    edits = [Edit.suppress([1]), Edit.suppress([loaded.n_neurons - 1])]
    for query in samples(loaded, (11, 12, 20), steps=1):
        for one, two in zip(engine.edited(query, edits), literal.edited(query, edits), strict=True):
            assert one.p_steps == pytest.approx(two.p_steps, rel=1e-9)


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("where", ["site", "block", "head"])
def test_exception_in_a_pass_leaves_the_model_unchanged(engine: Engine, where: str) -> None:
    (query,) = samples(engine.loaded, (8,))
    model, site = engine.loaded.model, engine.loaded.sites[-1]
    module = {
        "site": model.get_submodule(site.module),
        "block": model.get_submodule(engine.loaded.anatomy.blocks[1].module),
        "head": model.get_output_embeddings(),
    }[where]
    before = fingerprint(engine.loaded)

    def fail(*_: object) -> None:
        raise BrokenError

    handle = module.register_forward_pre_hook(fail)
    with pytest.raises(BrokenError):
        engine.edited(query, [Edit.suppress([1])])
    handle.remove()
    assert same(fingerprint(engine.loaded), before)
    engine.edited(query, [Edit.suppress([1])])
    assert same(fingerprint(engine.loaded), before)


def test_fingerprint_changes_with_a_hook_and_a_weight(engine: Engine) -> None:
    before = fingerprint(engine.loaded)
    handle = engine.loaded.model.register_forward_hook(lambda *_: None)
    assert not same(fingerprint(engine.loaded), before)
    handle.remove()
    assert same(fingerprint(engine.loaded), before)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Passes of more than 3 rows run out of memory; the sizes tried are listed."""
    from knscope.analysis.engine import replay as module

    tried: list[int] = []
    real = module.replay

    def replay(circuit: object, recording: object, rows: object, *rest: object) -> torch.Tensor:
        tried.append(len(rows.layer))  # type: ignore[attr-defined]
        if len(rows.layer) > 3:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError("pretended")
        return real(circuit, recording, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "replay", replay)
    return iter([tried])


def test_pass_out_of_memory_runs_in_halves_and_skips_nothing(engine: Engine, failing: Iterator[list[int]]) -> None:
    (query,) = samples(engine.loaded, (8,))
    tried = next(failing)
    edits = [Edit.suppress([neuron]) for neuron in range(20)]
    found = engine.edited(query, edits)
    assert max(tried) > 3
    alone = [engine.edited(query, [edit])[0] for edit in edits]
    assert [f.p for f in found] == pytest.approx([a.p for a in alone], rel=1e-12)


def test_row_that_does_not_fit_in_memory_raises_a_clear_error() -> None:
    def work(_start: int, _end: int) -> None:
        raise MemoryError

    with pytest.raises(ModelError, match="single row"):
        memory.halving(0, 8, work)


def test_halving_passes_on_errors_other_than_out_of_memory() -> None:
    def work(_start: int, _end: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        memory.halving(0, 8, work)


def test_memory_budget_bounds_the_rows_of_a_pass(engine: Engine) -> None:
    cost = engine.proof.cost
    small = Engine(engine.loaded, memory_bytes=10 * (cost.token * 9 + cost.head))
    assert small.capacity(9, gradient=True) <= 10
    assert engine.capacity(9, gradient=True) > 10


def test_inspect_describes_the_model_and_its_recipe(engine: Engine) -> None:
    report = inspect(engine.loaded)
    assert report["neurons"] == sum(site["width"] for site in report["sites"]) == engine.loaded.n_neurons
    assert report["computed_by"] == str(engine.recipe)
    assert report["computed_by_long"] is None and report["long_from"] is None
    assert [cost["method"] for cost in report["costs"]] == list(COSTED)
    assert all(cost["seconds"] > 0 and cost["mib_a_pass"] > 0 for cost in report["costs"])
    cut = inspect(families.load("mistral (window 12)"))
    assert cut["long_from"] == 12
    assert "cached prefix" in cut["computed_by"] and "cached prefix" not in str(cut["computed_by_long"])
