"""Figures 3-5: where the neurons lie, and whether what languages share or what backs up lies anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knscope.analysis.figures.style import COLOURS, COLUMN, MARKS, OURS, PAGE, errors, legend_below, panels


def layers(table: pl.DataFrame) -> Figure:
    """Of the table `layers`: the mean share of a fact's neurons in each layer, a line a language."""
    figure, (axes,) = panels(1, COLUMN, 2.4)
    kinds = [name.removesuffix(" share") for name in table.columns if name.endswith(" share")]
    looks = _looks(kinds)
    for kind in sorted(kinds, key=lambda kind: kind.startswith(("LIKN", "DKN"))):
        part = table.filter(pl.col(f"{kind} share").is_not_null())
        _line(axes, kind, looks[kind], part["layer"].to_list(), part[f"{kind} share"].to_list())
    _finish(axes, table, "share of a fact's neurons")
    legend_below(figure, [axes])
    return figure


def enrichment(table: pl.DataFrame) -> Figure:
    """Of the table `enrichment`: the shares with their intervals; beside them, of what is a subset of N, how much more of it
    lies in a layer than of N."""
    kinds = table["kind"].unique(maintain_order=True).to_list()
    subsets = [kind for kind in kinds if table.filter(kind=kind)["expected"].is_not_null().any()]
    figure, axes = panels(2 if subsets else 1, PAGE if subsets else COLUMN, 2.8)
    _with_intervals(axes[0], table, "share", [kind for kind in kinds if not kind.startswith("DKN")])
    _finish(axes[0], table, "share of a fact's neurons")
    if subsets:
        axes[1].axhline(1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
        _with_intervals(axes[1], table, "enrichment", subsets)
        _finish(axes[1], table, "enrichment over N")
    legend_below(figure, axes)
    return figure


def _with_intervals(axes: Axes, table: pl.DataFrame, name: str, kinds: Sequence[str]) -> None:
    """Lines a little beside each other, so that their intervals can be told apart."""
    looks = _looks(table["kind"].unique(maintain_order=True).to_list())
    for turn, kind in enumerate(kinds):
        part = table.filter(kind=kind)
        values, lows, highs = (part[column].to_list() for column in (name, f"{name}_low", f"{name}_high"))
        at = [layer + 0.3 * (turn / max(len(kinds) - 1, 1) - 0.5) for layer in part["layer"].to_list()]
        _line(axes, kind, looks[kind], at, values)
        axes.errorbar(at, values, yerr=errors(values, lows, highs), fmt="none", ecolor=looks[kind][0], elinewidth=0.8)


def _looks(kinds: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each kind: a language has its own, its degenerate neurons the same."""
    langs = sorted({kind.removeprefix("DKN ") for kind in kinds if kind not in ("LIKN", "DKN")})
    own = {lang: (COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]) for place, lang in enumerate(langs)}
    return {kind: own.get(kind.removeprefix("DKN "), (OURS, "X")) for kind in kinds}


def _line(axes: Axes, kind: str, look: tuple[str, str], at: list[float], values: list[float | None]) -> None:
    colour, mark = look
    drawn = [float("nan") if value is None else value for value in values]
    style = "--" if kind.startswith(("LIKN", "DKN")) else "-"
    axes.plot(at, drawn, label=kind, color=colour, marker=mark, markersize=3, linestyle=style)


def _finish(axes: Axes, table: pl.DataFrame, ylabel: str) -> None:
    axes.set_xlabel("layer")
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0.0)
    layers = table["layer"].unique().sort().to_list()
    if len(layers) <= 12:
        axes.set_xticks(layers)
