"""What is stored about a model's facts: their queries, main queries, and which facts are about one subject."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from knscope.analysis.prompts.encode import Query
from knscope.store.main_query import QUERIES, main_queries
from knscope.store.reader import Reader
from knscope.store.view import View

FIELDS = ("fact", "relation", "lang", "template", "subject", "object", "prefix", "alternatives")
"""Columns of `StoredFacts.frame` that make a Query."""
_CHOSEN_BY = ("lang", "relation", "fact", "query")
Mains = Mapping[tuple[str, str], Query]
"""The main query of each (fact, language)."""
_ATTRIBUTED = """
    SELECT q.fact, q.lang, list(a.key ORDER BY a.key) FROM attribution a JOIN query q USING (query)
    WHERE a.model = $model AND a.method = $method AND (len($facts) = 0 OR list_contains($facts, q.fact))
    GROUP BY ALL
"""


@dataclass(frozen=True)
class StoredFacts:
    """`frame`: one row a predicted query, in an order that does not depend on shards; `subject` names what a fact is about."""

    frame: pl.DataFrame
    subject: Mapping[str, str]

    @property
    def queries(self) -> list[Query]:
        """Every predicted query."""
        return [Query(*row) for row in self.frame.select(FIELDS).iter_rows()]

    @cached_property
    def main(self) -> Mains:
        return _mains(self.frame)

    def main_without(self, facts: Collection[str]) -> Mains:
        """The main queries as they are chosen when nothing is known of these facts and nothing has been scanned."""
        known = pl.col("known") & ~pl.col("fact").is_in(facts)
        return _mains(self.frame.with_columns(known, scanned=pl.lit(False)))

    @property
    def relation(self) -> dict[str, str]:
        return dict(self.frame.select("fact", "relation").unique(maintain_order=True).iter_rows())


def stored_facts(reader: Reader, model: str) -> StoredFacts:
    """Everything predicted with a model."""
    return StoredFacts(reader.sql(QUERIES, {"model": model}), subject_of(reader))


def of_view(rows: pl.DataFrame, view: View) -> pl.DataFrame:
    """The rows that a View speaks of, by those of the columns lang, relation, fact, query and known that there are."""
    for column, values in zip(_CHOSEN_BY, (view.langs, view.relations, view.facts, view.queries), strict=True):
        if values and column in rows.columns:
            rows = rows.filter(pl.col(column).is_in(values))
    return rows.filter("known") if view.known and "known" in rows.columns else rows


def _mains(frame: pl.DataFrame) -> Mains:
    found = (Query(*row) for row in main_queries(frame).select(FIELDS).iter_rows())
    return {(query.fact, query.lang): query for query in found}


def attributed(
    reader: Reader, model: str, method: str, facts: Collection[str] = ()
) -> dict[tuple[str, str], list[str]]:
    """Keys of the stored attributions of each (fact, language), of all its templates. No `facts`: of every fact."""
    rows = reader.sql(_ATTRIBUTED, {"model": model, "method": method, "facts": list(facts)})
    return {(fact, lang): keys for fact, lang, keys in rows.iter_rows()}


def subject_of(reader: Reader) -> dict[str, str]:
    """A label per stored fact, the same for facts about one subject."""
    return join_subjects(reader.sql("SELECT DISTINCT fact, lang, subject FROM query ORDER BY ALL").iter_rows())


def join_subjects(names: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """A label per fact, the same for facts about one subject: those that share its name in any language.

    `names`: rows of fact, language, subject. Names vary with case and article ("the Netherlands"), and a fact may lack a
    language, so names are joined up: facts belong together when a chain of shared names leads from one to the other.
    """
    parent: dict[str, str] = {}
    facts: dict[str, None] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for fact, lang, subject in names:
        facts[fact] = None
        one, other = sorted((root(f"fact {fact}"), root(f"name {lang} {subject}")))
        parent[other] = one
    return {fact: root(f"fact {fact}") for fact in facts}
