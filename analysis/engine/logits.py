"""What a model makes of an answer: the probability and the rank of its tokens, read off logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from knscope.analysis.engine.probabilities import probabilities
from knscope.analysis.types import Bools, Floats, Ints

_CHUNK = 1 << 18
"""Logits read at a time on a CPU: they stay in its cache while they are gone through."""


@dataclass(frozen=True)
class Prediction:
    """What the model makes of the answer's T tokens, each predicted with the gold ones before it filled in."""

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
