"""Figures 3-5: where the neurons lie, and whether what languages share or what backs up lies anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from knscope.analysis.figures.forest import counted
from knscope.analysis.figures.palette import COLOURS, places
from knscope.analysis.figures.style import (
    COLUMN,
    MARKS,
    OURS,
    PAGE,
    errors,
    legend_below,
    numbers,
    panels,
    reach,
    say_missing,
)


def enrichment(table: pl.DataFrame) -> Figure:
    """Of the table `enrichment`: the shares with their intervals; beside them, of what is a subset of N, how much more of it
    lies in a layer than of N."""
    kinds = table["kind"].unique(maintain_order=True).to_list()
    subsets = [kind for kind in kinds if table.filter(kind=kind)["expected"].is_not_null().any()]
    figure, axes = panels(2 if subsets else 1, PAGE if subsets else COLUMN, 2.8)
    missing = _with_intervals(axes[0], table, "share", [kind for kind in kinds if not kind.startswith("DKN")])
    _finish(axes[0], table, "share of a fact's neurons")
    if subsets:
        axes[1].axhline(1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
        highest = reach(numbers(table["enrichment"]), numbers(table["enrichment_high"]))
        axes[1].set_ylim(top=1.04 * max(1.0, highest))
        missing += _with_intervals(axes[1], table, "enrichment", subsets)
        _finish(axes[1], table, "enrichment over N")
    say_missing(figure, missing)
    legend_below(figure, axes)
    return figure


def _with_intervals(axes: Axes, table: pl.DataFrame, name: str, kinds: Sequence[str]) -> list[str]:
    """Lines a little beside each other, so that their intervals can be told apart. Returns what has no value."""
    looks = _looks(table["kind"].unique(maintain_order=True).to_list())
    missing = []
    for turn, kind in enumerate(kinds):
        part = table.filter(kind=kind)
        values, lows, highs = (numbers(part[column]) for column in (name, f"{name}_low", f"{name}_high"))
        at = part["layer"].to_numpy() + 0.3 * (turn / max(len(kinds) - 1, 1) - 0.5)
        missing += _missing(f"{name} of {kind}", part.select("layer", pl.Series("value", values)), "value")
        _line(axes, _counted(kind, part), looks[kind], at, values)
        top = axes.get_ylim()[1] if name == "enrichment" else np.inf
        over = highs > top
        if over.any():  # an arrow where the interval goes on
            axes.plot(at[over], np.full(over.sum(), top), "^", color=looks[kind][0], markersize=3, clip_on=False)
        ends = errors(values, lows, np.minimum(highs, top))
        axes.errorbar(at, values, yerr=ends, fmt="none", ecolor=looks[kind][0], elinewidth=0.8)
    return missing


def _missing(what: str, part: pl.DataFrame, column: str) -> list[str]:
    """`what`, and in which layers, where some values of a column are NaN: `layers 1–10, 14`."""
    layers = part.filter(pl.col(column).is_nan())["layer"].to_list()
    if len(layers) == part.height:
        return [what]
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1][1:] = [layer]
        else:
            runs.append([layer])
    told = ", ".join("–".join(map(str, run)) for run in runs)
    return [f"{what} in {'layer' if len(layers) == 1 else 'layers'} {told}"] if layers else []


def _counted(kind: str, part: pl.DataFrame) -> str:
    """With the number of subjects, where it is known."""
    of = counted(part.select(pl.col("^subjects$").max()), ("subjects",))
    return f"{kind} ({of})" if of else kind


def _looks(kinds: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each kind: a language has its own, its degenerate neurons the same."""
    langs = places(kind.removeprefix("DKN ") for kind in kinds if kind not in ("LIKN", "DKN"))
    own = {lang: (COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]) for lang, place in langs.items()}
    return {kind: own.get(kind.removeprefix("DKN "), (OURS, "X")) for kind in kinds}


def _line(axes: Axes, name: str, look: tuple[str, str], at: npt.ArrayLike, values: npt.ArrayLike) -> None:
    colour, mark = look
    style = "--" if name.startswith(("LIKN", "DKN")) else "-"
    if np.count_nonzero(np.isfinite(np.asarray(values, float))) < 3:
        style = ""  # two points make no course
    label = f" {name}" if name.startswith("_") else name  # matplotlib leaves labels that begin with _ out of legends
    axes.plot(at, values, label=label, color=colour, marker=mark, markersize=3, linestyle=style)


def _finish(axes: Axes, table: pl.DataFrame, ylabel: str) -> None:
    axes.set_xlabel("layer")
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0.0)
    layers = table["layer"].unique().sort().to_list()
    if len(layers) <= 12:
        axes.set_xticks(layers)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
