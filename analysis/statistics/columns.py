"""A figure with its interval as columns of a table: numbers for whoever computes on, a short text for whoever reads.

A figure `d` has the columns d, d_low, d_high and d_interval; where a table is about one figure alone (prefix ""), they
are low, high and interval. An interval without a figure, `vs_first`, has vs_first_low, vs_first_high and its text under
the bare name. "~" before an interval: of fewer than ten subjects, and rough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from knscope.analysis.statistics.bootstrap import Interval

Schema = dict[str, Any]
ENDS = ("low", "high")
RULE = (
    "every word and colour here goes by an interval (95 %) of observed - control alone: above 0 is more than the control, and an interval "
    "that holds 0, or none, shows nothing. Rows are many: of 20 such intervals one misses by chance"
)
"""Said at every table that compares with controls."""


def spread(name: str, interval: Interval, form: str = ".2f", prefix: str | None = None) -> dict[str, object]:
    """The estimate, both ends and the text, whose numbers are written as `form` says."""
    start = _start(name if prefix is None else prefix)
    return {name: interval.estimate, **_ends(start, interval), f"{start}interval": _text(interval, form)}


def span(name: str, interval: Interval, form: str = ".2f") -> dict[str, object]:
    """An interval without its estimate."""
    return {name: _text(interval, form), **_ends(_start(name), interval)}


def spread_columns(name: str, prefix: str | None = None) -> Schema:
    """The columns of `spread`."""
    start = _start(name if prefix is None else prefix)
    return {name: pl.Float64, **{f"{start}{end}": pl.Float64 for end in ENDS}, f"{start}interval": pl.String}


def span_columns(name: str) -> Schema:
    """The columns of `span`."""
    return {name: pl.String, **{f"{name}_{end}": pl.Float64 for end in ENDS}}


def told_in_text(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The ends of which a text beside them tells: a text table leaves them out."""
    found = []
    for name in schema:
        start = next((name.removesuffix(end) for end in ENDS if name.endswith(end)), None)
        if start is not None and (f"{start}interval" in schema or schema.get(start.rstrip("_")) == pl.String):
            found.append(name)
    return tuple(found)


def _start(prefix: str) -> str:
    return f"{prefix}_" if prefix else ""


def _known(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None


def _ends(start: str, interval: Interval) -> dict[str, object]:
    return {f"{start}{end}": getattr(interval, end) if _known(interval) else None for end in ENDS}


def _text(interval: Interval, form: str) -> str | None:
    if _known(interval):
        return f"{'~' if interval.rough else ''}{interval.low:{form}}…{interval.high:{form}}"
    return interval.instead or None
