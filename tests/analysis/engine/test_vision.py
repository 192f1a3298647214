"""Text towers of models that see: asked without an image, they are decoders like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from knscope.analysis.engine import sources
from knscope.analysis.engine.circuit import FULL
from knscope.analysis.engine.models import LoadedModel, load_model, wrap_model
from knscope.analysis.engine.replay import Edit, Engine
from tests.analysis.engine.test_replay import samples
from tests.random_models import byte_level

TEXT = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
EYE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
TURNS = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}}
DEEP = {"depth": 2, "hidden_size": 32, "num_heads": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "Gemma3": {
        "text_config": TEXT | {"query_pre_attn_scalar": 8, "sliding_window": 12},
        "vision_config": EYE,
        "mm_tokens_per_image": 4,
    },
    "Qwen2VL": {"text_config": TEXT | TURNS, "vision_config": DEEP | {"embed_dim": 32}},
    "Qwen3VL": {
        "text_config": TEXT | TURNS,
        "vision_config": DEEP | {"out_hidden_size": 32, "intermediate_size": 48, "deepstack_visual_indexes": [0]},
    },
    "Mistral3": {"text_config": TEXT | {"model_type": "mistral"}, "vision_config": EYE | {"model_type": "pixtral"}},
    "Llava": {
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": EYE | {"model_type": "clip_vision_model"},
    },
}


def made(family: str, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family])
    return getattr(transformers, f"{family}ForConditionalGeneration")(config).to(dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_tower_is_found_and_replayed_exactly(family: str) -> None:
    loaded: LoadedModel = wrap_model(made(family), byte_level(), "decoder", name=family)
    assert [site.module for site in loaded.sites] == [
        f"model.language_model.layers.{n}.mlp.down_proj" for n in range(3)
    ]
    assert loaded.context == 64
    engine, literal = Engine(loaded, remember=False), Engine(loaded, recipe=FULL)
    assert engine.replay
    (query,) = samples(loaded, (8,))
    edits = [Edit.suppress([site.offset + 3]) for site in loaded.sites]
    for one, other in zip(engine.edited(query, edits), literal.edited(query, edits), strict=True):
        assert one.p_steps == pytest.approx(other.p_steps, rel=1e-9)


def test_folder_of_a_model_that_sees_loads_as_a_decoder(tmp_path: Path) -> None:
    for part in (made("Llava", torch.float32), byte_level()):
        part.save_pretrained(tmp_path / "llava")
    loaded = load_model(tmp_path / "llava")
    assert loaded.kind == "decoder" and len(loaded.sites) == 3
    assert sources.is_decoder(str(tmp_path / "llava"))
