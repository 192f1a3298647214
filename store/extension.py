"""τ below the floor: the neurons that are not kept as rows are added from the dense scores to the same table, then the same macros run.

Rows kept and rows added hold the same numbers, rel = score / max_score in double precision, so both sides of the seam answer alike. Each
step adds some queries whole and lowers their floor in one transaction: a macro either sees a query's rows or refuses the τ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from knscope.store.address import Addresses
from knscope.store.dense import DenseRow, Scores, only_rows
from knscope.store.errors import UserError
from knscope.store.ingest import registered

QUERIES_AT_ONCE, BYTES_AT_ONCE = 64, 256 << 20
Step = Sequence[tuple["Missing", Scores]]
"""Some queries with their dense scores, (n_neurons,) each."""


@dataclass(frozen=True)
class Missing:
    """An attribution whose rows end at `floor`, and are wanted down to `tau`."""

    aq: int
    key: str
    floor: float
    best: float
    tau: float


def missing_rows(cursor: duckdb.DuckDBPyConnection, chosen: str, taus: Mapping[str, float]) -> list[Missing]:
    """Attributions of a View (`chosen` is its FROM clause) whose floor lies above the τ of their language."""
    rows = cursor.execute(
        f"SELECT c.aq, a.key, c.floor, a.max_score, p.lang FROM {chosen} c JOIN attribution_row r USING (aq) "
        "JOIN attribution a ON a.key = r.key JOIN place p ON p.place = c.place WHERE c.floor > $lowest ORDER BY c.aq",
        {"lowest": min(taus.values())},
    ).fetchall()
    return [
        Missing(aq, key, floor, best, taus[lang])
        for aq, key, floor, best, lang in rows
        if lang in taus and floor > taus[lang]
    ]


def steps(
    missing: Sequence[Missing], places: Mapping[str, Sequence[DenseRow]], read: Callable[[str], Scores]
) -> Iterator[Step]:
    """Dense scores in the order in which they lie on disk. `places`: where they lie, by key."""
    if lost := [one.key for one in missing if one.key not in places]:
        raise only_rows(len(lost))
    step: list[tuple[Missing, Scores]] = []
    for one in sorted(missing, key=lambda one: (str(places[one.key][-1][0].path), places[one.key][-1][1])):
        step.append((one, read(one.key)))
        large = sum(scores.nbytes for _, scores in step) > BYTES_AT_ONCE
        if large or len(step) == QUERIES_AT_ONCE:
            yield step
            step = []
    if step:
        yield step


def extend(
    cursor: duckdb.DuckDBPyConnection,
    table: str,
    steps: Iterator[Step],
    addresses: Addresses,
    progress: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> bool:
    """Add rows to `table` step by step; `progress` is told how many queries are done. False when cancelled: what is done stays."""
    done = 0
    for step in steps:
        if cancelled():
            return False
        rows = _between(step, addresses)
        floors = pa.table({"aq": pa.array([m.aq for m, _ in step], pa.int32()), "floor": [m.tau for m, _ in step]})
        cursor.execute("BEGIN")
        try:
            with registered(cursor, rows):
                cursor.execute(f"INSERT INTO {table} FROM incoming")
            with registered(cursor, floors):
                cursor.execute(
                    "UPDATE attribution_row SET floor = i.floor FROM incoming i WHERE i.aq = attribution_row.aq"
                )
            cursor.execute("COMMIT")
        except duckdb.Error:
            cursor.execute("ROLLBACK")
            raise
        done += len(step)
        progress(done)
    return not cancelled()


def _between(step: Step, addresses: Addresses) -> pa.Table:
    """Rows of score_row with tau <= rel < floor, of a positive score; highest rel first, as rows that were stored."""
    parts = []
    for one, row in step:
        if len(row) != addresses.n_neurons:
            raise UserError(
                f"the dense scores of {one.key} have {len(row)} neurons, and table site has {addresses.n_neurons}; "
                "knscope store verify names what is damaged"
            )
        if one.best <= 0:
            continue
        # A float32 bar a hair too low finds few candidates; what counts is decided in double precision.
        candidates = np.flatnonzero(row > np.float32(one.tau * one.best * (1 - 1e-6)))
        rel = row[candidates].astype(np.float64) / one.best
        inside = (rel >= one.tau) & (rel < one.floor) & (rel > 0)
        flat = candidates[inside]
        parts.append((np.full(len(flat), one.aq, np.int32), flat, row[flat], rel[inside]))
    if not parts:
        parts = [(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0))]
    aq, flat, score, rel = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-rel, kind="stable")
    layer, neuron = addresses.split(flat[order])
    columns = {
        "aq": aq[order], "layer": layer, "neuron": neuron, "score": score[order], "rel": rel[order],
    }  # fmt: skip
    return pa.table(columns)
