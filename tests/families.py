"""One tiny random model of each supported family: structure and numerics of the real one, nothing to download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from knscope.analysis.engine.models import LoadedModel, wrap_model
from tests.random_models import byte_level, scaled, sentinels, wordpiece

_V, _H, _L, _I = 320, 32, 3, 48
_COMMON = {
    "vocab_size": _V,
    "hidden_size": _H,
    "num_hidden_layers": _L,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_WIDE = _COMMON | {"intermediate_size": _I}
_FULL = _WIDE | {"num_key_value_heads": 4}
_GROUPED = _WIDE | {"num_key_value_heads": 2, "head_dim": 8}
_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_N = {
    "vocab_size": _V,
    "n_embd": _H,
    "n_layer": _L,
    "n_head": 4,
    "n_inner": _I,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}

ENCODERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", _WIDE),
    "roberta": ("Roberta", _WIDE | _IDS),
    "xlm-roberta": ("XLMRoberta", _WIDE | _IDS),
    "camembert": ("Camembert", _WIDE | _IDS),
    "distilbert": (
        "DistilBert",
        {"vocab_size": _V, "dim": _H, "n_layers": _L, "n_heads": 4, "hidden_dim": _I, "max_position_embeddings": 64},
    ),
    "electra": ("Electra", _WIDE | {"embedding_size": 16}),
    "albert": ("Albert", _WIDE | {"embedding_size": 16}),
    "mpnet": ("MPNet", _WIDE),
    "deberta": ("Deberta", _WIDE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": (
        "DebertaV2",
        _WIDE
        | {
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 8,
            "share_att_key": True,
            "conv_kernel_size": 3,
        },
    ),
    "modernbert": ("ModernBert", _WIDE | _IDS | {"cls_token_id": 2, "sep_token_id": 3}),
    "xlm": ("XLM", {"vocab_size": _V, "emb_dim": _H, "n_layers": _L, "n_heads": 4, "max_position_embeddings": 64}),
}
DECODERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _N),
    "gpt_neo": (
        "GPTNeo",
        {
            "vocab_size": _V,
            "hidden_size": _H,
            "num_layers": _L,
            "num_heads": 4,
            "intermediate_size": _I,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local", "global"], 1]],
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    "gptj": ("GPTJ", _N | {"rotary_dim": 4}),
    "codegen": ("CodeGen", _N | {"rotary_dim": 4}),
    "gpt_neox": ("GPTNeoX", _WIDE),
    "opt": (
        "OPT",
        {
            "vocab_size": _V,
            "hidden_size": _H,
            "num_hidden_layers": _L,
            "num_attention_heads": 4,
            "ffn_dim": _I,
            "word_embed_proj_dim": _H,
            "max_position_embeddings": 64,
        },
    ),
    "bloom": ("Bloom", {"vocab_size": _V, "hidden_size": _H, "n_layer": _L, "n_head": 4}),
    "falcon": ("Falcon", {"vocab_size": _V, "hidden_size": _H, "num_hidden_layers": _L, "num_attention_heads": 4}),
    "falcon (alibi)": (
        "Falcon",
        {"vocab_size": _V, "hidden_size": _H, "num_hidden_layers": _L, "num_attention_heads": 4, "alibi": True},
    ),
    "mpt": ("Mpt", {"vocab_size": _V, "d_model": _H, "n_layers": _L, "n_heads": 4, "max_seq_len": 64}),
    "xglm": (
        "XGLM",
        {
            "vocab_size": _V,
            "d_model": _H,
            "num_layers": _L,
            "attention_heads": 4,
            "ffn_dim": _I,
            "max_position_embeddings": 64,
        },
    ),
    "phi": ("Phi", _WIDE),
    "phi3": ("Phi3", _WIDE | {"pad_token_id": 0}),
    "stablelm": ("StableLm", _FULL),
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", _GROUPED),
    "mistral (window 12)": ("Mistral", _GROUPED | {"sliding_window": 12}),
    "qwen2": ("Qwen2", _FULL),
    "qwen3": ("Qwen3", _GROUPED),
    "gemma": ("Gemma", _GROUPED),
    "gemma2": ("Gemma2", _GROUPED | {"query_pre_attn_scalar": 8}),
    "gemma3_text": (
        "Gemma3",
        _GROUPED
        | {
            "query_pre_attn_scalar": 8,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "olmo2": ("Olmo2", _WIDE),
    "cohere": ("Cohere", _WIDE),
    "granite": ("Granite", _WIDE),
    "glm4": ("Glm4", _GROUPED | {"pad_token_id": 0}),
    "smollm3": ("SmolLM3", _WIDE | {"pad_token_id": 0}),
    "starcoder2": ("Starcoder2", _WIDE),
    "nemotron": ("Nemotron", _FULL | {"head_dim": 8}),
}
ROUTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("Mixtral", _WIDE | {"num_key_value_heads": 2, "num_local_experts": 4}),
    "qwen2_moe": (
        "Qwen2Moe",
        _FULL
        | {
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        _GROUPED | {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [1]},
    ),
    "olmoe": ("Olmoe", _WIDE | {"num_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("GptOss", _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek_v3": (
        "DeepseekV3",
        _FULL
        | {"n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16}
        | {"first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "head_dim": 8}
        | dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    ),
    "granitemoe": ("GraniteMoe", _WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


_T5 = {
    "vocab_size": _V,
    "d_model": _H,
    "d_kv": 8,
    "d_ff": _I,
    "num_layers": _L,
    "num_decoder_layers": _L,
    "num_heads": 4,
    "tie_word_embeddings": False,
}
ENCODER_DECODERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "t5 (2019)": ("T5", _T5 | {"feed_forward_proj": "relu", "tie_word_embeddings": True}),
    "mt5": ("MT5", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5", _T5 | {"feed_forward_proj": "gated-gelu"}),
}


def build(name: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """The bare model, random but the same at every call."""
    torch.manual_seed(0)
    prefix, options = (ENCODERS | DECODERS | ENCODER_DECODERS | ROUTED)[name]
    if prefix == "Gemma3":
        config, head = transformers.Gemma3TextConfig(**options), transformers.Gemma3ForCausalLM
    else:
        config = getattr(transformers, f"{prefix}Config")(**options)
        if name in ENCODER_DECODERS:
            config.decoder_start_token_id = sentinels().pad_token_id
        heads = (
            ("ForMaskedLM", "WithLMHeadModel")
            if name in ENCODERS
            else ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")
        )
        head = next(getattr(transformers, prefix + h) for h in heads if hasattr(transformers, prefix + h))
    return scaled(head(config), 1.5 if name in ENCODER_DECODERS else 8.0).to(dtype)  # T5 does not scale its attention


def load(name: str, dtype: torch.dtype = torch.float64) -> LoadedModel:
    kind, tokenizer = ("encoder", wordpiece()) if name in ENCODERS else ("decoder", byte_level())
    if name in ENCODER_DECODERS:
        kind, tokenizer = "encoder-decoder", sentinels()
    return wrap_model(build(name, dtype), tokenizer, kind, name=name, ours=name in ROUTED)
