"""Which picture the columns of a result make: bars of a number by a name, a line of two numbers, or a histogram of one.

The rows are named by their first columns, as many as tell them apart (`lang, layer`, `layer, neuron`), as GROUP BY leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

BARS = 40
"""Bars of a picture at most."""
BINS = 20


@dataclass(frozen=True)
class Charted:
    """What is drawn: `labels` along one axis, called `along`, and a number of each, called `value`."""

    kind: str
    along: str
    value: str
    labels: Sequence[Any]
    """Texts of bars; numbers of a line, and the lower ends of a histogram's bins."""
    values: Sequence[float | None]
    width: float = 0.0
    """Of a histogram's bins."""
    left_out: int = 0
    """Rows beyond BARS."""


def kind_of(frame: pl.DataFrame) -> str:
    """`bar` where columns name the rows and a number follows, `line` where one number does, or where there are two numbers,
    `histogram` where there is one; empty where there is none."""
    numbers = _numbers(frame)
    if not numbers or frame.is_empty():
        return ""
    names, value = _named_by(frame)
    if value:
        return "line" if names[0] in numbers and len(names) == 1 else "bar"
    return "bar" if len(numbers) < len(frame.columns) else "line" if len(numbers) > 1 else "histogram"


def charted(frame: pl.DataFrame) -> Charted:
    """The picture of the first columns that make one. There is one: `kind_of` says so."""
    numbers, kind = _numbers(frame), kind_of(frame)
    names, value = _named_by(frame)
    if kind == "bar":
        if not value:  # no first columns tell the rows apart
            names, value = [name for name in frame.columns if name not in numbers], numbers[0]
        first = frame.head(BARS)
        labels = [
            " ".join("–" if part is None else str(part) for part in row) for row in first.select(names).iter_rows()
        ]
        left_out = frame.height - first.height
        return Charted(kind, ", ".join(names), value, labels, first[value].to_list(), left_out=left_out)
    if kind == "line":
        along, value = (names[0], value) if value else numbers[:2]
        ordered = frame.select(along, value).drop_nulls().sort(along)
        return Charted(kind, along, value, ordered[along].to_list(), ordered[value].to_list())
    lows, counts, width = _bins(frame[numbers[0]].drop_nulls().drop_nans().to_list())
    return Charted(kind, numbers[0], "rows", lows, counts, width)


def _named_by(frame: pl.DataFrame) -> tuple[list[str], str]:
    """The first columns that tell all rows apart, and the first number after them; empty where there are none."""
    numbers = _numbers(frame)
    for end in range(1, len(frame.columns)):
        names = frame.columns[:end]
        value = next((name for name in frame.columns[end:] if name in numbers), "")
        if value and frame.select(names).n_unique() == frame.height:
            return names, value
    return [], ""


def _numbers(frame: pl.DataFrame) -> list[str]:
    return [name for name, dtype in frame.schema.items() if dtype.is_numeric()]


def _bins(values: Sequence[float]) -> tuple[list[float], list[int], float]:
    """Lower ends of equal bins from the least to the largest value, how many values are in each, and their width."""
    if not values:
        return [], [], 0.0
    low, high = min(values), max(values)
    if low == high:
        return [low], [len(values)], 0.0
    counts, width = [0] * BINS, (high - low) / BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
    return [low + place * width for place in range(BINS)], counts, width
