"""Figures with intervals: a row a contender, a point, its 95 % interval, and the value that would mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knscope.analysis.figures.style import CONTROLS, OURS, errors, numbers, panels, say_missing

ROW = 0.17  # inches
NAMES = 1.5  # inches of the names beside the rows


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


def forest(table: pl.DataFrame, form: Forest, controls: Sequence[str] = ()) -> Figure:
    """One panel for each value of `form.panel`; rows in the table's order. `controls`: names drawn paler."""
    parts = table.partition_by(form.panel, maintain_order=True) if form.panel else [table]
    rows = max(_height(part, form) for part in parts)
    figure, axes = panels(len(parts), NAMES * len(parts) + 1.9 * len(parts), 0.6 + ROW * rows, sharex=True)
    figure.supxlabel(form.xlabel, fontsize="medium")
    missing = []
    for panel, part in zip(axes, parts, strict=True):
        _panel(panel, part, form, controls)
        title = ", ".join(str(part[column][0]) for column in form.panel)
        panel.set_title(title, loc="left")
        without = part.filter(pl.Series(numbers(part[form.value])).is_nan())[form.name]
        missing += [f"{name}, {title}" if title else str(name) for name in without]
    say_missing(figure, missing)
    return figure


def _height(part: pl.DataFrame, form: Forest) -> int:
    return part.height + (part.select(form.heading).n_unique() if form.heading else 0)


def _panel(axes: Axes, part: pl.DataFrame, form: Forest, controls: Sequence[str]) -> None:
    at, labels, line = list[int](), list[str](), 0
    before: tuple[object, ...] | None = None
    drawn = part.with_columns(pl.Series(name, numbers(part[name])) for name in (form.value, form.low, form.high))
    for row in drawn.iter_rows(named=True):
        block = tuple(row[column] for column in form.heading)
        if form.heading and block != before:
            before = block
            at.append(line)
            labels.append("table " + ", ".join(str(value) for value in block))
            line += 1
        at.append(line)
        labels.append(str(row[form.name]))
        value = row[form.value]
        if value == value:  # not NaN
            colour = CONTROLS if row[form.name] in controls else OURS
            ends = errors([value], [row[form.low]], [row[form.high]])
            axes.errorbar([value], [line], xerr=ends, fmt="o", color=colour, markersize=3, elinewidth=0.9)
        line += 1
    if form.nothing is not None:
        axes.axvline(form.nothing, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_yticks(at, labels)
    for label, text in zip(axes.get_yticklabels(), labels, strict=True):
        label.set_fontweight("bold" if text.startswith("table ") else "normal")
    axes.set_ylim(line - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
