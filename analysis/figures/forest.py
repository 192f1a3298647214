"""Figures with intervals: a row a contender, a point, its 95 % interval, and the value that would mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knscope.analysis.figures.style import CONTROLS, OURS, PAGE, errors, numbers, panels, say_missing

ROW = 0.17  # inches
NAMES = 1.5  # inches of the names beside the rows
ACROSS = 4  # panels side by side
Row = tuple[tuple[object, ...], str]
"""A block, and a name in it; empty: the block's heading."""


@dataclass(frozen=True)
class Forest:
    """What a table of contenders is drawn of: columns of its frame, and what they are called."""

    name: str
    value: str
    low: str
    high: str
    xlabel: str
    panel: Sequence[str] = ()
    """Columns whose values together name a panel."""
    nothing: float | None = 0.0
    """The value that means no effect."""
    heading: Sequence[str] = ()
    """Columns whose change starts a new block of rows, named above it."""
    ends: tuple[float, float | None] | None = None
    """The least and the largest value that there can be."""


def forest(table: pl.DataFrame, form: Forest, controls: Sequence[str] = ()) -> Figure:
    """One panel for each value of `form.panel`, and the names once beside them; rows in the table's order. `controls`: names drawn
    paler."""
    parts = table.partition_by(form.panel, maintain_order=True) if form.panel else [table]
    across = min(len(parts), ACROSS)
    down = -(-len(parts) // across)
    rows = _rows(table, form)
    width = PAGE if across > 2 else min(PAGE, NAMES + 2.75 * across)
    figure, axes = panels(across, width, 0.6 + down * (0.25 + ROW * len(rows)), down, sharex=True, sharey=True)
    figure.supxlabel(form.xlabel, fontsize="medium")
    missing = []
    for panel in axes[len(parts) :]:
        panel.set_visible(False)
    for panel, part in zip(axes, parts, strict=False):
        _panel(panel, part, form, controls, rows)
        title = ", ".join(str(part[column][0]) for column in form.panel)
        panel.set_title(title, loc="left")
        without = part.filter(pl.Series(numbers(part[form.value])).is_nan())[form.name]
        missing += [f"{name}, {title}" if title else str(name) for name in without]
    _name_rows(axes[0], rows)
    say_missing(figure, missing)
    return figure


def _rows(table: pl.DataFrame, form: Forest) -> dict[Row, int]:
    """The line of each block's heading (without a name) and of each name in a block."""
    found: dict[Row, int] = {}
    headings = table.select(form.heading).unique(maintain_order=True).rows() if form.heading else [()]
    rows = table.select(*form.heading, form.name).unique(maintain_order=True).rows()
    for block in headings:
        names = [str(row[-1]) for row in rows if row[:-1] == block]
        for name in ["", *names] if form.heading else names:
            found[block, name] = len(found)
    return found


def _name_rows(axes: Axes, rows: Mapping[Row, int]) -> None:
    labels = [name or "table " + ", ".join(map(str, block)) for block, name in rows]
    axes.set_yticks(list(rows.values()), labels)
    for label, (_, name) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if name else "bold")
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _panel(axes: Axes, part: pl.DataFrame, form: Forest, controls: Sequence[str], rows: Mapping[Row, int]) -> None:
    drawn = part.with_columns(pl.Series(name, numbers(part[name])) for name in (form.value, form.low, form.high))
    for row in drawn.iter_rows(named=True):
        value = row[form.value]
        if value == value:  # not NaN
            line = rows[tuple(row[column] for column in form.heading), str(row[form.name])]
            colour = CONTROLS if row[form.name] in controls else OURS
            ends = errors([value], [row[form.low]], [row[form.high]])
            axes.errorbar([value], [line], xerr=ends, fmt="o", color=colour, markersize=3, elinewidth=0.9)
    if form.nothing is not None:
        axes.axvline(form.nothing, color="#bbbbbb", linewidth=0.8, zorder=0)
    if form.ends is not None:
        low, high = form.ends
        room = 0.02 * (
            (high if high is not None else axes.get_xlim()[1]) - low
        )  # so that a point on the edge is seen whole
        axes.set_xlim(low - room if high is not None else low, high + room if high is not None else None)
    axes.tick_params(axis="y", length=0)
