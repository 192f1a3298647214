"""What if: the model's answer to a query with a set of neurons scaled, beside its answer unedited (eq. 11 by hand).

Nothing is stored: a person tries one factor after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from knscope.analysis.engine.edits import Edit, FlatEdits
from knscope.analysis.engine.logits import log_probabilities
from knscope.analysis.types import Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine
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


def attempt(engine: Engine, query: EncodedQuery, neurons: Sequence[int], factor: float) -> tuple[Side, Side]:
    """The query unedited, and with the activations of flat `neurons` multiplied by `factor` at each step's answer position."""
    edits = [Edit.scaled([], 1.0), Edit.scaled(neurons, factor)]
    steps = len(query.steps)
    likeliest: dict[int, tuple[list[int], list[float]]] = {}

    def more(rows: Ints, logits: Tensor) -> None:
        for place, row in enumerate(rows.tolist()):
            if row % steps == 0:  # logits (rows, vocabulary): row r is edit r // steps at step r % steps
                best = (
                    log_probabilities(logits[place : place + 1].double())[0].exp().topk(min(LIKELIEST, logits.shape[1]))
                )
                likeliest[row // steps] = best.indices.tolist(), best.values.tolist()

    found = engine.edited_rows(query, FlatEdits.of(edits), len(edits), more)
    sides = []
    for number in range(len(edits)):
        ids, probabilities = likeliest[number]
        p, rank = float(np.prod(found.p[number])), int(found.ranks[number, 0])
        sides.append(Side(p, rank, tuple(ids), tuple(probabilities)))
    return sides[0], sides[1]
