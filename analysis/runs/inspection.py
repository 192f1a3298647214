"""What a model is and what it can do with given facts, as plain documents. Imports torch; runs in a process of its
own.
"""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from knscope.analysis.datasets.sampling import draw_balanced
from knscope.analysis.engine import inspection, models, replay
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts import encode
from knscope.analysis.prompts.encode import EncodedQuery, Query
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.facts import QUERY_COLUMNS, known_rows, load_facts
from knscope.analysis.runs.worker import resolve_device

PORTION = 32
"""Prompts answered between two words about how far it is."""


def inspect_model(source: str, device: str, dtype: str) -> dict[str, Any]:
    """What `knscope.analysis.engine.inspection` says of the model, and the process's memory at its peak."""
    loaded = models.load_model(source, dtype=dtype, device=resolve_device(device), threads=1)
    document = inspection.inspect(loaded)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {**document, "peak_memory_mib": round(peak / 2**20)}


def check_data(config: RunConfig, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """What a model can do with facts, by relation and language, and why it cannot use the others.

    `table`: facts; paired: those with a usable prompt in every language; usable: those with a usable prompt in this one;
    known: those known on one of their prompts; prompts, usable_prompts, known_prompts. `reasons`: relation, lang,
    reason, prompts, facts (left without any usable prompt; of `no-pair`, those that another language lacks), example.
    `words`, by language: usable_prompts, words (of eq. 3), words_without_path. `known`: the known prompts themselves, of facts
    that are known in every language, or with `config.known` "any" in one.

    :param progress: is told how many of the prompts are answered
    """
    loaded = models.load_model(
        config.models[0].source, dtype=config.dtype, device=resolve_device(config.device), threads=1
    )
    engine = replay.Engine(loaded)
    rows = _some_facts(config)
    usable, errors = [], []
    for row in rows:
        try:
            usable.append(encode.encode(loaded, row))
        except UnusableQuery as error:
            errors.append((row, error))
    known = _known(engine, usable, progress)
    asked = [one.query for one in usable]
    places = dict.fromkeys((row.relation, row.lang) for row in rows)
    langs = dict.fromkeys(lang for _, lang in places)
    speaks: dict[str, set[str]] = {}
    for query in asked:
        speaks.setdefault(query.fact, set()).add(query.lang)
    table = [
        {
            "relation": relation,
            "lang": lang,
            "facts": len(_facts(rows, relation, lang)),
            "usable": len(can := _facts(asked, relation, lang)),
            "paired": sum(speaks[fact] == set(langs) for fact in can),
            "known": len(_facts(known, relation, lang)),
            **{name: sum((query.relation, query.lang) == (relation, lang) for query in queries)
               for name, queries in (("prompts", rows), ("usable_prompts", asked), ("known_prompts", known))},
        }
        for relation, lang in places
    ]  # fmt: skip
    reasons = [*_reasons(errors, speaks), *_unpaired(asked, speaks, langs)]
    return {
        "model": loaded.label,
        "kind": loaded.kind,
        "table": table,
        "reasons": reasons,
        "known": [_plain(query) for query in known_rows(rows, {query.id for query in known}, config.known != "any")],
        "words": [_words([one for one in usable if one.query.lang == lang], lang) for lang in langs],
    }


def _known(engine: replay.Engine, usable: Sequence[EncodedQuery], progress: Callable[[int, int], None]) -> list[Query]:
    """The queries that the model answers rightly, in their order; those of one length together, as they share passes."""
    order = sorted(range(len(usable)), key=lambda place: len(usable[place].steps[-1].ids))
    known: set[int] = set()
    for start in range(0, len(order), PORTION):
        progress(start, len(order))
        part = order[start : start + PORTION]
        found = engine.predict([usable[place] for place in part])
        known |= {place for place, said in zip(part, found, strict=True) if said.known}
    progress(len(order), len(order))
    return [usable[place].query for place in sorted(known)]


def _plain(query: Query) -> dict[str, Any]:
    """A prompt as a row of one's own facts."""
    names = {"fact_id": query.fact} | {name: getattr(query, name) for name in QUERY_COLUMNS[1:]}
    return {**names, "alternatives": "|".join(query.alternatives)}


def _words(usable: Sequence[EncodedQuery], lang: str) -> dict[str, Any]:
    return {
        "lang": lang,
        "usable_prompts": len(usable),
        "words": sum(one.n_words for one in usable),
        "words_without_path": sum(one.words_without_path for one in usable),
    }


def _some_facts(config: RunConfig) -> Sequence[Query]:
    """All prompts of as many facts as are asked for; unlike a run's sample, also what nobody can use."""
    rows = load_facts(replace(config, facts=None)).rows
    if config.facts is None:
        return rows
    chosen = set(draw_balanced({(row.relation, row.fact) for row in rows}, config.facts, config.seed))
    return [row for row in rows if row.fact in chosen]


def _facts(queries: Iterable[Query], relation: str, lang: str) -> set[str]:
    return {query.fact for query in queries if (query.relation, query.lang) == (relation, lang)}


def _reasons(
    errors: Sequence[tuple[Query, UnusableQuery]], speaks: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    lost: dict[tuple[str, str, str], set[str]] = {}
    for query, error in errors:
        place = query.relation, query.lang, error.reason
        names = dict(zip(("relation", "lang", "reason"), place, strict=True))
        row = found.setdefault(place, {**names, "prompts": 0, "facts": 0, "example": str(error)})
        row["prompts"] += 1
        if query.lang not in speaks.get(query.fact, ()):
            lost.setdefault(place, set()).add(query.fact)
            row["facts"] = len(lost[place])
    return list(found.values())


def _unpaired(
    asked: Iterable[Query], speaks: Mapping[str, Collection[str]], langs: Collection[str]
) -> list[dict[str, Any]]:
    """Usable facts that another language lacks: they can be attributed, and share nothing."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    prompts_of: Counter[tuple[str, str]] = Counter()
    for query in asked:
        if set(speaks[query.fact]) != set(langs):
            found.setdefault((query.relation, query.lang), {})[query.fact] = None
            prompts_of[query.relation, query.lang] += 1
    return [
        {
            "relation": relation, "lang": lang, "reason": "no-pair", "prompts": prompts_of[relation, lang],
            "facts": len(facts),
            "example": f"fact {(first := next(iter(facts)))}: no usable prompt in "
                       f"{', '.join(sorted(set(langs) - set(speaks[first])))}; no neurons can be shared",
        }
        for (relation, lang), facts in found.items()
    ]  # fmt: skip
