"""The product with the vocabulary, in pieces that stay in a processor's cache.

A head's weights (vocabulary, hidden) are the largest of a model and are read for a few dozen rows. In one product a
processor's library rearranges all of them first; a piece of them at a time costs it a third less (measured in
docs/engine.md). The numbers are the same to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_PIECE = 1 << 19
"""Weights a piece: 2 MiB in float32, about what a core's cache holds."""


def in_pieces(head: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What to run in place of the head's forward; None where its own is as good (on a GPU, in half precision, a small
    vocabulary) or the head is not a plain product."""
    if type(head) is not nn.Linear or head.weight.numel() <= 2 * _PIECE:
        return None
    if head.weight.device.type != "cpu" or head.weight.dtype not in (torch.float32, torch.float64):
        return None

    def forward(x: Tensor) -> Tensor:
        logits = _Product.apply(x.reshape(-1, x.shape[-1]), head.weight, head.bias)  # type: ignore[no-untyped-call]
        assert isinstance(logits, Tensor)
        return logits.view(*x.shape[:-1], -1)  # (..., vocabulary)

    return forward


class _Product(torch.autograd.Function):
    """x (rows, hidden) @ weight.T + bias -> (rows, vocabulary). No gradient of the parameters: they are frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        out = x.new_empty(len(x), len(weight))
        size = max(1, _PIECE // weight.shape[1])
        for start in range(0, len(weight), size):
            piece = slice(start, start + size)
            if bias is None:
                torch.mm(x, weight[piece].t(), out=out[:, piece])
            else:
                torch.addmm(bias[piece], x, weight[piece].t(), out=out[:, piece])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] @ ctx.weight, None, None
