"""Hold attribution methods against measured truth on one model, fact by fact (what `knscope faithfulness` runs).

Everything measured is returned raw, one row a (query, ablation, method); means, intervals and the choice of a default are
made of the rows in `tables.faithfulness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

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
from knscope.analysis.types import Floats, Ints

TOGETHER = 8
"""Items attributed together, before they are measured one by one."""
Scores = Callable[[str, Sequence[EncodedQuery]], Iterable[npt.NDArray[np.floating]]]
"""(method, queries) -> scores (n_neurons,) of each."""


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
    overlap: float | None
    chance: float | None


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


class Kept(Protocol):
    """What items came to before."""

    def find(self, item: Item) -> Comparison | None: ...

    def keep(self, item: Item, found: Comparison) -> None: ...


def compare(
    engine: Engine,
    items: Sequence[Item],
    methods: Sequence[str] = COMPARED,
    *,
    means: Mapping[str, npt.NDArray[np.float32]] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    singles: int | None = None,
    scores: Scores | None = None,
    kept: Kept | None = None,
    progress: Callable[[int], bool] = lambda done: True,
) -> Comparison:
    """Measure every method on every item. `progress` hears how many are done, and ends the work by returning False.

    `means` are mean activations (n_neurons,) by language, for the ablation of that name; those of the items unless given.
    `singles`: how many neurons, drawn by the seed, are ablated alone; None: all; 0: none, and no agreement with them is said.
    `scores` attributes queries by a method, in its stead where they are stored; `kept` finds and keeps what an item comes to.
    """
    queries = [item.query for item in items]
    scores = scores or (lambda name, some: [one.scores for one in attribute(engine, some, parse_method(name))])
    if means is None:
        means = {lang: _mean_of(engine, queries, lang) for lang in {query.query.lang for query in queries}}
    rows: list[Row] = []
    groups: list[GroupRow] = []
    chosen = _drawn(engine, singles, seed)
    for start in range(0, len(items), TOGETHER):
        part = items[start : start + TOGETHER]
        found = [kept.find(item) if kept else None for item in part]
        lacking = [item for item, done in zip(part, found, strict=True) if done is None]
        scored = {name: iter(scores(name, [item.query for item in lacking])) for name in methods if lacking}
        for place, (item, done) in enumerate(zip(part, found, strict=True), start + 1):
            if done is None:
                of_item = {name: next(each).astype(np.float64) for name, each in scored.items()}
                noise = noise_floor(engine, item.query)
                mine: list[Row] = []
                for ablation in ABLATIONS:
                    values = _values(engine, item, ablation, means)
                    mine += _measure(engine, item, ablation, values, of_item, noise, chosen)
                group = tuple(_group(engine, item, of_item, permutations, seed)) if item.grouped else ()
                done = Comparison(tuple(mine), group)
                if kept:
                    kept.keep(item, done)
            rows += done.rows
            groups += done.groups
            if not progress(place):
                return Comparison(tuple(rows), tuple(groups))
    return Comparison(tuple(rows), tuple(groups))


def _drawn(engine: Engine, singles: int | None, seed: int) -> Ints:
    """The neurons that are ablated alone."""
    n = engine.loaded.n_neurons
    if singles is None or singles >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, singles, replace=False))


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
    noise: float,
    chosen: Ints,
) -> Iterator[Row]:
    if ablation == "resample" and values is None:
        return
    truth = single_effects(engine, item.query, values, chosen)
    orders = [np.argsort(-one, kind="stable")[:TOP] for one in scores.values()]
    own_curves = deletion_curves(engine, item.query, orders, values, POINTS)
    others = [item.irrelevant, *(item.alike.get(kind, ()) for kind in KINDS[1:])]
    asides = [[deletion_curves(engine, one, orders, values, POINTS) for one in some] for some in others]
    for place, (name, one) in enumerate(scores.items()):
        own = own_curves[place]
        other, relation, answer = (specific_area(own, [curves[place] for curves in some]) for some in asides)
        found = agreement(one[chosen], truth, noise)
        query = item.query.query
        yield Row(
            query.fact, item.subject, query.lang, ablation, name, other, relation, answer, -area(own),
            found.spearman, found.n, found.overlap, found.chance,
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
