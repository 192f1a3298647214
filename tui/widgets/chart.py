"""A result of SQL as a picture in the terminal: bars of a number by a name, a line of two numbers, or a histogram of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from knscope.tui.printing.format import one_line
from knscope.tui.widgets.bars import bar
from knscope.tui.widgets.cells import plain

if TYPE_CHECKING:
    import polars as pl

BARS = 40
"""Bars of a picture at most."""
BINS = 20
NAME = 28
"""Cells of a name at most."""


def kind_of(frame: pl.DataFrame) -> str:
    """`bar` where a column that is no number names the rows, `line` where there are two numbers, `histogram` where there is one;
    empty where there is none."""
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    if not numbers or frame.is_empty():
        return ""
    return "bar" if len(numbers) < len(frame.columns) else "line" if len(numbers) > 1 else "histogram"


def chart(frame: pl.DataFrame, width: int) -> Text:
    """The picture of the first columns that make one, `width` cells wide. There is one: `kind_of` says so."""
    kind = kind_of(frame)
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    if kind == "bar":
        names = [name for name in frame.columns if name not in numbers]
        rows = [
            (" ".join(plain(row[name]) for name in names), row[numbers[0]])
            for row in frame.head(BARS).iter_rows(named=True)
        ]
        title = f"{numbers[0]} by {', '.join(names)}"
    elif kind == "line":
        ordered = frame.select(numbers[:2]).drop_nulls().sort(numbers[0])
        every = max(1, -(-ordered.height // BARS))
        rows = [(plain(x), y) for x, y in ordered.gather_every(every).iter_rows()]
        title = f"{numbers[1]} over {numbers[0]}" + (f", every {every}th row" if every > 1 else "")
    else:
        rows = _bins(frame[numbers[0]].drop_nulls().to_list())
        title = f"how often {numbers[0]} lies where"
    text = Text(f"{one_line(title)}\n", style="bold", no_wrap=True)
    wide = min(NAME, max((cell_len(one_line(name)) for name, _ in rows), default=0))
    top = max((abs(value) for _, value in rows if value is not None), default=0) or 1
    for name, value in rows:
        label = Text(one_line(name))
        label.truncate(wide, overflow="ellipsis", pad=True)
        text.append_text(label).append(f" {plain(value):>10} ")
        text.append(
            f"{bar(abs(value or 0) / top, max(4, width - wide - 13))}\n", style="" if (value or 0) >= 0 else "dim"
        )
    if kind == "bar" and frame.height > BARS:
        text.append(f"the first {BARS} of {frame.height:,} rows\n", style="dim")
    text.rstrip()
    return text


def _bins(values: list[float]) -> list[tuple[str, int]]:
    """Equal bins from the least to the largest, and how many values are in each."""
    low, high = min(values), max(values)
    if low == high:
        return [(plain(low), len(values))]
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
    step = (high - low) / BINS
    return [(f"{low + place * step:.4g} … {low + (place + 1) * step:.4g}", count) for place, count in enumerate(counts)]
