"""How far N moves when something that should not matter does: templates, node counts, precision, seeds; one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from knscope.analysis.attribution.method import MethodConfig, parse_method
from knscope.analysis.edits.sets import half_templates
from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.stability.judge import Stability, stability
from knscope.analysis.statistics.bootstrap import DRAWS
from knscope.analysis.statistics.columns import ENDS, spread, spread_columns
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.analysis.stored.neuron_sets import sets_of
from knscope.store.address import Addresses
from knscope.store.reader import Reader
from knscope.store.view import View

RULES = (("gauss-lobatto", 5), ("gauss-lobatto", 10), ("gauss-legendre", 20), ("right", 20), ("left", 20), ("left", 10))
SEEDS = ("random", "random+seed=1")
DTYPES = ("float64", "bfloat16")
NOTES = (
    "jaccard: shared neurons over all neurons of the two sets, mean over (fact, language) with any; interval: subjects resampled",
    "seeds: no method but the control random draws anything, so its two seeds show how far apart unrelated rankings are; "
    "another fact: N of a fact against N of another one of its relation. Both are floors",
)
_ATTRIBUTED = """
    SELECT DISTINCT q.fact, q.relation, q.lang, q.template, a.query FROM attribution a JOIN query q USING (query)
    WHERE a.model = $model AND a.method = $method ORDER BY ALL
"""


def node_variants(method: str) -> list[str]:
    """The same method on other quadrature rules and node counts; none for what does not integrate."""
    own = parse_method(method)
    if own.kind != "integrated_gradients":
        return []
    return [other.label for other in (replace(own, rule=rule, nodes=nodes) for rule, nodes in RULES) if other != own]


def variants(method: str) -> tuple[str, ...]:
    """Every method the table wants attributed, in the model's own precision."""
    return tuple(dict.fromkeys((method, *node_variants(method), *SEEDS)))


@dataclass(frozen=True)
class _Place:
    """The facts and languages that all sets are read for."""

    reader: Reader
    view: View
    facts: tuple[str, ...]
    addresses: Addresses

    def sets(self, view: View, chosen: pl.DataFrame | None = None) -> NeuronSets:
        """N of a View; from the queries in `chosen` only, where given."""
        rows = self.reader.sql(_ATTRIBUTED, {"model": view.model, "method": view.method})
        if chosen is not None:
            rows = rows.join(chosen, on="query", how="semi")
            view = view.with_(queries=tuple(rows["query"]))
        present = np.zeros((len(self.facts), len(self.view.langs)), dtype=np.bool_)
        for fact, lang in rows.select("fact", "lang").unique().iter_rows():
            if fact in self.facts and lang in self.view.langs:
                present[self.facts.index(fact), self.view.langs.index(lang)] = True
        return sets_of(self.reader.kn(view), self.facts, self.view.langs, present, self.addresses)


def build(reader: Reader, view: View, seed: int = 0, draws: int = DRAWS) -> Table:
    """One row a variant that is stored beside the View's own model and method."""
    asked = reader.sql(_ATTRIBUTED, {"model": view.model, "method": view.method})
    asked = asked.filter(pl.col("lang").is_in(view.langs))
    if view.facts:
        asked = asked.filter(pl.col("fact").is_in(view.facts))
    place = _Place(reader, view, tuple(asked["fact"].unique(maintain_order=True)), reader.addresses(view.model))
    subject = subject_of(reader)
    labels = [subject[fact] for fact in place.facts]
    rows = []
    for kind, against, reference, name, sets in _compared(place, asked, seed):
        [found] = stability(reference, {name: sets}, labels, draws=draws, seed=seed)
        rows.append(_row(kind, against, found))
    title = f"stability of N: {view.model}, {view.method}"
    return Table("stability", title, pl.DataFrame(rows, schema=_SCHEMA), NOTES, ENDS)


def together(tables: Mapping[str, Table]) -> Table:
    """The tables of several models, by name, as one for a file."""
    frames = [table.frame.select(pl.lit(model).alias("model"), pl.all()) for model, table in tables.items()]
    return Table("stability", "stability of N", pl.concat(frames), NOTES, ENDS)


