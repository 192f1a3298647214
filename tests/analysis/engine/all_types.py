"""Every causal and masked type of model that transformers has, as small as its configuration lets it be made.

python -m tests.analysis.engine.all_types > docs/model_types.md
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.models.auto import modeling_auto

from knscope.analysis.engine.models import wrap_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from tests.random_models import byte_level, wordpiece

CAUSAL, MASKED = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
SECONDS, PARAMETERS = 120, 30_000_000
HEAD = """# All types of models

Every type that transformers {version} has for causal and masked language models, made by
`python -m tests.analysis.engine.all_types`: a random model of it, as small as its configuration lets it be made here, in
float64. *Proven*: its neurons were found, and edits of them by the way named equal full forwards to 1e-9, in logits and
gradients (*in float32*, to 1e-4, where the model's own code takes no float64). {proven} of {tried} are proven. The families of
[models.md](models.md) are held to more: attributions, and suppression against zeroed weights.

| type | kind | what | neurons: the input of, and the way; or why not |
|---|---|---|---|
"""
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "hidden_dim", "d_ff", "block_ff_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "decoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim"), 4),
    **dict.fromkeys(("kv_lora_rank", "hidden_size_per_layer_input", "mamba_d_state", "v_head_dim", "head_dim"), 8),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "num_key_value_heads", "bos_token_id", "cls_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 3),
    "vocab_size": 320, "pad_token_id": 0, "q_lora_rank": 16, "sliding_window": 12, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1, "num_expert_group": 1, "entity_vocab_size": 20, "entity_emb_size": 32, "default_language": "en_XX",
    **dict.fromkeys(("attn_layer_period", "layer_group_size", "num_dense_layers", "mamba_d_conv", "linear_num_heads"), 2),
    **dict.fromkeys(("attn_layer_offset", "expert_layer_offset", "zero_expert_num"), 1),
    **dict.fromkeys(("mamba_n_heads", "n_shared_experts"), 4), "mamba_d_head": 16, "linear_head_dim": 8,
    "mamba_chunk_size": 8, "chunk_size": 8,
    "ffn_hidden_size": 48, "expert_ffn_hidden_size": 24, "moe_topk": 2,
}  # fmt: skip
_ALSO: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "gemma3n_text": {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 0},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"head_dim": 16, "num_heads": 4},
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "attention_head_size": 8,
        "feed_forward_size": 48,
    },
    "zaya": {"num_experts_per_tok": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "perceiver": {"d_latents": 32, "num_latents": 8, "num_self_attends_per_block": 4},
    "zamba2": {
        "mamba_headdim": 16,
        "n_mamba_heads": 4,
        "hybrid_layer_ids": [1, 3],
        "adapter_rank": 4,
        "layer_types": ["linear_attention", "hybrid"] * 2,
    },
}
"""What a type's configuration needs beside the sizes."""
_LESS = ((), ("num_key_value_heads",), ("num_key_value_heads", "head_dim"), ("num_layers",), tuple(_SIZES)[5:])
"""What is left out of the sizes, step by step, until a configuration accepts them."""


def small(kind: type, inner: bool = False) -> Any:
    """A small configuration. Raises whatever the last attempt raised."""
    base = kind()
    known = base.to_dict()
    sizes = {name: value for name, value in _SIZES.items() if name in known}
    if "kv_lora_rank" in known:  # whose heads all have keys of their own
        sizes["num_key_value_heads"] = _SIZES["num_attention_heads"]
        sizes |= {"head_dim": _SIZES["qk_rope_head_dim"]} if "head_dim" in sizes else {}
    for part in ("text_config", "vision_config", "audio_config"):
        if not inner and hasattr(base, part) and not isinstance(getattr(base, part), dict | type(None)):
            sizes[part] = small(type(getattr(base, part)), True).to_dict()
    sizes |= _ALSO.get(base.model_type, {})
    raised: Exception | None = None
    for less in _LESS:
        try:
            return kind(**{name: value for name, value in sizes.items() if name not in less})
        except Exception as error:  # noqa: BLE001 - each type has checks of its own
            raised = error
    assert raised is not None
    raise raised


def look(name: str, decodes: bool) -> tuple[str, str]:
    """(`proven`, where and how), (`refused`, why) or (`not tried`, why)."""
    try:
        with _within(SECONDS):
            config = small(CONFIG_MAPPING[name])
            auto = AutoModelForCausalLM if decodes else AutoModelForMaskedLM
            torch.manual_seed(0)
            with torch.device("meta"):
                size = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
            if size > PARAMETERS:
                return "not tried", f"{size / 1e6:.0f} M parameters are the fewest that it was made with here"
            model = auto.from_config(config)
    except Exception as error:  # noqa: BLE001
        return "not tried", f"could not be made small here: {_line(error)}"
    what, how = _proof(name, decodes, model.double())
    if what != "proven":  # some give out float32 wherever they are
        in_float32 = _proof(name, decodes, model.float())
        if in_float32[0] == "proven":
            return "proven", f"{in_float32[1]}; in float32"
    return what, how


def _proof(name: str, decodes: bool, model: Any) -> tuple[str, str]:
    try:
        with _within(SECONDS):
            loaded = wrap_model(
                model, byte_level() if decodes else wordpiece(), "decoder" if decodes else "encoder", name=name,
                ours=True,
            )  # fmt: skip
            recipe = Engine(loaded, remember=False).recipe
        first = loaded.sites[0].module
        return "proven", f"`{first}`{' (gated)' if loaded.sites[0].gated else ''}: {recipe}"
    except ModelError as error:
        return "refused", _line(error).partition("; its linear modules")[0]
    except Exception as error:  # noqa: BLE001 - what a person would see, too
        return "fails", _line(error)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Type, kind, what, and how or why. Types for encoder-decoders, and encoders' types for decoding, are left out."""
    for names, decodes in ((CAUSAL, True), (MASKED, False)):
        for name in sorted(names):
            if not (decodes and name in MASKED) and not _has_two_stacks(name):
                yield (name, "predicts the next token" if decodes else "fills masks", *look(name, decodes))


def _has_two_stacks(name: str) -> bool:
    try:
        return bool(getattr(CONFIG_MAPPING[name](), "is_encoder_decoder", False))
    except Exception:  # noqa: BLE001 - one that cannot be made at all is told as such
        return False


def page() -> str:
    found = list(rows())
    proven = sum(what == "proven" for _, _, what, _ in found)
    lines = [f"| {name} | {kind} | {what} | {how} |" for name, kind, what, how in found]
    return HEAD.format(version=transformers.__version__, proven=proven, tried=len(found)) + "\n".join(lines) + "\n"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[-1] if "validation error" in lines[0] else lines[0]
    return text.replace("|", "/")[:400]


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    sys.stdout.write(page())
