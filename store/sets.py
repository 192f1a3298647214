"""Eq. 6-8 on held scores: which neurons are in N of each fact and language, and what is counted of them.

The macros kn_row, layer_hist, overlap and the n_kn and stays of queries say the same in SQL; tests hold one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from knscope.store.held import AnyInts, Bools, Doubles, Held, Ints, Small
from knscope.store.view import View

_SHARED = "LIKN"


class BelowFloorError(Exception):
    """A τ for which rows are missing."""


@dataclass(frozen=True)
class Sets:
    """N of a View: `passing` (rows,) which rows of `held` are above τ, `members` (n,) the candidates in N, in order."""

    held: Held
    langs: tuple[str, ...]
    passing: Ints
    members: Ints

    @cached_property
    def lang(self) -> Small:
        """(n,) number of each member's language among those chosen."""
        number = np.full(len(self.held.langs), -1, np.int32)
        for position, lang in enumerate(self.langs):
            if lang in self.held.langs:
                number[self.held.langs.index(lang)] = position
        return number[self.held.lang[self.members]]

    @cached_property
    def fact(self) -> Small:
        """(n,)"""
        return self.held.fact[self.members]

    @cached_property
    def own(self) -> Ints:
        """(facts, languages): |N|."""
        shape = (self.held.n_facts, len(self.langs))
        return np.bincount(self.fact * shape[1] + self.lang, minlength=shape[0] * shape[1]).reshape(shape)

    @cached_property
    def everywhere(self) -> Ints:
        """Members of L (eq. 8): candidates, one of each (fact, layer, neuron) that is in N of every chosen language."""
        unit = self.held.unit[self.members]
        return self.members[_first_of_runs(unit, len(self.langs))]

    @cached_property
    def is_member(self) -> Bools:
        """(candidates,)"""
        found = np.zeros(len(self.held.first), np.bool_)
        found[self.members] = True
        return found


def sets(held: Held, view: View) -> Sets:
    """Raises BelowFloorError where rows are missing for a τ."""
    chosen = chosen_queries(held, view)
    taus = held.queries["lang"].replace_strict(view.tau, default=np.inf, return_dtype=pl.Float64).to_numpy()
    if (taus[chosen] < held.queries["floor"].to_numpy()[chosen]).any():
        raise BelowFloorError
    bar = np.where(chosen, taus, np.inf)
    above = held.rel > bar[held.at]
    passing = np.flatnonzero(above)
    if held.one_each:
        return Sets(held, view.langs, passing, passing)
    return Sets(held, view.langs, passing, _often_enough(held, above, chosen, view.template_share))


def chosen_queries(held: Held, view: View) -> Bools:
    """(queries,) those that a View looks at; empty lists restrict nothing."""
    wanted = pl.col("lang").is_in(view.langs)
    for column, names in (("relation", view.relations), ("fact", view.facts), ("query", view.queries)):
        wanted = wanted & pl.col(column).is_in(names) if names else wanted
    wanted = wanted & pl.col("known") if view.known else wanted
    found: Bools = held.queries.select(wanted.alias("chosen"))["chosen"].to_numpy()
    return found


def _often_enough(held: Held, above: Bools, chosen: Bools, share: float) -> Ints:
    """Eq. 7: above τ on at least a share of the fact's queries in the language."""
    hits = np.add.reduceat(above.astype(np.int32), held.first) if len(held.first) else np.zeros(0, np.int32)
    number = _places(held)
    n = np.bincount(number, weights=chosen)[number]  # (queries,) how many of its fact and language are chosen
    return np.flatnonzero((hits > 0) & (hits >= share * n[held.at[held.first]] - 1e-9))


def _places(held: Held) -> Ints:
    """(queries,) a number for the query's fact and language."""
    lang, fact = held.queries["lang"].rank("dense").to_numpy(), held.queries["fact_no"].to_numpy()
    found: Ints = fact.astype(np.int64) * (int(lang.max(initial=0)) + 1) + lang
    return found


def _first_of_runs(ordered: Small, length: int) -> Ints:
    """Where runs of this length begin in an ordered array of numbers."""
    start = np.flatnonzero(np.diff(ordered, prepend=-1))
    found: Ints = start[np.diff(start, append=len(ordered)) == length]
    return found


def counts(found: Sets) -> Ints:
    """(queries,) neurons above τ of each attributed query."""
    return np.bincount(found.held.at[found.passing], minlength=found.held.queries.height)


