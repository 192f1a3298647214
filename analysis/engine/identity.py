"""The identity of a model: hashes of everything its results depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class ModelIdentity:
    """Two models with the same hashes, dtype and attention implementation give the same results."""

    name: str
    source: str
    revision: str
    architecture: str
    dtype: str
    attention: str
    weights_hash: str
    tokenizer_hash: str

    @property
    def label(self) -> str:
        """`<name>@<8 hex>`, or `<name>-<dtype>@<8 hex>` where that is not float32: how tables and people call the model."""
        parts = (self.weights_hash, self.tokenizer_hash, self.dtype, self.attention)
        name = self.name if self.dtype == "float32" else f"{self.name}-{self.dtype}"
        return f"{name}@{hashlib.sha256(':'.join(parts).encode()).hexdigest()[:8]}"


def weights_hash(model: Any, site_pattern: str | None = None) -> str:
    """sha256 of every tensor and of the configuration that says how they are used; with a pattern that names the neurons, another
    model's."""
    config = {
        k: v
        for k, v in model.config.to_dict().items()
        if k not in ("_name_or_path", "transformers_version", "architectures")
    }
    config = {
        k: v for k, v in config.items() if k not in ("dtype", "torch_dtype", "_commit_hash", "_attn_implementation")
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    if site_pattern:
        digest.update(f"site:{site_pattern}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return hashlib.sha256((tokenizer.backend_tokenizer.to_str() + special).encode()).hexdigest()
