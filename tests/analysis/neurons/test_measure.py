"""What neurons write into the vocabulary, against the formulas of four architectures written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from knscope.analysis.neurons.measure import TOP, promoted
from tests import families

LAYER = 1


def layer_norm(x: Tensor, norm: nn.Module, bias: bool) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + norm.eps) * norm.weight
    return scaled + norm.bias if bias else scaled


def rms(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * gain


def of_one_length(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True) * x.shape[-1] ** 0.5


def gpt2(model: Any) -> Tensor:
    columns = model.transformer.h[LAYER].mlp.c_proj.weight  # (neurons, hidden)
    return layer_norm(of_one_length(columns), model.transformer.ln_f, bias=False) @ model.lm_head.weight.T


def llama(model: Any) -> Tensor:
    columns = model.model.layers[LAYER].mlp.down_proj.weight.T
    norm = model.model.norm
    return rms(of_one_length(columns), norm.weight, norm.variance_epsilon) @ model.lm_head.weight.T


def gemma2(model: Any) -> Tensor:
    """A norm follows the MLP, norms multiply by 1 + weight, and the logits are capped."""
    block, norm = model.model.layers[LAYER], model.model.norm
    after = block.post_feedforward_layernorm
    written = rms(block.mlp.down_proj.weight.T, 1 + after.weight, after.eps)
    cap = model.config.final_logit_softcapping
    return cap * torch.tanh(rms(of_one_length(written), 1 + norm.weight, norm.eps) @ model.lm_head.weight.T / cap)


def bert(model: Any) -> Tensor:
    """The norm comes after the sum, and the head has a layer of its own: both are read as differences."""
    entered: list[Tensor] = []
    second = model.bert.encoder.layer[LAYER].output
    handle = second.register_forward_pre_hook(lambda _, args: entered.append(args[1]))
    model(input_ids=torch.tensor([[4]]))  # [MASK] alone
    handle.remove()
    stream = entered[0][0, 0] + second.dense.bias
    written = layer_norm(stream + second.dense.weight.T, second.LayerNorm, True) - layer_norm(
        stream, second.LayerNorm, True
    )
    head = model.cls.predictions

    def logits(x: Tensor) -> Tensor:
        inner = nn.functional.gelu(x @ head.transform.dense.weight.T + head.transform.dense.bias)
        return layer_norm(inner, head.transform.LayerNorm, True) @ head.decoder.weight.T

    return logits(of_one_length(written)) - logits(torch.zeros_like(written[:1]))


LITERAL: Mapping[str, Callable[[Any], Tensor]] = {"gpt2": gpt2, "llama": llama, "gemma2": gemma2, "bert": bert}


@pytest.mark.parametrize("family", LITERAL)
def test_promoted_tokens_equal_the_formula_of_the_architecture(family: str) -> None:
    engine = Engine(families.load(family))
    with torch.no_grad():
        z = LITERAL[family](engine.loaded.model).numpy()
    special = engine.loaded.tokenizer.all_special_ids
    ordinary = np.delete(np.arange(z.shape[1]), [*special, *range(len(engine.loaded.tokenizer), z.shape[1])])
    for found in promoted(engine, LAYER):
        for row, neuron in enumerate(found.neurons):
            order = ordinary[np.argsort(-z[neuron, ordinary], kind="stable")]
            for ids, values, best in (
                (found.promotes[row], found.promotes_by[row], order[:TOP]),
                (found.suppresses[row], found.suppresses_by[row], order[::-1][:TOP]),
            ):
                # RMS norms of transformers compute in float32, whatever the model's precision
                np.testing.assert_allclose(values, z[neuron, best], atol=1e-6 * np.abs(z).max())
                assert set(ids) == set(best)


def test_seen_is_one_for_random_directions_and_zero_for_a_direction_that_the_norm_removes() -> None:
    engine = Engine(families.load("gpt2"))
    columns = engine.loaded.model.transformer.h[LAYER].mlp.c_proj.weight
    with torch.no_grad():
        columns[:-1] = torch.randn(columns[:-1].shape, generator=torch.Generator().manual_seed(1), dtype=columns.dtype)
        columns[-1] = 3.0  # the same in every place: LayerNorm takes it away
    seen = np.concatenate([found.seen for found in promoted(engine, LAYER)])
    assert abs(seen[:-1].mean() - 1) < 0.1
    assert seen[-1] < 1e-6


def test_promoted_reads_single_neurons_of_a_layer() -> None:
    engine = Engine(families.load("llama"))
    (every,), (some,) = promoted(engine, LAYER), promoted(engine, LAYER, np.array([7, 2]))
    np.testing.assert_array_equal(some.promotes, every.promotes[[7, 2]])
    np.testing.assert_allclose(some.length, every.length[[7, 2]])


def test_promoted_refuses_a_layer_that_is_not_there_and_encoder_decoders() -> None:
    with pytest.raises(ModelError, match="has the layers 0 to 2, not 3"):
        next(promoted(Engine(families.load("gpt2")), 3))
    with pytest.raises(ModelError, match="for encoders and decoders only"):
        next(promoted(Engine(families.load("t5")), 0))
