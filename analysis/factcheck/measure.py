"""What a model does with claims: a fact with its right object and with a wrong one (made in `claims`).

Judging is in `judging`, which needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from knscope.analysis.attribution.integrate import attribute

if TYPE_CHECKING:
    from knscope.analysis.attribution.method import MethodConfig
    from knscope.analysis.engine.replay import Engine
    from knscope.analysis.prompts.encode import EncodedQuery


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
    engine: Engine,
    queries: Sequence[EncodedQuery],
    neurons: Sequence[npt.ArrayLike],
    method: MethodConfig,
    known: Sequence[npt.ArrayLike | None] = (),
) -> list[ClaimReading]:
    """Read each claim (a query whose object is the candidate, right or wrong) at its own `neurons`.

    `known`: the attributions of those neurons, (J,) each, where they were computed before: a right claim is the fact's
    own query. Without any, all are computed.
    """
    known = known or [None] * len(queries)
    pairs = list(zip(queries, known, strict=True))
    computed = iter(attribute(engine, [query for query, values in pairs if values is None], method))
    predicted = iter(engine.predict([query for query, values in pairs if values is not None]))
    readings = []
    for (query, values), wanted in zip(pairs, neurons, strict=True):
        chosen = np.asarray(wanted, dtype=np.int64)
        if values is None:
            one = next(computed)
            found, attribution = one.prediction, one.scores[chosen]
        else:
            found, attribution = next(predicted), np.asarray(values)
        activation = engine.object_activations(query)[chosen]
        readings.append(
            ClaimReading(found.p, found.p_root, found.rank, found.known, activation, attribution.astype(np.float32))
        )
    return readings
