"""Tensors read and written at one position a row, with backwards that touch each place once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def take(h: Tensor, position: Tensor) -> Tensor:
    """h (rows, tokens, ...) at one position per row: (rows, 1, ...)."""
    if h.shape[1] == 1:
        return h
    taken = _Take.apply(h, position)  # type: ignore[no-untyped-call]
    assert isinstance(taken, Tensor)
    return taken


class _Take(torch.autograd.Function):
    """h[row, position[row]] with a backward that writes each place once instead of accumulating by index."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, position: Tensor) -> Tensor:
        everyone = torch.arange(len(position), device=h.device)
        ctx.shape, ctx.index = h.shape, (everyone, position)
        return h[everyone, position][:, None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].new_zeros(ctx.shape)
        grad[ctx.index] = grads[0][:, 0]
        return grad, None


class Put(torch.autograd.Function):
    """Rows lo..hi of x (rows, tokens, width) with `values` at their positions (or in place of all tokens).

    The gradient of those rows' old activations is left as it comes: nothing that needs one lies below a row's first
    edit.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, lo: int, hi: int, position: Tensor) -> Tensor:
        ctx.lo, ctx.hi, ctx.whole = lo, hi, values.dim() == 3
        ctx.index = (torch.arange(lo, hi, device=x.device), position[lo:hi])
        new = x.clone()
        if ctx.whole:
            new[lo:hi] = values
        else:
            new[ctx.index] = values
        return new

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        return grads[0], grads[0][ctx.lo : ctx.hi] if ctx.whole else grads[0][ctx.index], None, None, None


def tapped(leaf: Tensor, answer: Tensor, x: Tensor, position: Tensor) -> Tensor:
    """Return x (rows, tokens, width) unchanged; the gradient of its first n rows also goes to `leaf`: (n, width) at the
    answer position, or (n, tokens, width).

    In a last block that runs for the answer position alone, `position` is 0 and `answer` the position in the prompt.
    """
    tapped = _Tap.apply(x, leaf, position[: len(leaf)], answer)  # type: ignore[no-untyped-call]
    assert isinstance(tapped, Tensor)
    return tapped


class _Tap(torch.autograd.Function):
    """x + zeros without a copy: x itself, whose gradient is also that of the zeros."""

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
