"""What neurons read and lie near to, against the formulas of four architectures written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from knscope.analysis.neurons.measure import TOP
from knscope.analysis.neurons.wiring import wired
from tests import families
from tests.analysis.neurons.test_measure import LAYER, layer_norm, rms

Rows = tuple[Tensor, Tensor | None]
"""r (neurons, vocabulary) of the row before the activation function, and of the other one."""


def gpt2(model: Any) -> Rows:
    block = model.transformer.h[LAYER]
    return block.mlp.c_fc.weight.T @ layer_norm(model.transformer.wte.weight, block.ln_2, bias=True).T, None


def bert(model: Any) -> Rows:
    layer = model.bert.encoder.layer[LAYER]
    words = layer_norm(model.bert.embeddings.word_embeddings.weight, layer.attention.output.LayerNorm, bias=True)
    return layer.intermediate.dense.weight @ words.T, None


def llama(model: Any) -> Rows:
    block = model.model.layers[LAYER]
    norm = block.post_attention_layernorm
    words = rms(model.model.embed_tokens.weight, norm.weight, norm.variance_epsilon)
    return block.mlp.gate_proj.weight @ words.T, block.mlp.up_proj.weight @ words.T


def gemma2(model: Any) -> Rows:
    """Embeddings are stretched by the root of the width, and the norm before the MLP multiplies by 1 + weight."""
    block = model.model.layers[LAYER]
    norm = block.pre_feedforward_layernorm
    embeddings = model.model.embed_tokens.weight * model.config.hidden_size**0.5
    words = rms(embeddings, 1 + norm.weight, norm.eps)
    return block.mlp.gate_proj.weight @ words.T, block.mlp.up_proj.weight @ words.T


LITERAL: Mapping[str, Callable[[Any], Rows]] = {"gpt2": gpt2, "bert": bert, "llama": llama, "gemma2": gemma2}


@pytest.mark.parametrize("family", LITERAL)
def test_what_neurons_read_equals_the_formula_of_the_architecture(family: str) -> None:
    engine = Engine(families.load(family))
    with torch.no_grad():
        gate, up = LITERAL[family](engine.loaded.model)
    ordinary = np.setdiff1d(np.arange(len(engine.loaded.tokenizer)), engine.loaded.tokenizer.all_special_ids)
    places = np.array([0, 5, 11])
    (found,) = wired(engine, places + engine.offsets[LAYER])
    assert (found.up is None) == (up is None)
    for read, literal, by_size in ((found.reads, gate, False), (found.up, up, True)):
        if read is None or literal is None:
            continue
        for row, place in enumerate(places):
            r = literal[place].numpy()[ordinary]
            order = np.argsort(-np.abs(r) if by_size else -r, kind="stable")[:TOP]
            # RMS norms of transformers compute in float32, whatever the model's precision
            np.testing.assert_allclose(read.by[row], r[order], atol=1e-6 * np.abs(r).max())
            assert set(read.ids[row]) == set(ordinary[order])


def test_nearest_output_vectors_are_those_of_the_largest_cosine_over_all_layers() -> None:
    engine = Engine(families.load("gpt2"))
    vectors = torch.cat([block.mlp.c_proj.weight for block in engine.loaded.model.transformer.h]).numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    neurons = np.array([3, int(engine.offsets[1]) + 7, int(engine.offsets[2]) + 1])
    for found in wired(engine, neurons):
        for row, neuron in enumerate(found.neurons):
            cosines = unit @ unit[neuron]
            cosines[neuron] = -np.inf
            order = np.argsort(-cosines)[:TOP]
            np.testing.assert_allclose(found.near_by[row], cosines[order], atol=1e-10)
            np.testing.assert_array_equal(found.near[row], order)


def test_an_embedding_narrower_than_the_stream_is_not_read() -> None:
    (found,) = wired(Engine(families.load("albert")), np.array([1, 2]))
    assert found.reads is None and found.near.shape == (2, TOP)


def test_single_neurons_of_encoder_decoders_are_refused() -> None:
    with pytest.raises(ModelError, match="for encoders and decoders only"):
        next(wired(Engine(families.load("t5")), np.array([0])))


DENSE = ("bloom", "opt", "gpt_neox", "qwen3", "modernbert", "phi3", "roberta", "distilbert")


@pytest.mark.parametrize("family", [one for one in DENSE if one in {**families.ENCODERS, **families.DECODERS}])
def test_the_norm_and_the_rows_are_found_in_other_families(family: str) -> None:
    engine = Engine(families.load(family))
    (found,) = wired(engine, np.array([int(engine.offsets[LAYER]) + 4]))
    assert found.reads is not None
    assert (found.up is not None) == engine.loaded.sites[LAYER].gated
