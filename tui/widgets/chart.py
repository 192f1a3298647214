"""A result of SQL as a picture in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from knscope.analysis.statistics.charted import BARS, Charted, charted
from knscope.tui.printing.format import one_line
from knscope.tui.widgets.bars import bar
from knscope.tui.widgets.cells import plain

if TYPE_CHECKING:
    import polars as pl

NAME = 28
"""Cells of a name at most."""


def chart(frame: pl.DataFrame, width: int) -> Text:
    """What `charted` makes of the frame, `width` cells wide."""
    drawn = charted(frame)
    title, rows = _rows(drawn)
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
    if drawn.left_out:
        text.append(f"the first {BARS} of {len(rows) + drawn.left_out:,} rows\n", style="dim")
    text.rstrip()
    return text


def _rows(drawn: Charted) -> tuple[str, list[tuple[str, float | None]]]:
    """What stands above, and a line a bar; of a long line every so manyth value."""
    if drawn.kind == "bar":
        return f"{drawn.value} by {drawn.along}", list(zip(drawn.labels, drawn.values, strict=True))
    if drawn.kind == "line":
        every = max(1, -(-len(drawn.values) // BARS))
        labels, values = (list(each)[::every] for each in (drawn.labels, drawn.values))
        more = f", every {every}th row" if every > 1 else ""
        return f"{drawn.value} over {drawn.along}{more}", [(plain(x), y) for x, y in zip(labels, values, strict=True)]
    ends = [f"{low:.4g} … {low + drawn.width:.4g}" if drawn.width else plain(low) for low in drawn.labels]
    return f"how often {drawn.along} lies where", list(zip(ends, drawn.values, strict=True))
