"""How figures look: a column of a paper wide, colours that colour-blind readers tell apart, text that stays text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0
"""Inches: one column of a two-column paper, and both."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#7f7f7f")
"""Okabe and Ito's, without black."""
OURS, CONTROLS = "#000000", "#7f7f7f"
"""What is claimed, and what could explain it away."""
MARKS = "osD^vP*X"
RULES: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # fonts are embedded whole: publishers refuse type 3
    "svg.hashsalt": "knscope",  # the same table makes the same file
}


@contextmanager
def paper_style() -> Iterator[None]:
    with mpl.rc_context(RULES):
        yield


def panels(columns: int, width: float, height: float, **given: Any) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side. It belongs to no window, so threads may draw at once."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **given)
    return figure, list(axes[0])


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend of everything drawn, under all panels."""
    named = {text: mark for each in axes for mark, text in zip(*each.get_legend_handles_labels(), strict=True)}
    across = 6 if figure.get_figwidth() > COLUMN else 4
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(across, len(named)))


def errors(values: Sequence[float | None], lows: Sequence[float | None], highs: Sequence[float | None]) -> Any:
    """Distances from each value to the ends of its interval, (2, n); 0 where there is none. Never negative."""
    value, low, high = (
        np.array([np.nan if v is None else v for v in each], dtype=float) for each in (values, lows, highs)
    )
    return np.nan_to_num(np.stack([value - low, high - value]).clip(min=0.0))
