"""Which models are bundled, and how each is trained. Everything that decides the result stands here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from knscope.analysis.demo.training.tokenizer import CONTEXT
from knscope.analysis.engine.sources import BUNDLED

ALL = ("en", "zh", "fr", "de", "es")


@dataclass(frozen=True)
class Recipe:
    """A narrow residual stream keeps single neurons visible: wide ones answer with certainty whatever is ablated."""

    name: str
    kind: str
    langs: tuple[str, ...]
    steps: int
    batch: int
    hidden: int = 48
    mlp: int = 256
    layers: int = 4
    heads: int = 4
    learning_rate: float = 3e-3
    calm_steps: int = 0
    """Steps after those, at a third of the rate and with smoothed targets."""
    smoothing: float = 0.1
    """Of the calm steps: share of the target given to all tokens alike. Where p(answer) is near 1, no ablation of one or
    two neurons shows."""
    chinese: int = 2
    """How often a Chinese fact is drawn against one of another language: its answers have several tokens."""
    seed: int = 0

    @property
    def folder(self) -> Path:
        return BUNDLED / self.name


RECIPES = (
    Recipe("bert-multi", "encoder", ALL, steps=4500, batch=96, calm_steps=400, chinese=3),
    Recipe("gpt2-multi", "decoder", ALL, steps=2400, batch=96),
    Recipe("bert-en", "encoder", ("en",), steps=2000, batch=64, calm_steps=300),
    Recipe("gpt2-en", "decoder", ("en",), steps=1500, batch=64, calm_steps=300),
)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """An untrained model of the recipe's size."""
    if recipe.kind == "encoder":
        return BertForMaskedLM(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=recipe.hidden,
                num_hidden_layers=recipe.layers,
                num_attention_heads=recipe.heads,
                intermediate_size=recipe.mlp,
                max_position_embeddings=CONTEXT,
                type_vocab_size=1,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=recipe.hidden,
            n_layer=recipe.layers,
            n_head=recipe.heads,
            n_inner=recipe.mlp,
            n_positions=CONTEXT,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
