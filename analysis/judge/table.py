"""How much a set's ablation takes from facts, beside random sets of its size and beside other facts; and a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from knscope.analysis.judge.choose import KINDS
from knscope.analysis.statistics.bootstrap import Interval, Statistic, cluster_sums
from knscope.analysis.statistics.columns import spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.analysis.types import Floats

_SCHEMA = {
    "facts": pl.String, "readings": pl.Int64, "subjects": pl.Int64, "drop": pl.Float64, "random": pl.Float64,
    **spread_columns("above_random"), "p_random": pl.Float64, **spread_columns("own_above", "own_above"),
    "verdict": pl.String,
}  # fmt: skip
NOTES = (
    "drop: mean of (p before - p after) / p before when the set's neurons are ablated; random: the same for random sets of as many "
    "neurons of the same layers; above_random: the difference, its interval over subjects (95 %)",
    "p_random: share of the random sets, the set itself counted in, whose mean drop is as large",
    "own_above: how much more the set takes from its own facts than from these, each above random, with its interval",
    "verdict: specific (above random, and above facts of the same relation and of others), of the relation (not above facts of the same "
    "relation), generic (not above other relations either), better than random (no other facts to compare with), no better than random, "
    "undecided (fewer than 5 subjects)",
)


def build(document: Mapping[str, Any]) -> Table:
    """A row for the set's own facts and for each kind of other facts that was read."""
    rows = [row for row in document["rows"] if row["before"] > 0]
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    beyond = {kind: _beyond(groups[KINDS[0]], groups[kind]) for kind in KINDS[1:] if groups[kind]}
    cells = []
    for kind, some in groups.items():
        if some:
            above = spread("own_above", beyond[kind], prefix="own_above") if kind in beyond else {}
            cells.append({"facts": kind, **_against_random(some), **above})
    if cells:
        cells[0]["verdict"] = verdict(_above_random(groups[KINDS[0]]), beyond)
    title = f"{document['neurons']} neurons of {document['model']}, ablated"
    unusable, unknown = document["unusable"], document["unknown"]
    left = f"{document['asked']:,} prompts; left out: {unusable:,} unusable, {unknown:,} not known to the model"
    return Table("judge", title, pl.DataFrame(cells, schema=_SCHEMA), (left, *NOTES), told_in_text(_SCHEMA))


def record(document: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """What a set's file says of its judgement: verdict and figures on its own facts, and the question, as JSON has them."""
    row = table.frame.row(0, named=True) if table.frame.height else {}
    figures = {name: row.get(name) for name in ("verdict", "readings", "subjects", "drop", "random", "p_random")}
    found: dict[str, Any] = json.loads(json.dumps({**figures, "question": document["question"]}))
    return found


def beside(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """One sentence: how a verdict that a file brings compares with this one."""
    if before.get("question") != now["question"]:
        return f"the file says {before.get('verdict')}, of other facts or with other draws"
    agrees = "the same" if before.get("verdict") == now["verdict"] else f"{before.get('verdict')}"
    return f"the file says {agrees}, of the same facts and draws"


def verdict(above: Interval, beyond: Mapping[str, Interval]) -> str:
    """What the intervals say of the set on its own facts."""
    if above.low is None:
        return "undecided"
    if above.low <= 0:
        return "no better than random"
    if any(one.low is None for one in beyond.values()):
        return "undecided"
    clear = {kind: one.low is not None and one.low > 0 for kind, one in beyond.items()}
    if not clear:
        return "better than random"
    if all(clear.values()):
        return "specific"
    return "of the relation" if clear.get(KINDS[2]) else "generic"


def _drops(rows: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """(rows,) drops of the set, and (rows, draws) of the random sets."""
    before = np.array([row["before"] for row in rows])
    after, random = np.array([row["after"] for row in rows]), np.array([row["random"] for row in rows])
    return (before - after) / before, (before[:, None] - random) / before[:, None]


def _differences(rows: Sequence[Mapping[str, Any]]) -> Floats:
    drop, random = _drops(rows)
    found: Floats = drop - random.mean(axis=1)
    return found


def _sums(parts: Sequence[Sequence[Mapping[str, Any]]]) -> Floats:
    """(subjects, 2 * parts): sum and count of each part's differences, over the subjects of all parts."""
    columns = []
    for number, rows in enumerate(parts):
        cells = np.zeros((len(rows), 2 * len(parts)))
        if rows:
            cells[:, 2 * number], cells[:, 2 * number + 1] = _differences(rows), 1.0
        columns.append(cells)
    subjects = [row["subject"] for rows in parts for row in rows]
    return cluster_sums(np.concatenate(columns), subjects)


def _above_random(rows: Sequence[Mapping[str, Any]]) -> Interval:
    return Statistic(_sums([rows]), lambda s: s[..., 0] / s[..., 1]).interval() if rows else Interval(None, None, None)


def _beyond(own: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> Interval:
    if not own or len({row["subject"] for row in own}) == 0:
        return Interval(None, None, None)
    return Statistic(_sums([own, others]), lambda s: s[..., 0] / s[..., 1] - s[..., 2] / s[..., 3]).interval()


def _against_random(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drop, random = _drops(rows)
    means = random.mean(axis=0)
    return {
        "readings": len(rows),
        "subjects": len({row["subject"] for row in rows}),
        "drop": float(drop.mean()),
        "random": float(means.mean()),
        **spread("above_random", _above_random(rows)),
        "p_random": float((1 + (means >= drop.mean()).sum()) / (1 + len(means))),
    }
