"""What a proof finds: an exact way to compute edits, for which case, and what a row of it costs."""

from __future__ import annotations

from dataclasses import dataclass

from knscope.analysis.engine.circuit import Recipe

_CPU_PASS_BYTES = 1 << 28
"""Bytes of a pass on a CPU: larger ones gain nothing and lose time to page faults,"""
_CPU_PASS_ROWS = 64
"""unless the pass holds fewer rows than this, which the product with the vocabulary needs: then twice as many bytes."""

_PASS_SHARE = 0.75
"""Share of the budget that one pass may fill; the rest is for the recording and the sums over paths."""


@dataclass(frozen=True)
class Cost:
    """Bytes that a row takes: `token` per token over all blocks with a gradient, `head` for logits and their gradient,
    `cache` per token of the cached prefix, which every row copies, `cache_back` for its backward in one block's
    attention."""

    token: int
    head: int
    cache: int = 0
    cache_back: int = 0

    def row(self, tokens: int, gradient: bool, prefix: int = 0) -> float:
        """Bytes of one row. Without a gradient only a few blocks' tensors live at a time."""
        behind = self.cache + (self.cache_back if gradient else 0)
        return self.token * tokens * (1.0 if gradient else 0.25) + self.head + behind * prefix

    def rows(self, budget: int, tokens: int, gradient: bool, cpu: bool, prefix: int = 0) -> int:
        """Rows that fit."""
        fit = _PASS_SHARE * budget / self.row(tokens, gradient, prefix)
        if cpu:  # a copied prefix is read once and does not slow a pass down: it counts against the budget alone
            quick = _CPU_PASS_BYTES / self.row(tokens, gradient)
            fit = min(fit, max(quick, min(2 * quick, _CPU_PASS_ROWS)))
        return max(1, int(fit))


@dataclass(frozen=True)
class Case:
    """What a way is proven for."""

    whole: bool = False
    """Edits of all positions, which leave no prefix unchanged."""
    prefix: bool = True
    """Prompts whose cached prefix no sliding window cuts."""
    linear: bool = True
    """Sites that a plain matrix follows."""


@dataclass(frozen=True)
class Way:
    """A recipe that is exact on a model."""

    recipe: Recipe
    error: float
    """Largest relative difference from full forwards, in logits and gradients."""
    refused: tuple[tuple[str, str], ...] = ()
    """Faster recipes that are not exact on this model, each with the reason."""
