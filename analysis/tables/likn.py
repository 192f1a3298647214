"""What the languages share (eq. 8): coverage, uniform chance, and the control that decides, mismatched facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import polars as pl

from analysis.neuron_sets import NeuronSets, equal_size
from analysis.overlap import FactKeys, Overlap, overlap, share_tokens
from analysis.tables import Table
from analysis.tables.neurons import Neurons, gather
from store.reader import Reader
from store.view import View

NOTES = (
    "L: neurons in N of every language; size: mean |N| by language; coverage: facts with a non-empty L; observed: mean |L|",
    "chance: |L| of sets drawn at random within layers. Mismatched facts decide: a, the other languages' sets from a fact "
    "of the same relation with another answer; b, from one of another relation",
    "low, high: interval of observed - a over subjects; p_a, p_b: against re-paired facts; own: facts above every a. Only "
    "what is above a may be called language-independent; above chance but not a: shared by the relation, or generic",
)


@dataclass(frozen=True)
class Row:
    """One line of the table: a choice of facts and set sizes. None where nothing can be said."""

    sets: str
    langs: str
    facts: int
    size: str
    coverage: float | None
    observed: float | None
    chance: float | None
    a: float | None
    b: float | None
    low: float | None
    high: float | None
    p_a: float | None
    p_b: float | None
    own: int


def build(reader: Reader, view: View, seed: int = 0) -> Table:
    """The rows METHOD §3 asks for: at the thresholds, at equal set size, split by shared answer tokens, by relation."""
    rows: list[Row] = []
    if len(view.langs) > 1:
        neurons = gather(reader, view)
        rows = table_rows(neurons, seed) + pair_rows(neurons, seed)
    frame = pl.DataFrame([asdict(row) for row in rows], schema=_SCHEMA)
    notes = NOTES if rows else ("one language only: there is nothing to share; choose two or more with --langs",)
    return Table("likn", f"neurons shared by {' + '.join(view.langs)}: {view.model}, {view.method}", frame, notes)


def table_rows(neurons: Neurons, seed: int = 0) -> list[Row]:
    """Everything `build` shows, from sets in memory."""
    if not neurons.facts:
        return []
    all_present = neurons.sets.present.all(axis=1)
    equal, size = equal_size(neurons.sets, neurons.ranked)
    everyone = np.ones(len(neurons.facts), dtype=np.bool_)
    cognate = np.array([_cognate(row) for row in neurons.tokens], dtype=np.bool_)
    choices = [("at the thresholds", neurons.sets, everyone), (f"top {size} of each", equal, everyone)]
    if (cognate & all_present).any() and (~cognate & all_present).any():
        choices += [
            ("answers share a token", neurons.sets, cognate),
            ("answers share none", neurons.sets, ~cognate),
        ]
    relation = np.array(neurons.relations)
    names = dict.fromkeys(neurons.relations)
    if len(names) > 1:
        choices += [(f"relation {name}", neurons.sets, relation == name) for name in names]
    return [one_row(name, neurons.langs, sets, neurons.keys, chosen, seed) for name, sets, chosen in choices]


def pair_rows(neurons: Neurons, seed: int = 0) -> list[Row]:
    """Every two of three or more languages at the thresholds: what the overlap matrix is made of."""
    if len(neurons.langs) < 3:
        return []
    pairs = [neurons.of_langs(pair) for pair in combinations(neurons.langs, 2)]
    everyone = np.ones(len(neurons.facts), dtype=np.bool_)
    return [one_row(" + ".join(two.langs), two.langs, two.sets, two.keys, everyone, seed) for two in pairs]


def one_row(name: str, langs: Sequence[str], sets: NeuronSets, keys: FactKeys, chosen: np.ndarray, seed: int) -> Row:
    """The overlap of the chosen facts (F,) as a line."""
    places = np.flatnonzero(chosen)
    found = overlap(sets.select(places), keys.select(places), seed=seed)
    a, b = found.same_relation, found.other_relation
    sizes = found.sizes.mean(axis=0) if len(found.facts) else np.zeros(len(langs))
    return Row(
        sets=name,
        langs="+".join(langs),
        facts=len(found.facts),
        size=" ".join(f"{size:.1f}" for size in sizes),
        coverage=found.coverage,
        observed=found.observed,
        chance=found.expected,
        a=a.average,
        b=b.average,
        low=a.interval.low,
        high=a.interval.high,
        p_a=a.p_overall,
        p_b=b.p_overall,
        own=_own(found),
    )


def _own(found: Overlap) -> int:
    return sum(verdict == "own" for verdict in found.verdicts)


def _cognate(tokens: Sequence[tuple[str, ...] | None]) -> bool:
    return share_tokens([part for part in tokens if part is not None])


_SCHEMA = {
    "sets": pl.String,
    "langs": pl.String,
    "facts": pl.Int64,
    "size": pl.String,
    **dict.fromkeys(list(Row.__dataclass_fields__)[4:-1], pl.Float64),
    "own": pl.Int64,
}
