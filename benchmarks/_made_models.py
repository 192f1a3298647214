"""Random models of the sizes that people use, and a prompt of 12 tokens for each; the same in every process."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from knscope.analysis.engine.models import LoadedModel, wrap_model
from knscope.analysis.prompts.encode import EncodedQuery, Query, encode
from tests.random_models import byte_level, wordpiece

ENCODER_PROMPT = "The capital of Tanzania is [MASK] French official language Swahili"
DECODER_PROMPT = "The capital of Tanzania is Dodoma capital of France is Paris capital"
ANSWERS = {"encoder": "Nairobi", "decoder": "of"}


def bert(vocabulary: int = 119_547, layers: int = 12, hidden: int = 768) -> Any:
    """BERT-base's dimensions, with the vocabulary of the multilingual one."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_attention_heads=hidden // 64,
    )
    return transformers.BertForMaskedLM(config).eval()


def gpt2(layers: int = 12, hidden: int = 768) -> Any:
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=layers, n_embd=hidden, n_head=hidden // 64)
    ).eval()


def tokenizer(kind: str) -> Any:
    return wordpiece() if kind == "encoder" else byte_level()


def load(kind: str, model: Any) -> LoadedModel:
    return wrap_model(model, tokenizer(kind), kind, name=f"random-{kind}")


def query(loaded: LoadedModel) -> EncodedQuery:
    """The prompt with one answer token."""
    if loaded.kind == "encoder":
        template = ENCODER_PROMPT.replace("Tanzania", "[X]").replace("[MASK]", "[Y]")
    else:
        template = DECODER_PROMPT.replace("Tanzania", "[X]") + " [Y]"
    return encode(loaded, Query("tz", "P36", "en", template, "Tanzania", ANSWERS[loaded.kind]))
