"""`attribution_patching` and `logprob_increase` on several families, each against a literal reading in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import DRAWN, MEAN_OVER, draw_others, used
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery, Query, Step
from tests import families
from tests.analysis.engine.test_replay import samples

FAMILIES = ("bert", "modernbert", "gpt2", "llama", "opt", "gemma2")
"""Encoders and decoders, gated and not; a norm behind the MLP, none; tokens in one row."""


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(families.load(request.param))


def at(step: Step) -> tuple[torch.Tensor, int, int]:
    return torch.tensor([step.ids]), step.position, step.gold


def activation(engine: Engine, step: Step, layer: int) -> torch.Tensor:
    """(width,) at the answer position."""
    ids, position, _ = at(step)
    seen: list[torch.Tensor] = []
    site = engine.loaded.model.get_submodule(engine.loaded.sites[layer].module)
    handle = site.register_forward_pre_hook(lambda _, args: seen.append(args[0].reshape(ids.shape[1], -1)[position]))
    engine.loaded.model(input_ids=ids)
    handle.remove()
    return seen[0]


def overwritten(engine: Engine, step: Step, layer: int, value: torch.Tensor) -> torch.Tensor:
    """p(gold) with the layer's neurons set to `value` (width,)."""
    ids, position, gold = at(step)

    def put(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        place = torch.arange(ids.shape[1]).eq(position)[:, None]
        return (torch.where(place, value, args[0].reshape(ids.shape[1], -1)).view(args[0].shape),)

    handle = engine.loaded.model.get_submodule(engine.loaded.sites[layer].module).register_forward_pre_hook(put)
    logits = engine.loaded.model(input_ids=ids).logits[0, position]
    handle.remove()
    return logits.softmax(-1)[gold]


def patching(engine: Engine, query: EncodedQuery, other: EncodedQuery) -> np.ndarray:
    total = 0.0
    for step in query.steps:
        parts = []
        for layer in range(len(engine.loaded.sites)):
            w = activation(engine, step, layer).clone().requires_grad_(True)
            away = torch.stack([activation(engine, s, layer) for s in other.steps]).mean(0)
            gradient = torch.autograd.grad(overwritten(engine, step, layer, w), w)[0]
            parts.append(((w - away) * gradient).detach())
        total = total + torch.cat(parts).numpy() / len(query.steps)
    return total


def block_output(
    engine: Engine, step: Step, layer: int, change: Any, replace: torch.Tensor | None = None
) -> tuple[torch.Tensor, float]:
    """What the layer's block gives out at the answer position with its neurons changed, and log p(gold) where the last block
    gives out `replace` there."""
    ids, position, gold = at(step)
    model, anatomy = engine.loaded.model, engine.loaded.anatomy
    seen: list[torch.Tensor] = []
    sites = engine.loaded.sites

    def neurons(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        new = args[0].reshape(ids.shape[1], -1).clone()
        new[position] = change(new[position])
        return (new.view(args[0].shape),)

    def out_of(_: Any, _args: Any, out: Any) -> None:
        seen.append((out if isinstance(out, torch.Tensor) else out[0])[0, position].clone())

    def last(_: Any, _args: Any, out: Any) -> Any:
        hidden = (out if isinstance(out, torch.Tensor) else out[0]).clone()
        hidden[0, position] = replace
        return hidden if isinstance(out, torch.Tensor) else (hidden, *out[1:])

    handles = [model.get_submodule(sites[layer].module).register_forward_pre_hook(neurons)]
    handles.append(model.get_submodule(anatomy.blocks[sites[layer].block].module).register_forward_hook(out_of))
    if replace is not None:
        handles.append(model.get_submodule(anatomy.blocks[-1].module).register_forward_hook(last))
    logits = model(input_ids=ids).logits[0, position]
    for handle in handles:
        handle.remove()
    return seen[0], float(logits.log_softmax(-1)[gold])


def increase(engine: Engine, query: EncodedQuery, layer: int, neuron: int) -> float:
    total = 0.0
    for step in query.steps:
        stream, _ = block_output(engine, step, layer, torch.zeros_like)
        module = engine.loaded.model.get_submodule(engine.loaded.sites[layer].module)
        output = module.weight[neuron] if type(module).__name__ == "Conv1D" else module.weight[:, neuron]
        if module.bias is not None and engine.recipe.sum:  # the stream before the MLP has no part of it
            stream = stream - module.bias
        w = activation(engine, step, layer)[neuron]
        logs = [block_output(engine, step, layer, lambda x: x, each)[1] for each in (stream, stream + w * output)]
        total += logs[1] - logs[0]
    return total


def test_attribution_patching_equals_its_formula(engine: Engine) -> None:
    query, other = samples(engine.loaded, (8, 9))
    method = parse_method("attribution_patching+baseline=resample")
    (found,) = attribute(engine, [query], method, {query.query.id: [other]})
    expected = patching(engine, query, other)
    assert np.abs(found.scores - expected).max() <= 1e-10 * np.abs(expected).max()


def test_logprob_increase_equals_its_formula(engine: Engine) -> None:
    (query,) = samples(engine.loaded, (8,))
    (found,) = attribute(engine, [query], parse_method("logprob_increase"))
    assert found.scores.shape == (engine.loaded.n_neurons,) and len(found.paths) == 0
    largest = np.abs(found.scores).max()
    assert largest > 1e-6
    for site in engine.loaded.sites:
        for neuron in (0, site.width - 1):
            expected = increase(engine, query, site.layer, neuron)
            assert abs(found.scores[site.offset + neuron] - expected) <= 1e-10 * largest + 1e-13


def test_stream_before_the_mlp_is_what_enters_its_norm() -> None:
    """The twin: on GPT-2 the residual stream before the MLP can be seen by itself."""
    engine = Engine(families.load("gpt2"))
    (query,) = samples(engine.loaded, (8,))
    step = query.steps[0]
    seen: list[torch.Tensor] = []
    handle = engine.loaded.model.transformer.h[1].ln_2.register_forward_pre_hook(
        lambda _, args: seen.append(args[0][0, step.position])
    )
    stream, _ = block_output(engine, step, 1, torch.zeros_like)
    handle.remove()
    bias = engine.loaded.model.transformer.h[1].mlp.c_proj.bias
    assert (stream - bias).detach().numpy() == pytest.approx(seen[0].detach().numpy(), rel=1e-12)


def test_methods_without_a_meaning_are_refused() -> None:
    for text in ("logprob_increase+positions=all", "logprob_increase+site=pre_act", "bkn+baseline=mean,positions=all"):
        with pytest.raises(ModelError, match="has no meaning"):
            parse_method(text)
    engine = Engine(families.load("gpt2"))
    with pytest.raises(ModelError, match="no other fact"):
        next(attribute(engine, samples(engine.loaded, (8,)), parse_method("bkn+baseline=resample")))


def test_labels_of_stored_methods_are_as_before() -> None:
    """New presets take no label over."""
    for text in (
        "bkn+target=logprob",
        "amig+baseline=zero",
        "grad_x_act",
        "bkn+baseline=mean_tokens",
    ):
        assert parse_method(text).label == text
    assert parse_method("attribution_patching+baseline=resample").label == "attribution_patching+baseline=resample"


def test_other_facts_are_drawn_by_the_seed_whatever_the_order() -> None:
    pool = [
        Query(f"{r}{n}", r, lang, "[X] [Y]", f"s{n}", f"o{n}")
        for r in ("P1", "P2")
        for n in range(40)
        for lang in ("en", "zh")
    ]
    resample, mean = parse_method("bkn+baseline=resample"), parse_method("attribution_patching")
    found = draw_others(resample, pool, pool)
    assert found == draw_others(resample, pool, pool[::-1])
    assert found != draw_others(parse_method("bkn+baseline=resample,seed=1"), pool, pool)
    for query in pool:
        assert len(found[query.id]) == DRAWN["resample"] and len(used(resample, found[query.id])) == 1
        for other in found[query.id]:
            assert (other.lang, other.relation) != (query.lang, query.relation) and other.lang == query.lang
            assert other.subject != query.subject
    one = [query for query in pool if query.relation == "P1"]
    assert all(
        other[0].subject != query.subject for query in one for other in [draw_others(resample, one, one)[query.id]]
    )
    means = draw_others(mean, pool, pool)
    assert {lang: len(used(mean, others)) for lang, others in means.items()} == {"en": MEAN_OVER, "zh": MEAN_OVER}
    assert draw_others(resample, pool[:1], pool[:1]) == {} == draw_others(parse_method("bkn"), pool, pool)
