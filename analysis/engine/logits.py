"""Read logits: the probability and rank of the answer's tokens, and the target F that is attributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from knscope.analysis.types import Bools, Floats, Ints

_CHUNK = 1 << 18
"""Logits read at a time on a CPU: they stay in its cache while they are gone through."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of the answer's T tokens, each with the gold tokens before it filled in."""

    p_steps: Floats
    ranks: Ints
    """1 for the most probable token."""
    argmax: Ints
    """Token ids."""

    @property
    def p(self) -> float:
        return float(np.prod(self.p_steps))

    @property
    def p_root(self) -> float:
        """p^(1/T), comparable between answers of different lengths."""
        return float(self.p ** (1 / len(self.p_steps)))

    @property
    def rank(self) -> int:
        return int(self.ranks[0])

    @property
    def known(self) -> bool:
        return bool((self.ranks == 1).all())


@dataclass(frozen=True)
class Edited:
    """The answer's T tokens before any edit and under each of n: p, ranks (n, T)."""

    before: Prediction
    p: Floats
    ranks: Ints

    @property
    def p_answer(self) -> Floats:
        """(n,): p(answer), the product over its tokens."""
        return np.asarray(self.p.prod(axis=1), np.float64)

    @property
    def known(self) -> Bools:
        """(n,): every token still comes first."""
        return np.asarray((self.ranks == 1).all(axis=1), np.bool_)


def read_logits(logits: Tensor, gold: Tensor) -> tuple[Floats, Ints]:
    """Probability and rank (1 for the most probable) of `gold` (rows,) under logits (rows, vocabulary)."""
    p = torch.empty(len(gold), dtype=torch.float64, device=logits.device)
    ranks = torch.empty(len(gold), dtype=torch.int64, device=logits.device)
    for rows in row_chunks(logits):
        part = logits[rows]
        part = part if part.dtype == torch.float64 else part.float()
        places = gold[rows, None]
        p[rows] = probabilities(part).gather(1, places)[:, 0].double()
        ranks[rows] = 1 + (part > part.gather(1, places)).sum(-1)
    return p.cpu().numpy(), ranks.cpu().numpy()


def row_chunks(logits: Tensor) -> list[slice]:
    """Rows to go through together."""
    rows, vocabulary = logits.shape
    size = max(1, _CHUNK // vocabulary) if logits.device.type == "cpu" else max(1, rows)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def predictions(logits: Tensor, gold: Tensor, steps: int) -> list[Prediction]:
    """Predictions from logits (rows, vocabulary) whose rows are queries times steps."""
    p, ranks = read_logits(logits, gold)
    argmax = logits.argmax(-1).cpu().numpy()
    return [Prediction(*row) for row in zip(*(x.reshape(-1, steps) for x in (p, ranks, argmax)), strict=True)]


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits (rows, vocabulary), in their precision.

    torch's own softmax adds up a CPU row's exponentials one by one: in float32 the probability of one of 50,000 tokens is
    then off by 2e-5 of itself, more than the convergence test allows an integral. `Tensor.sum` adds in pairs, which
    leaves less than 1e-6 and takes two thirds of the time.
    """
    powers = (logits - logits.amax(-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(-1, keepdim=True))


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax of logits (rows, vocabulary), in their precision."""
    below = logits - logits.amax(-1, keepdim=True)
    return below.sub_(below.exp().sum(-1, keepdim=True).log_())


def value(target: str, logits: Tensor, gold: Tensor) -> Tensor:
    """F (rows,) of logits (rows, vocabulary): the `prob`, `logprob` or `logit` of the gold tokens (rows,)."""
    f = torch.empty(len(gold), dtype=_precise(logits), device=gold.device)
    for rows in row_chunks(logits):
        part = logits[rows].to(f.dtype)
        if target != "logit":
            part = log_probabilities(part) if target == "logprob" else probabilities(part)
        f[rows] = part.gather(1, gold[rows, None])[:, 0]
    return f


def value_and_slope(target: str, logits: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
    """F (rows,) and dF/dlogits (rows, vocabulary), written out: p_y (1[v = y] - p_v), without the p_y for log p."""
    if target == "logit":
        return value(target, logits, gold), torch.zeros_like(logits).scatter_(1, gold[:, None], 1)
    f, slope = torch.empty(len(gold), dtype=_precise(logits), device=gold.device), torch.empty_like(logits)
    for rows in row_chunks(logits):  # a few at a time, which stay in the processor's cache
        p, places = probabilities(logits[rows].to(f.dtype)), gold[rows, None]
        at_gold = p.gather(1, places)
        f[rows] = value(target, logits[rows], gold[rows]) if target == "logprob" else at_gold[:, 0]
        scale = torch.ones_like(at_gold) if target == "logprob" else at_gold
        slope[rows] = p.mul_(-scale).scatter_add_(1, places, scale)
    return f, slope


def _precise(logits: Tensor) -> torch.dtype:
    """The precision of probabilities: float64 for a float64 model, float32 for all others."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
