"""What panes show of a View, from arrays that are held between one threshold and the next.

Each method answers as the reader's macro of its name does, column for column; where there is too much to hold, that macro answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import duckdb
import numpy as np
import polars as pl

from knscope.store import pairs, sets
from knscope.store.errors import UserError
from knscope.store.held import Held, Ints, hold
from knscope.store.held_pairs import HeldPairs, candidates, hold_pairs
from knscope.store.pairs import Scanned
from knscope.store.sets import BelowFloorError, Sets
from knscope.store.view import View

T = TypeVar("T")

_TRIES = 5
_HELD = 2
"""Models and methods that are held: two are compared."""
_SETS = 6
"""Sets and scans that are kept of each: panes ask for the same ones at the same time."""
_FRAMES = 4
"""Frames of queries, and what scanned neurons are, that are kept of each whatever the thresholds."""


class _Recent:
    """What was asked for last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gave the last time, or gives now."""
        found: T = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = found  # the last one asked for is the last to go
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
        return found


@dataclass
class _Holding:
    """What is held of a model and method, as of `stamp`, and what was asked of it since."""

    stamp: tuple[int, int]
    held: Held | None
    pairs: HeldPairs | None = None
    frames: _Recent = field(default_factory=lambda: _Recent(_FRAMES))
    sets: _Recent = field(default_factory=lambda: _Recent(_SETS))


class Store(Protocol):
    """The part of a Reader that is asked here."""

    def validate(self, view: View) -> None: ...
    def extend(self, view: View) -> bool: ...
    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]: ...
    def stamp(self, model: str) -> tuple[int, int]: ...
    def ask(self, macro: str, view: View, pairs: View | None = None) -> pl.DataFrame: ...


class Live:
    """Of one reader. Any thread may ask: what one computes the others wait for."""

    def __init__(self, reader: Store) -> None:
        self._reader = reader
        self._lock = threading.RLock()
        self._holdings: dict[tuple[str, str], _Holding] = {}

    def queries(self, view: View) -> pl.DataFrame:
        """As Reader.queries."""
        with self._lock:
            found = self._sets(view)
            if found is None:
                return self._reader.ask("queries", view)
            same = view.with_(taus=(), template_share=0.5)
            base, at = self._holding(view).frames.get(_choice(view), lambda: self._asked(same, found.held))
        n, stays = np.append(sets.counts(found), 0)[at], np.append(sets.stays(found, view), np.nan)[at]
        return base.with_columns(
            n_kn=pl.when(pl.col("n_kn").is_not_null()).then(pl.Series(n, dtype=pl.Int64)),
            stays=pl.Series(stays).fill_nan(None),
        )

    def layer_hist(self, view: View) -> pl.DataFrame:
        """As Reader.layer_hist."""
        return self._of_sets("layer_hist", view, sets.layer_hist)

    def overlap(self, view: View) -> pl.DataFrame:
        """As Reader.overlap."""
        return self._of_sets("overlap", view, sets.overlap)

    def dkn_rate(self, view: View) -> pl.DataFrame:
        """As Reader.dkn_rate."""
        return self._of_scans("dkn_rate", view, pairs.rate)

    def dkn_layers(self, view: View) -> pl.DataFrame:
        """As Reader.dkn_layers."""
        return self._of_scans("dkn_layers", view, pairs.layers)

    def dkn_service(self, view: View, narrow: View | None = None) -> pl.DataFrame:
        """As Reader.dkn_service."""
        with self._lock:
            found, wide = self._scanned(narrow or view), self._sets(view.with_(queries=()))
        frame = None if found is None or wide is None else pairs.service(found, wide)
        return self._reader.ask("dkn_service", view, narrow) if frame is None else frame

    def _of_sets(self, macro: str, view: View, count: Callable[[Sets], pl.DataFrame]) -> pl.DataFrame:
        with self._lock:
            found = self._sets(view)
        return self._reader.ask(macro, view) if found is None else count(found)

    def _of_scans(self, macro: str, view: View, count: Callable[[Scanned], pl.DataFrame]) -> pl.DataFrame:
        with self._lock:
            found = self._scanned(view)
        return self._reader.ask(macro, view) if found is None else count(found)

    # --- what is held

    def _sets(self, view: View) -> Sets | None:
        """N of a View; None where there is too much to hold."""
        self._reader.validate(view)
        for _ in range(_TRIES):
            self._reader.extend(view)
            holding = self._holding(view)
            held = holding.held
            if held is None:
                return None
            key = (_choice(view), view.taus, view.template_share)
            try:
                return holding.sets.get(key, lambda held=held: sets.sets(held, view))  # type: ignore[misc]
            except BelowFloorError:
                del self._holdings[view.model, view.method]
        raise UserError("results arrive faster than scores below the floor can be added; wait for the run, or raise τ")

    def _scanned(self, view: View) -> Scanned | None:
        """The scans of a View; None where there is too much to hold."""
        found = self._sets(view.with_(queries=()))
        if found is None:
            return None
        holding = self._holding(view)
        which = holding.frames.get("scanned", lambda: self._pairs(view, holding, found.held))
        if which is None or holding.pairs is None:
            return None
        held = holding.pairs
        key = (_choice(view), view.taus, view.template_share, view.t_low, view.t_high, view.delta, view.drop)
        return holding.sets.get(key, lambda: pairs.scanned(held, which, found, view))

    def _holding(self, view: View) -> _Holding:
        """What is held of the View's model and method, after a look at what is new."""
        name = view.model, view.method
        stamp = self._reader.stamp(view.model)
        before = self._holdings.pop(name, None)
        if before is None or before.stamp != stamp:
            with self._reader.cursor() as cursor:
                held = hold(cursor, *name, before.held if before else None)
            before = _Holding(stamp, held, before.pairs if before else None)
        self._holdings[name] = before
        if len(self._holdings) > _HELD:
            del self._holdings[next(iter(self._holdings))]
        return before

    def _pairs(self, view: View, holding: _Holding, held: Held) -> Ints | None:
        """Take in the scanned pairs: (scans, positions), the candidate each neuron is; None where there are too many."""
        with self._reader.cursor() as cursor:
            holding.pairs = hold_pairs(cursor, view.model, view.method, held.width, holding.pairs)
        return None if holding.pairs is None else candidates(holding.pairs, held)

    def _asked(self, same: View, held: Held) -> tuple[pl.DataFrame, Ints]:
        """The macro's rows, whose n_kn is of another τ, and which of the attributed queries each row is; -1 where it is none."""
        frame = self._reader.ask("queries", same)
        at = {query: row for row, query in enumerate(held.queries["query"])}
        return frame, np.array([at.get(query, -1) for query in frame["query"]], np.int64)


def _choice(view: View) -> tuple[Any, ...]:
    return view.model, view.method, view.langs, view.relations, view.facts, view.queries, view.known
