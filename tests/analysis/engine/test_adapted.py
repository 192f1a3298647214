"""A model in memory that is not what its architecture says is refused; tokens that the model has no row for are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import knscope
from knscope.analysis.api.model import Model
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.models import wrap_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from knscope.analysis.neurons import measure
from knscope.analysis.prompts.encode import Query, encode
from knscope.store.errors import UserError
from tests import families
from tests.random_models import byte_level, sentinels, wordpiece


class LowRank(nn.Module):
    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner, self.down = inner, nn.Linear(inner.in_features, 2, dtype=inner.weight.dtype)
        self.up = nn.Linear(2, inner.out_features, dtype=inner.weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.up(self.down(x))


class Wrapped(nn.Module):
    """As peft wraps a model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.base_model, self.peft_config, self.config = model, {}, model.config


def low_rank(model: Any) -> None:
    attention = model.model.layers[0].self_attn
    attention.q_proj = LowRank(attention.q_proj)


def patched(model: Any) -> None:
    mlp = model.model.layers[1].mlp
    before = mlp.forward
    mlp.forward = lambda x: 1.1 * before(x)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a low-rank module": (low_rank, "q_proj is a LowRank where LlamaForCausalLM has a Linear"),
    "a tensor": (lambda m: m.lm_head.register_parameter("lora_A", nn.Parameter(torch.zeros(2))), r"lm_head.lora_A\)"),
    "a hook": (
        lambda m: m.model.layers[0].register_forward_hook(lambda *_: None),
        "a hook was put into model.layers.0",
    ),
    "a forward": (patched, "a forward was put into model.layers.1.mlp"),
    "a parametrization": (
        lambda m: parametrize.register_parametrization(m.lm_head, "weight", nn.Identity()),
        "lm_head is a ParametrizedLinear",
    ),
    "a wrapper": (Wrapped, r"holds an adapter \(Wrapped\); merge it"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_model_in_memory_that_was_changed_is_refused_with_the_way_out(name: str) -> None:
    change, why = CHANGES[name]
    model = families.build("llama")
    made = change(model)
    with pytest.raises(ModelError, match=why):
        wrap_model(made if isinstance(made, Wrapped) else model, byte_level(), "decoder", name="x")
    assert wrap_model(families.build("llama"), byte_level(), "decoder", name="x").n_neurons


def test_object_in_the_place_of_a_folder_is_refused_by_load() -> None:
    with pytest.raises(ModelError, match=r"not LlamaForCausalLM: merge its adapters .* and load FOLDER"):
        knscope.load(families.build("llama"))  # type: ignore[arg-type]


def beyond(tokenizer: Any) -> Any:
    """The tokenizer with more tokens than a tiny model has rows for."""
    tokenizer.add_tokens([f"zz{number}q" for number in range(400)])
    return tokenizer


def test_decoder_whose_eos_token_it_does_not_know_works_where_none_is_needed() -> None:
    tokenizer = beyond(byte_level())
    tokenizer.add_special_tokens({"eos_token": "<end>", "pad_token": "<pad2>"})
    loaded = wrap_model(families.build("gpt2"), tokenizer, "decoder", name="x")
    engine = Engine(loaded, remember=False)
    query = encode(loaded, Query("fr", "P36", "en", "the capital of [X] is [Y]", "France", "Paris"))
    for method in ("bkn", f"amig+substitute={tokenizer.convert_ids_to_tokens(5)}"):
        (found,) = attribute(engine, [query], parse_method(method))
        assert abs(found.scores).max() > 0
    with pytest.raises(ModelError, match=r"no eos token that the model knows.*substitute=TOKEN"):
        next(attribute(engine, [query], parse_method("amig")))
    with pytest.raises(ModelError, match="substitute=<end>"):
        next(attribute(engine, [query], parse_method("amig+substitute=<end>")))
    assert next(iter(measure.promoted(engine, 0)))
    assert isinstance(Model(loaded).generate("the capital of France is", 3), str)


def test_tokens_that_a_model_has_no_row_for_are_named_wherever_they_come_from() -> None:
    tokenizer = beyond(byte_level())
    tokenizer.add_tokens(["France"])
    loaded = wrap_model(families.build("gpt2"), tokenizer, "decoder", name="x")
    with pytest.raises(UserError, match="'France' was added to the tokenizer, and the model does not know it"):
        Model(loaded).ask("the capital of France is")
    masks = beyond(wordpiece())
    masks.add_special_tokens({"mask_token": "<gap>"})
    with pytest.raises(ModelError, match="the mask token was added to its tokenizer and not to the model"):
        wrap_model(families.build("bert"), masks, "encoder", name="x")
    model = families.build("t5")
    model.resize_token_embeddings(int(sentinels().convert_tokens_to_ids("<extra_id_0>")))
    with pytest.raises(ModelError, match=r"<extra_id_0> was added|its tokenizer has .* tokens and the model only"):
        wrap_model(model, sentinels(), "encoder-decoder", name="x")
