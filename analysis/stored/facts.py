"""What is stored about a model's facts: their queries, main queries, and which facts are about one subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from knscope.analysis.prompts.encode import Query
from knscope.store.reader import Reader

_QUERIES = """
    SELECT q.query, q.fact, q.relation, q.lang, q.template, q.subject, q.object, coalesce(q.prompt_note, '') AS prefix,
        q.alternatives, p.known, p.p, p.answer_tokens
    FROM prediction p JOIN query q USING (query) WHERE p.model = $model
    ORDER BY q.fact, q.lang, q.template, q.query
"""
FIELDS = ("fact", "relation", "lang", "template", "subject", "object", "prefix", "alternatives")
"""Columns of `StoredFacts.frame` that make a Query."""
_SCANNED = "SELECT DISTINCT query FROM scan WHERE model = $model AND role = 'kn'"


@dataclass(frozen=True)
class StoredFacts:
    """`frame`: one row a predicted query. `main` of a (fact, language); `subject` names what a fact is about."""

    frame: pl.DataFrame
    main: Mapping[tuple[str, str], Query]
    subject: Mapping[str, str]

    @property
    def relation(self) -> dict[str, str]:
        return dict(self.frame.select("fact", "relation").unique(maintain_order=True).iter_rows())


def stored_facts(reader: Reader, model: str) -> StoredFacts:
    """Everything predicted with a model, in an order that does not depend on shards."""
    frame = reader.sql(_QUERIES, {"model": model})
    scanned = set(reader.sql(_SCANNED, {"model": model})["query"])
    return StoredFacts(frame, _main(frame, scanned), subject_of(reader))


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


def _main(frame: pl.DataFrame, scanned: set[str]) -> dict[tuple[str, str], Query]:
    """The query that was scanned; else the fact's template on which most facts of the relation are known."""
    counts: Counter[tuple[str, ...]] = Counter()
    for relation, lang, template, prefix, known in frame.select(*FIELDS[1:4], "prefix", "known").iter_rows():
        counts[relation, lang, template, prefix] += int(known)
    best: dict[tuple[str, str], tuple[tuple[bool, int, str], Query]] = {}
    for row in frame.iter_rows(named=True):
        query = Query(*(row[name] for name in FIELDS))
        asked = query.relation, query.lang, query.template, query.prefix
        rank = (row["query"] not in scanned, -counts[asked], query.template)
        place = (query.fact, query.lang)
        if place not in best or rank < best[place][0]:
            best[place] = rank, query
    return {place: query for place, (_, query) in best.items()}
