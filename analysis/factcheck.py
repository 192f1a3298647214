"""What a model does with claims: a fact with its right object and with a wrong one (made in `claims`).

Judging is in `judging`, which needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.attribution import attribute

if TYPE_CHECKING:
    from analysis.method import MethodConfig
    from analysis.prompts import EncodedQuery
    from analysis.replay import Engine


@dataclass(frozen=True)
class ClaimReading:
    """A claim on one model: the candidate's probability, and two values of every neuron asked for (J,).

    `activation`: the candidate stands in the text, mean over its tokens' positions. `attribution`: the candidate is the
    answer attributed.
    """

    p: float
    p_root: float
    rank: int
    is_argmax: bool
    activation: npt.NDArray[np.float32]
    attribution: npt.NDArray[np.float32]


def read_claims(
    engine: Engine, queries: Sequence[EncodedQuery], neurons: Sequence[npt.ArrayLike], method: MethodConfig
) -> list[ClaimReading]:
    """Read each claim (a query whose object is the candidate, right or wrong) at its own `neurons`."""
    readings = []
    scored = attribute(engine, queries, method)
    for query, wanted, one in zip(queries, neurons, scored, strict=True):
        chosen = np.asarray(wanted, dtype=np.int64)
        found = one.prediction
        readings.append(
            ClaimReading(
                found.p,
                found.p_root,
                found.rank,
                found.known,
                engine.object_activations(query)[chosen],
                one.scores[chosen],
            )
        )
    return readings
