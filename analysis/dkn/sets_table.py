"""Degenerate sets of three and more neurons, by size, beside both controls, and what screening may have missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from knscope.analysis.dkn.larger import SIZE, Larger, counting, larger
from knscope.analysis.dkn.sets import LARGEST, check_size, judge
from knscope.analysis.dkn.table import ROLES, rate_lead
from knscope.analysis.edits.sets import set_id
from knscope.analysis.statistics.bootstrap import UNKNOWN
from knscope.analysis.statistics.columns import RULE, span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.score import share_interval
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.store.address import Addresses
from knscope.store.reader import Reader
from knscope.store.runs import read_runs
from knscope.store.view import View

HELD = 8
"""Of how many thresholds the counts of scans are held."""
_COUNTS = ("candidates", "flagged", "ablated", "missing", "sets", "strict", "audited", "missed")
_AFTER = "SELECT \"set\", query, p_after FROM edit WHERE model = $model AND operation = 'suppress'"
NOTES = (
    "sets of so many of the 20 strongest neurons, all in N (controls: standing in for such, none in N), main query. candidates: every "
    "proper subset loses at most T_low (from four on, subsets of three and more as predicted); flagged: the sum of single and pair "
    "effects in logits predicts a loss above T_high - 0.03; those are ablated with their subsets, at most 150 a scan",
    "sets: by eq. 9, all proper subsets lose at most T_low and the whole more than T_high; strict: and the interaction of all its "
    "neurons, which no smaller set accounts for, is below -delta",
    "rate: sets / candidates, its interval over subjects (95 %); vs_kn: interval of the knowledge neurons' rate less this one, paired. "
    "~: fewer than 10 subjects, rough; too few: fewer than 5",
    "audited: candidates not flagged, drawn and ablated all the same; missed: of these, those that lose more than T_high; error: "
    "largest difference between a predicted and an ablated loss",
)


def build(reader: Reader, view: View, size: int = SIZE, seed: int = 0) -> Table:
    """One row a size, from 3 to `size`, and role; over all languages of the View.

    :raises UserError: for a size that is not from 3 to 6
    """
    check_size(size)
    frame = pl.DataFrame(_counts_of(reader, view, size, seed), schema=_COUNTED)
    rows = []
    for level in range(3, size + 1):
        parts = {role: frame.filter(size=level, role=role) for role in ROLES}
        rows += [
            {"size": level, "neurons": name, **_row(parts[role], parts["kn"], role)} for role, name in ROLES.items()
        ]
    table = pl.DataFrame(rows, schema=_SCHEMA)
    missing = int(table["missing"].sum())
    notes = [f"{missing:,} of the sets these thresholds ask for are not computed yet: --what sets"] if missing else []
    limits = f"T_low {view.t_low:g}, T_high {view.t_high:g} ({view.drop}), delta {view.delta:g}"
    title = f"degenerate sets: {view.model}, {view.method}"
    return Table("dkn_sets", title, table, (*notes, limits, *NOTES, RULE), told_in_text(_SCHEMA))


def asked_size(reader: Reader) -> int:
    """Neurons of the largest sets that a run of the store ablated; SIZE where none did."""
    sizes = [one.config.get("size") for one in read_runs(reader.path) if "sets" in (one.config.get("what") or ())]
    return min(LARGEST, max((size for size in sizes if type(size) is int), default=SIZE))


def _counts_of(reader: Reader, view: View, size: int, seed: int) -> list[dict[str, object]]:
    """Counts of every scan, a row a size. Those of a scan of which the same neurons count at the same limits are held: another tau
    changes few of them."""
    held: dict[tuple[object, ...], list[dict[str, object]]] = reader.kept(("larger sets", view.model), dict)
    limits = view.t_low, view.t_high, view.delta, view.drop, size, seed
    keys = {number: (number, inside, *limits) for number, inside in counting(reader, view).items()}
    lacking = [number for number, key in keys.items() if key not in held]
    if lacking:
        if len(held) > HELD * len(keys):
            held.clear()
            lacking = list(keys)
        held.update({keys[number]: [] for number in lacking})
        subject = subject_of(reader)
        stored = {(name, query): p for name, query, p in reader.sql(_AFTER, {"model": view.model}).iter_rows()}
        addresses = reader.addresses(view.model)
        for one in larger(reader, view, size, seed, lacking):
            held[keys[one.number]] = _counted(one, view, stored, addresses, subject[one.fact])
    return [row for key in keys.values() for row in held[key]]


def _counted(
    one: Larger, view: View, stored: Mapping[tuple[str, str], float], addresses: Addresses, subject: str
) -> list[dict[str, object]]:
    """Counts of one scan, a row a size."""
    after: dict[tuple[int, ...], float] = {}
    wanted = list(one.wanted())
    layers, places = (found.tolist() for found in addresses.split(one.neurons))
    for members in wanted:
        p = stored.get((set_id([layers[at] for at in members], [places[at] for at in members]), one.query))
        if p is not None:
            after[members] = p
    rows: list[dict[str, object]] = []
    for level, screened in enumerate(one.levels):
        size = screened.sets.shape[1]
        row: dict[str, object] = {"size": size, "role": one.role, "fact": one.fact, "subject": subject}
        asked = [members for members in wanted if len(members) == size]
        seen = [members for members in asked if members in after]
        flagged = [one.members(level, place) for place in one.chosen[level].tolist()]
        judged = [found for s in flagged if (found := judge(one.scan, s, after, view.t_low, view.t_high)) is not None]
        degenerate = [found for found in judged if found.degenerate]
        drawn = [members for place in one.audited[level].tolist() if (members := one.members(level, place)) in after]
        row |= {"candidates": len(screened.sets), "flagged": int(screened.flagged.sum()), "ablated": len(seen)}
        row |= {"missing": len(asked) - len(seen), "sets": len(degenerate)}
        row |= {"strict": sum(found.interaction < -view.delta for found in degenerate), "audited": len(drawn)}
        row |= {"missed": sum(bool(one.scan.drop(after[members]) > view.t_high) for members in drawn)}
        rows.append(row | {"error": _error(one, seen, after)})
    return rows


def _error(one: Larger, seen: Sequence[tuple[int, ...]], after: Mapping[tuple[int, ...], float]) -> float | None:
    if not seen:
        return None
    predicted = one.scan.predicted(np.array(seen))
    return float(np.abs(predicted - one.scan.drop([after[members] for members in seen])).max())


def _row(counts: pl.DataFrame, own: pl.DataFrame, role: str) -> dict[str, object]:
    totals = {name: int(counts[name].sum()) for name in _COUNTS}
    # What no set was ablated of has no rate, not a rate of 0.
    unread = bool(totals["missing"]) and not totals["ablated"]
    rate = (
        UNKNOWN
        if unread
        else share_interval(counts["sets"].to_numpy(), counts["candidates"].to_numpy(), counts["subject"].to_numpy())
    )
    return {
        "facts": counts["fact"].n_unique(),
        "subjects": counts["subject"].n_unique(),
        **totals,
        **(dict.fromkeys(("sets", "strict")) if unread else {}),
        **spread("rate", rate, ".1g"),
        **span("vs_kn", UNKNOWN if role == "kn" or unread else rate_lead(own, counts, "sets", "candidates"), ".1g"),
        "error": counts["error"].max(),
    }


_COUNTED = {
    "size": pl.Int64,
    **dict.fromkeys(("role", "fact", "subject"), pl.String),
    **dict.fromkeys(_COUNTS, pl.Int64),
    "error": pl.Float64,
}
_SCHEMA = {
    "size": pl.Int64,
    "neurons": pl.String,
    **dict.fromkeys(("facts", "subjects", *_COUNTS[:6]), pl.Int64),
    **spread_columns("rate"),
    **span_columns("vs_kn"),
    **dict.fromkeys(_COUNTS[6:], pl.Int64),
    "error": pl.Float64,
}
