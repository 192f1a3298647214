"""The neuron sets of a View as arrays: what the overlap of languages is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from knscope.analysis.likn.mismatch import FactKeys
from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.stored.facts import of_view, subject_of
from knscope.analysis.stored.ranked import ranked
from knscope.store.address import Addresses
from knscope.store.reader import Reader
from knscope.store.view import View

_ATTRIBUTED = """
    SELECT q.fact, q.lang, first(q.relation) AS relation, first(q.object ORDER BY q.query) AS object,
        first(p.answer_tokens ORDER BY q.query) AS tokens
    FROM attribution a JOIN query q USING (query)
    JOIN prediction p ON p.query = a.query AND p.model = a.model
    WHERE a.model = $model AND a.method = $method AND list_contains($langs, q.lang)
      AND (len($queries) = 0 OR list_contains($queries, q.query))
    GROUP BY q.fact, q.lang
"""


@dataclass(frozen=True)
class Neurons:
    """Sets of `facts` (F) in `langs` (K): `sets` at the View's thresholds, `ranked` all stored neurons, best first
    by mean rel over templates.

    `tokens[f][k]` are the answer's tokens, None where the fact was not attributed in the language.
    """

    facts: tuple[str, ...]
    langs: tuple[str, ...]
    relations: tuple[str, ...]
    sets: NeuronSets
    ranked: NeuronSets
    keys: FactKeys
    tokens: tuple[tuple[tuple[str, ...] | None, ...], ...]

    def of_langs(self, langs: Sequence[str]) -> Neurons:
        places = [self.langs.index(lang) for lang in langs]
        return replace(
            self,
            langs=tuple(langs),
            sets=self.sets.select(None, places),
            ranked=self.ranked.select(None, places),
            keys=self.keys.select(np.arange(len(self.facts)), places),
            tokens=tuple(tuple(row[place] for place in places) for row in self.tokens),
        )


def gather(reader: Reader, view: View) -> Neurons:
    """Read the sets of a View's languages. Facts that the View filters out are not among them."""
    kn = reader.kn(view)
    attributed = of_view(reader.sql(_ATTRIBUTED, view.parameters("model", "method", "langs", "queries")), view)
    if view.known:
        known = reader.queries(view).select("fact", "lang").unique()
        attributed = attributed.join(known, on=["fact", "lang"], how="semi")
    addresses = reader.addresses(view.model)
    facts = tuple(dict.fromkeys(attributed.sort("fact")["fact"].to_list()))
    place = {fact: number for number, fact in enumerate(facts)}
    lang_place = {lang: number for number, lang in enumerate(view.langs)}
    present = np.zeros((len(facts), len(view.langs)), dtype=np.bool_)
    answers = [[f"?{fact}" for _ in view.langs] for fact in facts]
    tokens: list[list[tuple[str, ...] | None]] = [[None for _ in view.langs] for _ in facts]
    relation: dict[str, str] = {}
    for row in attributed.iter_rows(named=True):
        f, k = place[row["fact"]], lang_place[row["lang"]]
        present[f, k] = True
        answers[f][k] = row["object"]
        tokens[f][k] = tuple(row["tokens"])
        relation.setdefault(row["fact"], row["relation"])
    relations = tuple(relation[fact] for fact in facts)
    best, sets = (sets_of(rows, facts, view.langs, present, addresses) for rows in (ranked(reader, view), kn))
    subject = subject_of(reader)
    keys = FactKeys.from_labels(relations, [subject[fact] for fact in facts], answers)
    return Neurons(facts, tuple(view.langs), relations, sets, best, keys, tuple(tuple(row) for row in tokens))


def sets_of(
    rows: pl.DataFrame, facts: Sequence[str], langs: Sequence[str], present: np.ndarray, addresses: Addresses
) -> NeuronSets:
    """Sets from rows of fact, lang, layer, neuron, the best neuron of each set first; other facts' rows are left out."""
    mine = rows.filter(pl.col("fact").is_in(list(facts)), pl.col("lang").is_in(list(langs)))
    return NeuronSets.from_rows(
        _places(mine["fact"], facts),
        _places(mine["lang"], langs),
        addresses.with_flat(mine)["flat"].to_numpy(),
        present,
        addresses.width,
    )


def _places(labels: pl.Series, among: Sequence[str]) -> np.ndarray:
    numbers = labels.replace_strict(list(among), list(range(len(among))), return_dtype=pl.Int64)
    return numbers.to_numpy()


def pair_of(langs: Sequence[str]) -> tuple[str, ...]:
    """The paper's two languages, English and Chinese, where both are there; else the first two."""
    primary = {lang.split("-")[0]: lang for lang in langs}
    chosen = tuple(primary[lang] for lang in ("en", "zh") if lang in primary)
    return chosen if len(chosen) == 2 else tuple(langs[:2])
