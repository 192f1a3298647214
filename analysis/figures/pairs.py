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
    """Of the table `dkn`: the paper's rule to the left, the strict one to the right; three bars a language, each with its interval."""
    figure, axes = panels(2, PAGE, 2.3)
    langs = table["lang"].unique(maintain_order=True).to_list()
    sources = table["neurons"].unique(maintain_order=True).to_list()
    width = 0.8 / max(len(sources), 1)
    missing = []
    for turn, source in enumerate(sources):
        part = table.filter(neurons=source)
        at = np.array([langs.index(lang) for lang in part["lang"]]) + width * (turn - (len(sources) - 1) / 2)
        for panel, rule in zip(axes, ("paper", "strict"), strict=True):
            values, low, high = (numbers(part[f"{rule}_{name}"], 100) for name in ("rate", "low", "high"))
            known = np.isfinite(values)
            colour = SHADES[turn % len(SHADES)]
            panel.bar(at[known], values[known], width=width, color=colour, label=source if known.any() else None)
            ends = errors(values, low, high)[:, known]
            panel.errorbar(
                at[known], values[known], yerr=ends, fmt="none", ecolor=COLOURS[1], elinewidth=1.0, capsize=1.5
            )
        missing += [f"{source}, {lang}" for lang in part.filter(~pl.Series(known))["lang"]]
    say_missing(figure, missing)
    for panel, title in zip(axes, ("the paper's rule", "strict: less together than apart"), strict=True):
        panel.set_xticks(range(len(langs)), [str(lang) for lang in langs])
        panel.set_title(title, loc="left")
        panel.set_ylabel("degenerate, % of the pairs")
    legend_below(figure, axes)
    return figure
