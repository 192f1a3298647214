"""Hold attribution methods against measured truth on one model, fact by fact (what `knscope faithfulness` runs).

Everything measured is returned raw, one row a (query, ablation, method); means, intervals and the choice of a default are
made of the rows in `tables.faithfulness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.edits.measure import mean_activations
from knscope.analysis.edits.sets import ABLATIONS, KINDS, Ablation, Kind
from knscope.analysis.engine.replay import Engine
from knscope.analysis.faithfulness.judge import COMPARED, agreement, area, spearman, specific_area
from knscope.analysis.faithfulness.measure import (
    PERMUTATIONS,
    POINTS,
    POOL,
    TOP,
    deletion_curves,
    group_effects,
    insertion_curve,
    noise_floor,
    pooled_top,
    single_effects,
)
from knscope.analysis.prompts.encode import EncodedQuery
from knscope.analysis.types import Floats


@dataclass(frozen=True)
class Item:
    """One known main query, its fact's subject, and the same language's queries of its irrelevant facts.

    `source` is one more of these, whose activations the ablation `resample` puts in: on an irrelevant fact of the
    curves its own values would change nothing. `alike`: queries of facts of the same relation, by kind. `grouped` asks for
    the group truth too, which costs most.
    """

    query: EncodedQuery
    subject: str
    irrelevant: tuple[EncodedQuery, ...]
    source: EncodedQuery | None = None
    alike: Mapping[Kind, tuple[EncodedQuery, ...]] = field(default_factory=dict)
    grouped: bool = False


@dataclass(frozen=True)
class Row:
    """One method on one query under one ablation. `area` is the primary metric, `area_relation` and `area_answer` the same with
    facts of the same relation in the place of irrelevant ones: with another answer, and with the same one. Drops are mean log
    p, in nats.
    """

    fact: str
    subject: str
    lang: str
    ablation: str
    method: str
    area: float | None
    area_relation: float | None
    area_answer: float | None
    drop: float
    spearman: float | None
    neurons: int
    overlap: float
    chance: float


@dataclass(frozen=True)
class GroupRow:
    """One method on one query within the pool: agreement with the group truth and with single ablation there.

    `insertion` is the mean rise of log p as the pool is restored in the method's order; `error` the mean standard error of
    the group truth.
    """

    fact: str
    subject: str
    lang: str
    method: str
    pool: int
    group: float | None
    single: float | None
    insertion: float
    error: float


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    groups: tuple[GroupRow, ...]

    def to_json(self) -> dict[str, object]:
        return {"rows": [asdict(row) for row in self.rows], "groups": [asdict(row) for row in self.groups]}


def compare(
    engine: Engine,
    items: Sequence[Item],
    methods: Sequence[str] = COMPARED,
    *,
    ablations: Sequence[Ablation] = ABLATIONS,
    means: Mapping[str, npt.NDArray[np.float32]] | None = None,
    top: int = TOP,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Callable[[int], bool] = lambda done: True,
) -> Comparison:
    """Measure every method on every item. `progress` hears how many are done, and ends the work by returning False.

    `means` are mean activations (n_neurons,) by language, for the ablation of that name; those of the items unless given.
    """
    queries = [item.query for item in items]
    scored = {name: [one.scores for one in attribute(engine, queries, parse_method(name))] for name in methods}
    if means is None:
        means = {lang: _mean_of(engine, queries, lang) for lang in {query.query.lang for query in queries}}
    rows: list[Row] = []
    groups: list[GroupRow] = []
    for place, item in enumerate(items):
        scores = {name: found[place].astype(np.float64) for name, found in scored.items()}
        noise = noise_floor(engine, item.query)
        for ablation in ablations:
            values = _values(engine, item, ablation, means)
            rows += _measure(engine, item, ablation, values, scores, top, noise)
        if item.grouped:
            groups += _group(engine, item, scores, permutations, seed)
        if not progress(place + 1):
            break
    return Comparison(tuple(rows), tuple(groups))


def _mean_of(engine: Engine, queries: Sequence[EncodedQuery], lang: str) -> npt.NDArray[np.float32]:
    return mean_activations(engine, [query for query in queries if query.query.lang == lang])


def _values(
    engine: Engine, item: Item, ablation: Ablation, means: Mapping[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32] | None:
    """What an ablated neuron becomes: 0, its mean in the language, or its activation on another relation's fact."""
    if ablation == "mean":
        return means[item.query.query.lang]
    if ablation == "resample" and item.source:
        return mean_activations(engine, [item.source])
    return None


def _measure(
    engine: Engine,
    item: Item,
    ablation: Ablation,
    values: npt.NDArray[np.float32] | None,
    scores: dict[str, Floats],
    top: int,
    noise: float,
) -> Iterator[Row]:
    if ablation == "resample" and values is None:
        return
    truth = single_effects(engine, item.query, values)
    orders = [np.argsort(-one, kind="stable")[:top] for one in scores.values()]
    own_curves = deletion_curves(engine, item.query, orders, values, POINTS)
    others = [item.irrelevant, *(item.alike.get(kind, ()) for kind in KINDS[1:])]
    asides = [[deletion_curves(engine, one, orders, values, POINTS) for one in some] for some in others]
    for place, (name, one) in enumerate(scores.items()):
        own = own_curves[place]
        other, relation, answer = (specific_area(own, [curves[place] for curves in some]) for some in asides)
        found = agreement(one, truth, noise)
        query = item.query.query
        yield Row(
            query.fact, item.subject, query.lang, ablation, name, other, relation, answer, -area(own),
            found.spearman, found.n, found.overlap or 0.0, found.chance or 0.0,
        )  # fmt: skip


def _group(engine: Engine, item: Item, scores: dict[str, Floats], permutations: int, seed: int) -> Iterator[GroupRow]:
    orders = {name: np.argsort(-one, kind="stable") for name, one in scores.items()}
    pool = pooled_top(list(orders.values()), POOL)
    together = group_effects(engine, item.query, pool, permutations=permutations, seed=seed)
    alone = single_effects(engine, item.query, neurons=pool)
    query = item.query.query
    for name, one in scores.items():
        restored = insertion_curve(engine, item.query, orders[name], pool)
        yield GroupRow(
            query.fact, item.subject, query.lang, name, len(pool), spearman(one[pool], together.mean),
            spearman(one[pool], alone), area(restored), float(together.error.mean()) if len(pool) else 0.0,
        )  # fmt: skip
