"""What is attributed: F of the answer, its probability unless asked otherwise, and how F changes with the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from knscope.analysis.engine.logits import row_chunks
from knscope.analysis.engine.probabilities import log_probabilities, probabilities


def value(target: str, logits: Tensor, gold: Tensor) -> Tensor:
    """F (rows,) of logits (rows, vocabulary): the `prob`, `logprob` or `logit` of gold (rows,)."""
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
    """What probabilities are computed in: float64 for a float64 model, float32 for all others."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
