"""The figure of a result that a person asked for in SQL: bars, a line or a histogram."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.palette import COLOURS
from knscope.analysis.figures.style import COLUMN, numbers, panels
from knscope.analysis.statistics.charted import charted

BAR = 0.16
"""Inches of a bar."""


def chart(table: pl.DataFrame) -> Figure:
    """What `charted` makes of the table's first columns; a number that is missing leaves its place empty."""
    drawn = charted(table)
    values = numbers(pl.Series(drawn.values, dtype=pl.Float64, strict=False))
    bars = drawn.kind == "bar"
    figure, (axes,) = panels(1, COLUMN, 0.7 + BAR * len(values) if bars else 2.4)
    if bars:
        axes.barh(range(len(values)), values, color=COLOURS[0], height=0.75)
        axes.set_yticks(range(len(values)), list(drawn.labels))
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_ylabel(drawn.along)
        axes.set_xlabel(
            drawn.value + (f" (the first {len(values)} of {table.height:,} rows)" if drawn.left_out else "")
        )
        return figure
    if drawn.kind == "line":
        axes.plot(list(drawn.labels), values, color=COLOURS[0], marker="o" if len(values) <= 50 else "", markersize=3)
    else:
        axes.bar(list(drawn.labels), values, width=drawn.width or 1.0, align="edge", color=COLOURS[0])
    axes.set_xlabel(drawn.along)
    axes.set_ylabel(drawn.value)
    return figure
