"""Scanned pairs of one model and method as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from knscope.store.frames import frame_of
from knscope.store.held import Bools, Doubles, Held, Ints, Small

LARGEST_PAIRS = 3_000_000
"""Pairs that are held; beyond them (some 60 bytes each) the macros answer."""


@dataclass(frozen=True)
class HeldPairs:
    """`scans`: scan_no, role, fact_no, fact, relation, lang, query, p, one row a scan; `present` (scans, positions) where it has
    neurons, `neuron` the same: layer * width + neuron; `own` (scans,) the scan of knowledge neurons it counts beside, or -1 where it
    does not count (table counted_scan).

    Pairs, (pairs,) each: `scan` a row of `scans`, `a` and `b` positions, p_a, p_b, p_ab, drop_ab, interaction, expressed; numbers
    that are not defined are NaN.
    """

    scans: pl.DataFrame
    present: Bools
    neuron: Ints
    own: Ints
    scan: Small
    a: npt.NDArray[np.int16]
    b: npt.NDArray[np.int16]
    p_a: Doubles
    p_b: Doubles
    p_ab: Doubles
    drop_ab: Doubles
    interaction: Doubles
    expressed: Bools

    @cached_property
    def is_kn(self) -> Bools:
        """(scans,) whether of knowledge neurons, not a control."""
        found: Bools = (self.scans["role"] == "kn").to_numpy()
        return found

    @property
    def columns(self) -> list[npt.NDArray[Any]]:
        """The arrays of pairs, in order."""
        return [
            self.scan, self.a, self.b, self.p_a, self.p_b, self.p_ab, self.drop_ab, self.interaction, self.expressed,
        ]  # fmt: skip


def hold_pairs(
    cursor: duckdb.DuckDBPyConnection, model: str, method: str, width: int, before: HeldPairs | None = None
) -> HeldPairs | None:
    """What is stored now; `before` is added to where it still holds. None where it is too much."""
    cursor.execute("BEGIN")  # all questions see the same rows
    try:
        scans = frame_of(cursor, _SCANS, [model, method])
        old = before.scans.height if before else 0
        if before is not None and not scans[:old].equals(before.scans, null_equal=True):
            before, old = None, 0
        asked = [model, method, int(scans["scan_no"][old]) if old < scans.height else 1 << 31]
        held = len(before.scan) if before else 0
        if held + cursor.execute(_HOW_MANY, asked).fetchall()[0][0] > LARGEST_PAIRS:
            return None
        neurons, pairs = frame_of(cursor, _NEURONS, asked), frame_of(cursor, _PAIRS, asked)
        counted = frame_of(cursor, _COUNTED, [model, method])
    finally:
        cursor.execute("COMMIT")
    numbers = scans["scan_no"].to_numpy()
    positions = max(int(neurons["position"].max() or 0) + 1, before.present.shape[1] if before else 1)  # type: ignore[arg-type]
    present, neuron = np.zeros((scans.height, positions), np.bool_), np.zeros((scans.height, positions), np.int64)
    if before is not None:
        there = slice(0, old), slice(0, before.present.shape[1])
        present[there], neuron[there] = before.present, before.neuron
    index = np.searchsorted(numbers, neurons["scan_no"].to_numpy()), neurons["position"].to_numpy()
    present[index] = True
    neuron[index] = neurons["layer"].cast(pl.Int64).to_numpy() * width + neurons["neuron"].to_numpy()
    fresh: list[npt.NDArray[Any]] = [np.searchsorted(numbers, pairs["scan_no"].to_numpy()).astype(np.int32)]
    fresh += [pairs[name].to_numpy() for name in ("position_a", "position_b")]
    fresh += [pairs[name].fill_null(np.nan).to_numpy() for name in _VALUES]
    fresh.append(pairs["expressed"].fill_null(False).to_numpy())
    if before is not None:
        fresh = (
            [np.concatenate(two) for two in zip(before.columns, fresh, strict=True)] if pairs.height else before.columns
        )
    own = np.full(scans.height, -1)
    own[np.searchsorted(numbers, counted["scan_no"].to_numpy())] = np.searchsorted(numbers, counted["own"].to_numpy())
    return HeldPairs(scans, present, neuron, own, *fresh)


_VALUES = ("p_a", "p_b", "p_ab", "drop_ab", "interaction")
_MINE = "scan_row s WHERE s.model = ? AND s.method = ?"
_FRESH = f"SEMI JOIN (FROM {_MINE} AND s.scan_no >= ?) USING (scan_no)"
_HOW_MANY = f"SELECT count(*) FROM pair {_FRESH}"
_SCANS = f"""
    SELECT r.scan_no, r.role, l.fact_no, l.fact, l.relation, l.lang, r.query, s.p
    FROM (FROM {_MINE}) r JOIN place l USING (place) JOIN scan s USING (key) ORDER BY r.scan_no
"""
_COUNTED = f"SELECT scan_no, own FROM counted_scan SEMI JOIN (FROM {_MINE}) USING (scan_no)"
_NEURONS = f"SELECT scan_no, position, layer, neuron FROM scan_neuron_row {_FRESH}"
_PAIRS = f"SELECT scan_no, position_a, position_b, {', '.join(_VALUES)}, expressed FROM pair {_FRESH}"


def candidates(pairs: HeldPairs, held: Held) -> Ints:
    """(scans, positions) the candidate of `held` that each scanned neuron is; -1 where it has none."""
    numbers = {lang: number for number, lang in enumerate(held.langs)}
    lang = pairs.scans["lang"].replace_strict(numbers, default=None, return_dtype=pl.Int64)
    fact = pairs.scans["fact_no"].cast(pl.Int64).to_numpy()
    scan, position = np.nonzero(pairs.present)
    found = np.full(pairs.present.shape, -1)
    known = lang.is_not_null().to_numpy()[scan]
    scan, position = scan[known], position[known]
    layer, neuron = np.divmod(pairs.neuron[scan, position], held.width)
    found[scan, position] = held.find(fact[scan], lang.fill_null(0).to_numpy()[scan], layer, neuron)
    return found
