"""Scores of one model and method as arrays, ordered so that a new threshold costs a comparison and a few counts.

The macros answer any question, but planning one takes a database tens of milliseconds whatever it finds; a person who turns a
threshold waits for half a dozen of them. The order of these rows depends on no threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from knscope.store.frames import frame_of

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
AnyInts = npt.NDArray[np.integer[Any]]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LARGEST = 12_000_000
"""Rows that are held; beyond them (some 45 bytes each) the macros answer, whose tables may lie on disk."""
_LANGS = 256
"""Languages that fit in a row's code; of more the macros answer."""


@dataclass(frozen=True)
class Held:
    """Rows ordered by fact, layer, neuron and language: `code` (rows,) says which, `rel` (rows,) how much, `at` (rows,) on which
    of the attributed queries, a row of `queries` each (aq, fact_no, fact, relation, lang, query, floor, known)."""

    queries: pl.DataFrame
    langs: tuple[str, ...]
    layers: tuple[int, ...]
    width: int
    code: Ints
    rel: Doubles
    at: Small

    @property
    def depth(self) -> int:
        return max(self.layers, default=0) + 1

    @cached_property
    def first(self) -> Ints:
        """(candidates,) the first row of every (fact, layer, neuron, language): of what may be in N."""
        return _starts(self.code)

    @cached_property
    def one_each(self) -> bool:
        """Whether no fact has two queries in a language."""
        return len(self.first) == len(self.code)

    @cached_property
    def lang(self) -> npt.NDArray[np.uint8]:
        """(candidates,) number of the language, an index of `langs`."""
        return (self.code[self.first] % _LANGS).astype(np.uint8)

    @cached_property
    def neuron(self) -> Small:
        """(candidates,) layer * width + neuron."""
        return (self.code[self.first] // _LANGS % (self.depth * self.width)).astype(np.int32)

    @cached_property
    def layer(self) -> npt.NDArray[np.int16]:
        """(candidates,)"""
        return (self.neuron // self.width).astype(np.int16)

    @cached_property
    def fact(self) -> Small:
        """(candidates,) fact_no."""
        return (self.code[self.first] // _LANGS // (self.depth * self.width)).astype(np.int32)

    @cached_property
    def unit(self) -> Small:
        """(candidates,) number of its (fact, layer, neuron), whatever the language."""
        code = self.code[self.first] // _LANGS
        return np.cumsum(np.diff(code, prepend=code[:1]) != 0, dtype=np.int32)

    @cached_property
    def n_facts(self) -> int:
        """One more than the highest fact_no."""
        return int(self.queries["fact_no"].max() or 0) + 1 if self.queries.height else 0  # type: ignore[arg-type]

    def find(self, fact: Ints, lang: Ints, layer: Ints, neuron: Ints) -> Ints:
        """Which candidates these (n,) are; -1 for those that have no row."""
        wanted = ((fact * self.depth + layer) * self.width + neuron) * _LANGS + lang
        codes = self.code[self.first]
        if not len(codes):
            return np.full(len(wanted), -1)
        found = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
        return np.where(codes[found] == wanted, found, -1)


def hold(cursor: duckdb.DuckDBPyConnection, model: str, method: str, before: Held | None = None) -> Held | None:
    """What is stored now; `before` is added to where it still holds. None where it is too much."""
    cursor.execute("BEGIN")  # both questions see the same rows
    try:
        queries = frame_of(cursor, _QUERIES, [model, model, method])
        layers, width = cursor.execute(_SHAPE, [model]).fetchall()[0]
        if before is not None and not _is_part(before, queries, tuple(layers), width):
            before = None
        known = before.queries.height if before else 0
        fresh = queries[known:]
        lowest = int(fresh["aq"][0]) if fresh.height else 0
        total = len(before.code) if before else 0
        if (
            queries["lang"].n_unique() > _LANGS
            or total + cursor.execute(_HOW_MANY, [lowest, model, method]).fetchall()[0][0] > LARGEST
        ):
            return None
        rows = frame_of(cursor, _ROWS, [lowest, model, method]) if fresh.height else None
    finally:
        cursor.execute("COMMIT")
    if before is not None and rows is None:
        return Held(queries, before.langs, tuple(layers), width, before.code, before.rel, before.at)
    return _ordered(queries, tuple(layers), width, rows, before)


_QUERIES = """
    SELECT a.aq, p.fact_no, p.fact, p.relation, p.lang, a.query, a.floor,
        a.query IN (SELECT query FROM prediction WHERE model = ? AND known) AS known
    FROM attribution_row a JOIN place p USING (place) WHERE a.model = ? AND a.method = ? ORDER BY a.aq
"""
_SHAPE = "SELECT coalesce(list(layer ORDER BY layer), []), coalesce(max(width), 1) FROM site WHERE model = ?"
_MINE = "FROM score_row SEMI JOIN (FROM attribution_row WHERE aq >= ? AND model = ? AND method = ?) a USING (aq)"
_HOW_MANY = f"SELECT count(*) {_MINE}"
_ROWS = f"SELECT aq, layer, neuron, rel {_MINE}"


def _is_part(before: Held, queries: pl.DataFrame, layers: tuple[int, ...], width: int) -> bool:
    """Whether nothing was taken away, and no row added to a query that was there: its floor would be lower."""
    part = queries[: before.queries.height].select("aq", "floor")
    return (before.layers, before.width) == (layers, width) and part.equals(before.queries.select("aq", "floor"))


def _ordered(
    queries: pl.DataFrame, layers: tuple[int, ...], width: int, rows: pl.DataFrame | None, before: Held | None
) -> Held:
    depth = max(layers, default=0) + 1
    langs = tuple(dict.fromkeys([*(before.langs if before else ()), *queries["lang"].unique(maintain_order=True)]))
    if rows is None:
        return Held(queries, langs, layers, width, np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int32))
    aqs = queries["aq"].to_numpy()
    row = np.zeros(int(aqs[-1]) + 1, np.int32)
    row[aqs] = np.arange(len(aqs))
    at = row[rows["aq"].to_numpy()]
    numbers = {lang: number for number, lang in enumerate(langs)}
    lang = queries["lang"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()
    fact = queries["fact_no"].cast(pl.Int64).to_numpy()
    of_query = fact * (depth * width * _LANGS) + lang
    code = of_query[at] + (rows["layer"].cast(pl.Int64).to_numpy() * width + rows["neuron"].to_numpy()) * _LANGS
    ordered = pl.DataFrame({"code": code, "rel": rows["rel"], "at": at}).sort("code")
    if before is not None:
        there = pl.DataFrame({"code": before.code, "rel": before.rel, "at": before.at})
        ordered = there.lazy().merge_sorted(ordered.lazy(), "code").collect()
    return Held(queries, langs, layers, width, *(ordered[name].to_numpy() for name in ("code", "rel", "at")))


def _starts(code: Ints) -> Ints:
    """Where values of an ordered array change."""
    return np.flatnonzero(np.diff(code, prepend=code[:1] - 1))
