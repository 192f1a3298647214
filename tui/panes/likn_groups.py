"""The controls of the LIKN pane as a table of groups that fold: all facts first; by token, relation and pair of languages on demand."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column

if TYPE_CHECKING:
    import polars as pl

GROUPS = {"relation": "relations", "pair": "pairs", "token": "answer tokens"}
"""Groups that fold, in their order."""
_TOP = re.compile(r"^top (\d+)(?: of each|, )?")


def mean_of(value: float | None) -> str:
    """Two decimals up to a hundred, then as many as keep it within five cells as long as they can."""
    if value is None:
        return cells.NOTHING
    if value != value:  # a title
        return ""
    if 0 < value < 0.005:
        return "<.01"
    return f"{value:.2f}" if value < 99.995 else f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def _share(share: float | None) -> str:
    return cells.NOTHING if share is None else "" if share != share else f"{100 * share:.0f}%"


COLUMNS = (
    Column("label", "sets", grow=True, least=15, most=30),
    Column("facts", "facts", lambda n: "" if n is None else cells.count(n), right=True, drop=4),
    Column("coverage", "that share", _share, right=True, drop=5),
    Column("observed", "shared", mean_of, right=True),
    Column("a", "relation", mean_of, right=True),
    Column("c", "answer", mean_of, right=True),
    Column("b", "others", mean_of, right=True, drop=2),
    Column("chance", "chance", mean_of, right=True, drop=1),
    Column(
        "verdict",
        "verdict",
        lambda word: cells.NOTHING if word is None else word.removeprefix("of the "),
        tone=lambda word: "good" if word == "own" else "",
    ),
    Column("vs_a", "shared - relation", cells.plain, drop=6),
    Column("vs_c", "shared - answer", cells.plain, drop=7),
)
LEGEND = "relation, answer, others: with mismatched facts"


def group_of(sets: str) -> str:
    """Which group a line of the table belongs to; empty: those that never fold."""
    name = _TOP.sub("", sets)
    if not name or name == "at the thresholds":
        return ""
    return "relation" if name.startswith("relation ") else "pair" if " + " in name else "token"


def label_of(sets: str) -> str:
    """A line's name within its group: `P36`, `P36, top 6`."""
    top = _TOP.match(sets)
    name = _TOP.sub("", sets).removeprefix("relation ")
    size = f"top {top[1]}" if top else ""
    if group_of(sets):
        return "  " + ", ".join(filter(None, (name, size)))
    return f"{size} of each" if size else name.replace("at the ", "at ")


def grouped(frame: pl.DataFrame, open_groups: Collection[str]) -> pl.DataFrame:
    """The lines that are seen: those that never fold, then of every group its title (`group` names it) and, where it is open, its
    lines, each beside its twin of equal size."""
    import polars as pl

    lines = list(frame.with_columns(group=pl.lit(None, pl.String)).iter_rows(named=True))
    nothing = {name: float("nan") if dtype == pl.Float64 else None for name, dtype in frame.schema.items()} | {
        "verdict": ""
    }
    seen = [{**line, "label": label_of(line["sets"])} for line in lines if not group_of(line["sets"])]
    for group, title in GROUPS.items():
        members = [line for line in lines if group_of(line["sets"]) == group]
        if not members:
            continue
        names = list(dict.fromkeys(_TOP.sub("", line["sets"]) for line in members))
        sign = "▾" if group in open_groups else "▸"
        seen.append({**nothing, "sets": group, "group": group, "label": f"{sign} {title} ({len(names)})"})
        if group in open_groups:
            for name in names:
                twins = [line for line in members if _TOP.sub("", line["sets"]) == name]
                seen += [{**line, "label": label_of(line["sets"])} for line in twins]
    seen = [{name: line.get(name) for name in (*frame.columns, "group", "label")} for line in seen]
    columns = pl.Schema({**frame.schema, "group": pl.String(), "label": pl.String()})
    return pl.DataFrame(seen, schema=columns)