def _compared(place: _Place, asked: pl.DataFrame, seed: int) -> Iterator[tuple[str, str, NeuronSets, str, NeuronSets]]:
    """kind, reference's name, reference, variant's name, variant."""
    view, reader = place.view, place.reader
    own = place.sets(view)
    halves = _halves(asked, seed)
    if all(one.height for one in halves):
        first, second = (place.sets(view, one) for one in halves)
        yield "templates", "half of them", first, "the other half", second
    stored = reader.methods(view.model)
    for name in node_variants(view.method):
        if name in stored:
            yield "nodes", _rule(view.method), own, _rule(name), place.sets(view.with_(method=name))
    for dtype, label in _other_precisions(reader, view.model):
        if view.method in reader.methods(label):
            yield "precision", _dtype(reader, view.model), own, dtype, place.sets(view.with_(model=label))
    if all(name in stored for name in SEEDS):
        one, other = (place.sets(view.with_(method=name)) for name in SEEDS)
        yield "seeds", "random, seed 0", one, "random, seed 1", other
    shifted = _another_fact(place.facts, dict(asked.select("fact", "relation").iter_rows()))
    another, moved = own.select(shifted), np.array(shifted) != np.arange(len(shifted))
    yield "floor", "a fact", own, "another fact", replace(another, present=another.present & moved[:, None])


def _halves(asked: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Queries on one half of a relation's templates in a language and on the other, of facts that have both."""
    first, second = [], []
    for _, rows in asked.group_by("fact", "lang", maintain_order=True):
        one, other = half_templates(rows["template"].to_list(), seed)
        if other:
            first += rows.filter(pl.col("template").is_in(one))["query"].to_list()
            second += rows.filter(pl.col("template").is_in(other))["query"].to_list()
    return pl.DataFrame({"query": first}, _QUERY), pl.DataFrame({"query": second}, _QUERY)


def _another_fact(facts: tuple[str, ...], relation: dict[str, str]) -> list[int]:
    """For each fact the next one of its relation; a relation's only fact is given back, and is no comparison."""
    members: dict[str, list[int]] = {}
    for place, fact in enumerate(facts):
        members.setdefault(relation[fact], []).append(place)
    following = {one: group[(i + 1) % len(group)] for group in members.values() for i, one in enumerate(group)}
    return [following[place] for place in range(len(facts))]


def _other_precisions(reader: Reader, model: str) -> list[tuple[str, str]]:
    frame = reader.sql(
        "SELECT b.dtype, b.model FROM model a JOIN model b ON a.source = b.source AND a.revision IS NOT DISTINCT FROM b.revision "
        "AND a.dtype <> b.dtype WHERE a.model = $model ORDER BY ALL",
        {"model": model},
    )
    return list(frame.iter_rows())


def _dtype(reader: Reader, model: str) -> str:
    return str(reader.sql("SELECT dtype FROM model WHERE model = $model", {"model": model})["dtype"][0])


def _rule(label: str) -> str:
    method: MethodConfig = parse_method(label)
    looser = f" to {method.tolerance:g}" if method.tolerance != MethodConfig.tolerance else ""
    return f"{method.rule} {method.nodes}" + (f", doubled as needed{looser}" if method.is_adaptive else "")


def _row(kind: str, against: str, found: Stability) -> dict[str, object]:
    return {
        "what": kind,
        "reference": against,
        "variant": found.variant,
        "sets": found.n,
        "subjects": found.subjects,
        "size": found.size,
        "size (variant)": found.size_variant,
        **spread("jaccard", found.jaccard, ".3f", prefix=""),
        "identical": found.same,
    }


_QUERY = {"query": pl.String}
_SCHEMA = {
    "what": pl.String, "reference": pl.String, "variant": pl.String, "sets": pl.Int64, "subjects": pl.Int64,
    **dict.fromkeys(("size", "size (variant)"), pl.Float64), **spread_columns("jaccard", prefix=""),
    "identical": pl.Float64,
}  # fmt: skip
