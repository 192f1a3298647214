"""Which picture the columns of a result make: bars of a number by a name, a line of two numbers, or a histogram of one."""

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
    """`bar` where a column that is no number names the rows, `line` where there are two numbers, `histogram` where there is one;
    empty where there is none."""
    numbers = _numbers(frame)
    if not numbers or frame.is_empty():
        return ""
    return "bar" if len(numbers) < len(frame.columns) else "line" if len(numbers) > 1 else "histogram"


def charted(frame: pl.DataFrame) -> Charted:
    """The picture of the first columns that make one. There is one: `kind_of` says so."""
    numbers, kind = _numbers(frame), kind_of(frame)
    if kind == "bar":
        names = [name for name in frame.columns if name not in numbers]
        first = frame.head(BARS)
        labels = [
            " ".join("–" if part is None else str(part) for part in row) for row in first.select(names).iter_rows()
        ]
        left_out = frame.height - first.height
        return Charted(kind, ", ".join(names), numbers[0], labels, first[numbers[0]].to_list(), left_out=left_out)
    if kind == "line":
        ordered = frame.select(numbers[:2]).drop_nulls().sort(numbers[0])
        return Charted(kind, numbers[0], numbers[1], ordered[numbers[0]].to_list(), ordered[numbers[1]].to_list())
    lows, counts, width = _bins(frame[numbers[0]].drop_nulls().drop_nans().to_list())
    return Charted(kind, numbers[0], "rows", lows, counts, width)


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
