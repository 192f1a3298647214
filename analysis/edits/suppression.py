"""What a suppressed neuron becomes: 0, its mean in the language, or its value on a random fact of another relation."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Collection, Mapping, Sequence

from knscope.analysis.edits.sets import Ablation
from knscope.analysis.prompts.encode import Query
from knscope.analysis.stored.facts import StoredFacts

MEAN_OVER = 1000
"""Queries a mean is taken over at most: more move it no further, and every process that edits reads them all."""

Sources = Mapping[str, tuple[Query, ...]]
"""By operation, the queries whose mean activations are put in; none for 0 and for doubling."""


class Suppressions:
    """Names what is stored of each way to suppress, so that edits with other values put in are other results.

    `suppress`: to 0. `mean:…`: the mean over the language's main queries, whose ids the name hashes. `resample:…`: the
    activations on the main query of that id.
    """

    def __init__(self, facts: StoredFacts, seed: int) -> None:
        self._facts, self._seed = facts, seed
        self._relation = facts.relation
        self._rings: dict[str, list[tuple[str, str]]] = {}
        self._means: dict[str, tuple[str, tuple[Query, ...]]] = {}

    def operations(self, ways: Sequence[Ablation], fact: str, lang: str, spared: Collection[str]) -> Sources:
        """Each way to suppress that has a fact to take its values from, then doubling.

        `spared`: facts the edit is read on beside its own. Their activations are not taken, since putting in its own
        values leaves a fact as it is.
        """
        found: dict[str, tuple[Query, ...]] = {}
        for way in ways:
            if way == "zero":
                found["suppress"] = ()
            elif way == "mean":
                name, queries = self._mean(lang)
                found[name] = queries
            else:
                source = self._another(fact, lang, spared)
                if source is not None:
                    found[f"resample:{source.id}"] = (source,)
        return {**found, "enhance": ()}

    def _mean(self, lang: str) -> tuple[str, tuple[Query, ...]]:
        if lang not in self._means:
            chosen = [self._facts.main[fact, lang] for _, fact in self._ring(lang)[:MEAN_OVER]]
            chosen.sort(key=lambda query: query.id)
            name = hashlib.sha256(",".join(query.id for query in chosen).encode()).hexdigest()[:12]
            self._means[lang] = f"mean:{name}", tuple(chosen)
        return self._means[lang]

    def _another(self, fact: str, lang: str, spared: Collection[str]) -> Query | None:
        """A fact of another relation and subject: the first that follows on a ring of hashes, so that facts added later
        change few draws."""
        ring = self._ring(lang)
        start = bisect(ring, (self._digest(f"from {fact}"), ""))
        for _, other in ring[start:] + ring[:start]:
            apart = self._relation[other] != self._relation[fact]
            if apart and self._facts.subject[other] != self._facts.subject[fact] and other not in spared:
                return self._facts.main[other, lang]
        return None

    def _ring(self, lang: str) -> list[tuple[str, str]]:
        if lang not in self._rings:
            self._rings[lang] = sorted((self._digest(f), f) for f, spoken in self._facts.main if spoken == lang)
        return self._rings[lang]

    def _digest(self, text: str) -> str:
        return hashlib.sha256(f"{self._seed} {text}".encode()).hexdigest()
