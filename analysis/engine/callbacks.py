"""What is called in the middle of a model's forward, and what of a block's outputs it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

OnBlock = Callable[[int, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""(index, the block's own forward, args, kwargs) -> what the block returns."""

OnModule = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""(the module's own forward, its input) -> what the module returns."""

OnProduct = Callable[[int, Callable[[Tensor], Tensor], Tensor], Tensor]
"""(layer, the second MLP linear's own forward, its input) -> what it returns."""

LayerOf = Callable[[dict[int, int]], int]
"""Layers by block -> the layer of the block that runs."""

OnTensor = Callable[[int, Tensor], Tensor | None]
"""(layer, tensor) -> its replacement, or None to leave it."""


def hidden_of(out: Any) -> Tensor:
    """The hidden states among a block's outputs."""
    tensor = out if isinstance(out, Tensor) else out[0]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def with_hidden(out: Any, hidden: Tensor) -> Any:
    """The block's outputs with other hidden states."""
    return hidden if isinstance(out, Tensor) else (hidden, *out[1:])
