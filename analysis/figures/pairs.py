"""Degenerate pairs (eq. 9-10) as a share of the pairs looked at, beside the same share of both controls."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.palette import COLOURS
from knscope.analysis.figures.style import (
    CONTROLS,
    OURS,
    PAGE,
    errors,
    legend_below,
    numbers,
    panels,
    say_missing,
)

SHADES = (OURS, CONTROLS, COLOURS[5])


def dkn(table: pl.DataFrame) -> Figure:
    """Of the table `dkn`: the paper's rule to the left, the strict one with its interval to the right; three bars a language."""
    figure, axes = panels(2, PAGE, 2.3)
    langs = table["lang"].unique(maintain_order=True).to_list()
    sources = table["neurons"].unique(maintain_order=True).to_list()
    width = 0.8 / max(len(sources), 1)
    missing = []
    for turn, source in enumerate(sources):
        part = table.filter(neurons=source)
        at = np.array([langs.index(lang) for lang in part["lang"]]) + width * (turn - (len(sources) - 1) / 2)
        paper, strict, low, high = (
            numbers(part[name], 100) for name in ("paper_rate", "strict_rate", "strict_low", "strict_high")
        )
        known = np.isfinite(strict)
        for panel, values in zip(axes, (paper, strict), strict=True):
            drawn = np.isfinite(values)
            colour = SHADES[turn % len(SHADES)]
            panel.bar(at[drawn], values[drawn], width=width, color=colour, label=source if drawn.any() else None)
        ends = errors(strict, low, high)[:, known]
        axes[1].errorbar(
            at[known], strict[known], yerr=ends, fmt="none", ecolor=COLOURS[1], elinewidth=1.0, capsize=1.5
        )
        missing += [f"{source}, {lang}" for lang in part.filter(~pl.Series(known))["lang"]]
    say_missing(figure, missing)
    for panel, title in zip(axes, ("the paper's rule", "strict: less together than apart"), strict=True):
        panel.set_xticks(range(len(langs)), [str(lang) for lang in langs])
        panel.set_title(title, loc="left")
        panel.set_ylabel("degenerate, % of the pairs")
    legend_below(figure, axes)
    return figure
