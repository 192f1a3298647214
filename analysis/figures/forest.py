"""Figures with intervals: a row a contender, a point, its 95 % interval, and the value that would mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knscope.analysis.figures.palette import COLOURS, places
from knscope.analysis.figures.style import CONTROLS, OURS, PAGE, errors, numbers, panels, reach, say_missing

ROW = 0.17  # inches
NAMES = 1.5  # inches of the names beside the rows
ACROSS = 4  # panels side by side
ALL = "all"
"""What a table calls the row of all its languages."""
SOURCES = "model", "method"
"""Columns of a table of several models or methods: each of these then has a block of its own."""
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
    counts: Sequence[str] = ()
    """Columns that say of how many the rows of a panel are, or those of a block where `by_block`."""
    by_block: bool = False
    shared: bool = True
    """Whether all panels have one axis: not where one's values would be too small to be seen beside another's."""


def forest(table: pl.DataFrame, form: Forest, controls: Sequence[str] = ()) -> Figure:
    """One panel for each value of `form.panel`, and the names once beside them; rows in the table's order. `controls`: names drawn
    paler. Where a panel or a block is a language, its points have the language's colour."""
    several = [
        name
        for name in SOURCES
        if name in table.columns and name not in (form.name, *form.panel) and table[name].n_unique() > 1
    ]
    form = replace(form, heading=(*several, *form.heading))
    table = table.with_columns(pl.Series(name, numbers(table[name])) for name in (form.value, form.low, form.high))
    parts = table.partition_by(form.panel, maintain_order=True) if form.panel else [table]
    across = min(len(parts), ACROSS)
    down = -(-len(parts) // across)
    rows = _rows(table, form)
    width = PAGE if across > 2 else min(PAGE, NAMES + 2.75 * across)
    figure, axes = panels(across, width, 0.6 + down * (0.25 + ROW * len(rows)), down, sharex=form.shared, sharey=True)
    missing = []
    for panel in axes[len(parts) :]:
        panel.set_visible(False)
    goes_on = False
    colours = {**_colours(table, form), **dict.fromkeys(controls, CONTROLS)}
    for panel, part in zip(axes, parts, strict=False):
        beyond = _limits(panel, table if form.shared else part, form)
        goes_on |= bool((part[form.high].to_numpy() > beyond).any())
        _panel(panel, part, form, beyond, colours, rows)
        titles = [*(str(part[column][0]) for column in form.panel), "" if form.by_block else counted(part, form.counts)]
        if part[form.value].is_not_nan().any() and part[form.low].is_nan().all():
            titles.append("too few for intervals")
        panel.set_title(", ".join(filter(None, titles)), loc="left")
        without = part.filter(pl.col(form.value).is_nan()).select(form.name, *form.heading, *form.panel)
        missing += [", ".join(map(str, row)) for row in without.iter_rows()]
    figure.supxlabel(f"{form.xlabel}{' (▸: its interval goes on)' if goes_on else ''}", fontsize="medium")
    _name_rows(axes[0], rows, _of_blocks(table, form) if form.by_block else {})
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


def counted(part: pl.DataFrame, counts: Sequence[str]) -> str:
    """`14 facts, 12–14 subjects`: what the rows of a part are of, by the columns of these names."""
    told = []
    for name in counts:
        if name in part.columns and (known := part[name].drop_nulls().to_list()):
            ends = dict.fromkeys(f"{end:,}" for end in (min(known), max(known)))
            told.append(f"{'–'.join(ends)} {name.removesuffix('s') if max(known) == 1 else name}")
    return ", ".join(told)


def _of_blocks(table: pl.DataFrame, form: Forest) -> dict[tuple[object, ...], str]:
    blocks = table.partition_by(form.heading, maintain_order=True)
    return {part.select(form.heading).row(0): counted(part, form.counts) for part in blocks}


def _name_rows(axes: Axes, rows: Mapping[Row, int], of_block: Mapping[tuple[object, ...], str]) -> None:
    """Names at the left of the axis; headings in their own empty lines, from the figure's left edge, where a long one takes no room
    from the points.

    :param of_block: what the rows of a block are of
    """
    axes.set_yticks([line for (_, name), line in rows.items() if name], [name for _, name in rows if name])
    for (block, name), line in rows.items():
        if not name:
            heading = ", ".join(filter(None, (*map(str, block), of_block.get(block, ""))))
            at = axes.annotate(
                heading, (0.01, line), xycoords=("figure fraction", "data"), annotation_clip=False,
                fontsize=7, fontweight="bold", verticalalignment="center",
            )  # fmt: skip
            at.set_in_layout(False)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _colours(table: pl.DataFrame, form: Forest) -> Mapping[str, str]:
    """The colour of each language where panels or blocks are languages; `all` of them together have none."""
    if "lang" not in (*form.panel, *form.heading):
        return {}
    found = places(lang for lang in table["lang"] if lang != ALL)
    return {lang: COLOURS[place % len(COLOURS)] for lang, place in found.items()}


def _limits(axes: Axes, table: pl.DataFrame, form: Forest) -> float:
    """Set both ends of the axis, so that a point on the edge is seen whole, and one wide interval of a rate of 0 flattens no other;
    where intervals end that go on beyond."""
    if form.ends is None:
        return np.inf
    low, high = form.ends
    if high is None:
        high = reach(table[form.value].to_numpy(), table[form.high].to_numpy(), low)
    high = high if high > low else low + 1.0  # nothing to draw, or nothing but zeros
    room = 0.02 * (high - low)
    axes.set_xlim(low - room, high + room)
    return high + room if form.ends[1] is None else np.inf


def _panel(
    axes: Axes, part: pl.DataFrame, form: Forest, beyond: float, colours: Mapping[str, str], rows: Mapping[Row, int]
) -> None:
    for row in part.filter(pl.col(form.value).is_not_nan()).iter_rows(named=True):
        value, high = row[form.value], row[form.high]
        line = rows[tuple(row[column] for column in form.heading), str(row[form.name])]
        colour = colours.get(row[form.name], colours.get(str(row.get("lang")), OURS))
        ends = errors([value], [row[form.low]], [min(high, beyond)])
        axes.errorbar([value], [line], xerr=ends, fmt="o", color=colour, markersize=3, elinewidth=0.9, clip_on=False)
        if high > beyond:
            axes.plot([beyond], [line], ">", color=colour, markersize=3, clip_on=False)
    if form.nothing is not None and (form.ends is None or form.nothing > form.ends[0]):
        axes.axvline(form.nothing, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.tick_params(axis="y", length=0)
