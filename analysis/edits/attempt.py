"""What if: the model's answer to a query with a set of neurons changed, beside its answer unedited (eq. 11 by hand).

Nothing is stored: a person tries one change after the other. A query is recorded once, and each try replays from the lowest
edited layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from knscope.analysis.engine.edits import Edit, FlatEdits
from knscope.analysis.engine.logits import Prediction, predictions, probabilities, read_logits
from knscope.analysis.types import Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine, Prepared
    from knscope.analysis.prompts.encode import EncodedQuery

LIKELIEST = 5
"""Next tokens that are named before and after."""


@dataclass(frozen=True)
class Side:
    """The model with or without the edit: p and rank of the answer, and the likeliest next tokens with their p.

    ids, probabilities: (LIKELIEST,), likeliest first, of the answer's first token.
    """

    p: float
    rank: int
    ids: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Begun:
    """A query that was recorded, and what the model answers unedited."""

    query: EncodedQuery
    prepared: Prepared
    before: Side


def begin(engine: Engine, query: EncodedQuery) -> Begun:
    """Record a query."""
    prepared = engine.prepare([query])
    (found,) = predictions(prepared.logits, prepared.gold, len(query.steps))
    return Begun(query, prepared, _side(found, prepared.logits[:1]))


def attempt(engine: Engine, begun: Begun, edit: Edit) -> Side:
    """The query under an edit at each step's answer position."""
    steps, prepared = len(begun.query.steps), begun.prepared
    p, ranks = np.empty(steps, np.float64), np.empty(steps, np.int64)
    first: list[Tensor] = []

    def keep(rows: Ints, states: Tensor, logits: Tensor) -> None:
        """logits (rows, vocabulary): row r is step r."""
        p[rows], ranks[rows] = read_logits(logits, prepared.gold[states])
        first.extend(logits[place : place + 1].clone() for place, row in enumerate(rows.tolist()) if row == 0)

    engine.run_edits(prepared, np.arange(steps), FlatEdits.of([edit]).at_each(steps), keep)
    return _side(Prediction(p, ranks, ranks), first[0])


def _side(found: Prediction, logits: Tensor) -> Side:
    """`logits` (1, vocabulary) of the first step."""
    best = probabilities(logits.double())[0].topk(min(LIKELIEST, logits.shape[1]))
    return Side(float(found.p), int(found.rank), tuple(best.indices.tolist()), tuple(best.values.tolist()))
