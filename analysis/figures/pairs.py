"""Degenerate pairs (eq. 9-10) as a share of the pairs looked at, beside the same share of both controls."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.style import COLOURS, CONTROLS, OURS, PAGE, errors, legend_below, panels

SHADES = (OURS, CONTROLS, COLOURS[5])


def dkn(table: pl.DataFrame) -> Figure:
    """Of the table `dkn`: the paper's rule to the left, the strict one with its interval to the right; three bars a language."""
    figure, axes = panels(2, PAGE, 2.3)
    langs = table["lang"].unique(maintain_order=True).to_list()
    sources = table["neurons"].unique(maintain_order=True).to_list()
    width = 0.8 / max(len(sources), 1)
    for turn, source in enumerate(sources):
        part = table.filter(neurons=source)
        at = [langs.index(lang) + width * (turn - (len(sources) - 1) / 2) for lang in part["lang"]]
        for panel, rate in zip(axes, ("paper_rate", "strict_rate"), strict=True):
            values = [100 * (value or 0.0) for value in part[rate]]
            panel.bar(at, values, width=width, color=SHADES[turn % len(SHADES)], label=source)
        lows, highs = (
            [None if end is None else 100 * end for end in part[name]] for name in ("strict_low", "strict_high")
        )
        ends = errors(values, lows, highs)
        axes[1].errorbar(at, values, yerr=ends, fmt="none", ecolor=COLOURS[1], elinewidth=1.0, capsize=1.5)
    for panel, title in zip(axes, ("the paper's rule", "strict: less together than apart"), strict=True):
        panel.set_xticks(range(len(langs)), langs)
        panel.set_title(title, loc="left")
        panel.set_ylabel("degenerate, % of the pairs")
    legend_below(figure, axes[:1])
    return figure