def stays(found: Sets, view: View) -> Doubles:
    """(queries,) of the neurons above τ on one of the fact's chosen templates in the language the share that is above it on
    another, mean over all pairs of templates, larger sets counting more: Σ h (h - 1) / ((Q - 1) Σ h), h being on how many of the Q
    templates a neuron is above τ. NaN where there is one template, or no such neuron.
    """
    held = found.held
    if held.one_each or not len(held.first):
        return np.full(held.queries.height, np.nan)
    above = np.zeros(len(held.code), np.int32)
    above[found.passing] = 1
    hits = np.add.reduceat(above, held.first).astype(np.float64)
    number, chosen = _places(held), chosen_queries(held, view)
    n = np.bincount(number, weights=chosen)
    place = number[held.at[held.first]]
    again, sizes = (np.bincount(place, weights=values, minlength=len(n)) for values in (hits * (hits - 1), hits))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = again / ((n - 1) * sizes)
    return np.where(chosen & (n[number] > 1) & (sizes[number] > 0), share[number], np.nan)


def layer_hist(found: Sets) -> pl.DataFrame:
    """Columns kind, layer, n and share, as of the macro."""
    held = found.held
    rows = [_by_layer(lang, held, found.members[found.lang == number]) for number, lang in enumerate(found.langs)]
    if len(found.langs) > 1:
        rows.append(_by_layer(_SHARED, held, found.everywhere))
    return pl.concat(rows).sort("kind", "layer")


def _by_layer(kind: str, held: Held, members: Ints) -> pl.DataFrame:
    n, share = layer_shares(held.fact[members], held.layer[members], held.depth)
    shown = np.array(held.layers if len(members) else (), np.int64)
    return pl.DataFrame(
        {"kind": [kind] * len(shown), "layer": shown, "n": n[shown], "share": share[shown]},
        schema={"kind": pl.String, "layer": pl.Int16, "n": pl.Int64, "share": pl.Float64},
    )


def layer_shares(fact: AnyInts, layer: AnyInts, depth: int) -> tuple[Ints, Doubles]:
    """Of neurons (n,) by layer (depth,): how many, and the mean over facts of the fact's own share."""
    whole = np.bincount(fact, minlength=1)
    facts = int(np.count_nonzero(whole))
    n: Ints = np.bincount(layer, minlength=depth)
    parts = np.bincount(layer, weights=1.0 / whole[fact], minlength=depth)
    return n, parts / max(facts, 1)


def overlap(found: Sets) -> pl.DataFrame:
    """Columns lang_a, lang_b, shared, facts and facts_that_share, as of the macro."""
    has = (found.own > 0).astype(np.float64)
    both = (has.T @ has).astype(np.int64)
    shared, facts_that_share = _shared_by_two(found)
    every = found.held.fact[found.everywhere] if len(found.langs) > 1 else np.zeros(0, np.int32)
    rows = [
        (a, b, int(shared[i, j]), int(both[i, j]), int(facts_that_share[i, j]))
        for i, a in enumerate(found.langs)
        for j, b in enumerate(found.langs)
        if i <= j and both[i, j]
    ]
    rows.append((_SHARED, _SHARED, len(every), int(has.all(axis=1).sum()), len(np.unique(every))))
    return pl.DataFrame(
        rows, orient="row",
        schema={"lang_a": pl.String, "lang_b": pl.String, "shared": pl.Int64, "facts": pl.Int64, "facts_that_share": pl.Int64},
    )  # fmt: skip


def _shared_by_two(found: Sets) -> tuple[Ints, Ints]:
    """(languages, languages) each: neurons in N of both, over all facts, and facts with such a neuron."""
    n = len(found.langs)
    unit = found.held.unit[found.members]
    start = np.flatnonzero(np.diff(unit, prepend=-1))
    row = np.cumsum(np.diff(unit, prepend=unit[:1]) != 0)
    holds = np.zeros((len(start), n), np.bool_)  # (neurons of a fact, languages)
    holds[row, found.lang] = True
    several = holds.sum(axis=1) > 1
    fact, pairs = found.fact[start][several], holds[several]
    shared, facts = np.diag(found.own.sum(axis=0)), np.diag((found.own > 0).sum(axis=0))
    for a in range(n):
        for b in range(a + 1, n):
            mine = fact[pairs[:, a] & pairs[:, b]]
            shared[a, b], facts[a, b] = len(mine), np.count_nonzero(np.diff(mine, prepend=-1))
    return shared, facts
