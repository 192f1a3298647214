"""A model spread over several devices, seen from one: what the passes are handed lies on the device of its first weights,
and what they give back goes where it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knscope.analysis.engine.callbacks import OnBlock, OnModule, OnProduct, OnTensor, hidden_of, with_hidden


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

    def modules(self, on_module: OnModule) -> OnModule:
        if self.alone:
            return on_module
        return lambda forward, x: on_module(self._giving(forward), x.to(self.device)).to(x.device)

    def products(self, on_product: OnProduct) -> OnProduct:
        if self.alone:
            return on_product
        return lambda layer, forward, x: on_product(layer, self._giving(forward), x.to(self.device)).to(x.device)

    def _giving(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: forward(x).to(self.device)
