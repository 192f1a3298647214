"""Which other facts a path may start from (baselines `mean` and `resample`): drawn by a seed. Knows no torch.

They are drawn from all the data that a run names, whatever facts it asks: the key of a result names the seed and not the draw. More are
drawn than are used, in order, since a model may not be able to read some.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from knscope.analysis.attribution.method import MethodConfig
from knscope.analysis.prompts.encode import Query

MEAN_OVER = 32
"""Queries of the language whose mean activations are a baseline."""
DRAWN = {"mean": 4 * MEAN_OVER, "resample": 16}
"""How many are drawn: half of a published dataset's templates may be none for a decoder."""
T = TypeVar("T")
Others = Mapping[str, tuple[Query, ...]]
"""By language for `mean`, by the query's id for `resample`."""


def needs_others(method: MethodConfig) -> bool:
    return method.baseline in ("mean", "resample")


def draw_others(method: MethodConfig, queries: Sequence[Query], pool: Sequence[Query]) -> Others:
    """For each query's language some queries of the pool, or for each query one of its language on another relation (where there
    is none, on another subject), with more to spare. Where there is neither, nothing. The draw does not depend on the pool's order."""

    def lot(*names: str) -> str:
        return hashlib.sha256(":".join((str(method.seed), *names)).encode()).hexdigest()

    if method.baseline == "mean":
        langs = dict.fromkeys(query.lang for query in queries)
        drawn = {lang: sorted((q for q in pool if q.lang == lang), key=lambda q: lot(q.id)) for lang in langs}
        return {lang: tuple(found[: DRAWN["mean"]]) for lang, found in drawn.items() if found}
    if method.baseline != "resample":
        return {}
    by_lang: dict[str, list[Query]] = {}
    for query in pool:
        by_lang.setdefault(query.lang, []).append(query)
    found: dict[str, tuple[Query, ...]] = {}
    for query in queries:
        others = [q for q in by_lang.get(query.lang, ()) if q.fact != query.fact and q.subject != query.subject]
        far = [other for other in others if other.relation != query.relation] or others
        if far:
            found[query.id] = tuple(sorted(far, key=lambda other, of=query.id: lot(of, other.id))[: DRAWN["resample"]])  # type: ignore[misc]
    return found


def used(method: MethodConfig, drawn: Sequence[T]) -> Sequence[T]:
    """Those of one draw that count, of the ones that the model can read."""
    return drawn[: MEAN_OVER if method.baseline == "mean" else 1]
