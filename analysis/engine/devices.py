"""The callbacks that a pass puts into a model's forward, and how they see a model spread over several devices.

What a callback is given lies on the device of the model's first weights; what it gives back goes where its input came
from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

OnBlock = Callable[[int, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""(index, the block's own forward, args, kwargs) -> what the block returns."""

LayerOf = Callable[[dict[int, int]], int]
"""Layers by block -> the layer of the block that runs."""

OnTensor = Callable[[int, Tensor], Tensor | None]
"""(layer, tensor) -> its replacement, or None to leave it."""


@dataclass(frozen=True)
class Home:
    """Where the passes' own tensors lie."""

    device: torch.device
    alone: bool
    """Whether all of the model lies there too: then callbacks stay as they are."""

    @classmethod
    def of(cls, model: nn.Module) -> Home:
        devices = [parameter.device for parameter in model.parameters()]
        return cls(devices[0], len(set(devices)) == 1)

    def blocks(self, on_block: OnBlock) -> OnBlock:
        if self.alone:
            return on_block

        def at_home(index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                out = forward(*args, **kwargs)
                return with_hidden(out, hidden_of(out).to(self.device))

            return on_block(index, run, (args[0].to(self.device), *args[1:]), kwargs)

        return at_home

    def tensors(self, on_tensor: OnTensor) -> OnTensor:
        if self.alone:
            return on_tensor

        def at_home(layer: int, x: Tensor) -> Tensor | None:
            new = on_tensor(layer, x.to(self.device))
            return None if new is None else new.to(x.device)

        return at_home

    def head(self, on_head: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return on_head if self.alone else lambda h: on_head(h.to(self.device)).to(h.device)


def hidden_of(out: Any) -> Tensor:
    """The hidden states among a block's outputs."""
    tensor = out if isinstance(out, Tensor) else out[0]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def with_hidden(out: Any, hidden: Tensor) -> Any:
    """The block's outputs with other hidden states."""
    return hidden if isinstance(out, Tensor) else (hidden, *out[1:])
