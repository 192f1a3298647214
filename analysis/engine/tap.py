"""Gradients at activations that a pass computes itself: taken where they flow by, without a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def tapped(leaf: Tensor, answer: Tensor, x: Tensor, position: Tensor) -> Tensor:
    """x (rows, tokens, width) as it is; the gradient of its first rows goes to `leaf`: (n, width) at the answer position,
    or (n, tokens, width).

    A last block that runs for the answer position alone has it at `position` 0, and in the prompt at `answer`.
    """
    tapped = _Tap.apply(x, leaf, position[: len(leaf)], answer)  # type: ignore[no-untyped-call]
    assert isinstance(tapped, Tensor)
    return tapped


class _Tap(torch.autograd.Function):
    """Zeros added to x without a copy of x: x itself, whose gradient is also that of the zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leaf: Tensor, position: Tensor, answer: Tensor) -> Tensor:
        ctx.leaf, ctx.position, ctx.answer = leaf.shape, position, answer
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        n, grad = ctx.leaf[0], grads[0]
        everyone = torch.arange(n, device=grad.device)
        if len(ctx.leaf) == 2:
            return grad, grad[everyone, ctx.position], None, None
        if grad.shape[1] == ctx.leaf[1]:
            return grad, grad[:n], None, None
        whole = grad.new_zeros(ctx.leaf)
        whole[everyone, ctx.answer] = grad[everyone, ctx.position]
        return grad, whole, None, None
