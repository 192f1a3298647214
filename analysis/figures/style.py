"""How figures look: a column of a paper wide, colours that colour-blind readers tell apart, text that stays text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knscope.analysis.types import Floats

COLUMN, PAGE, HIGH = 3.4, 7.0, 9.5
"""Inches: one column of a two-column paper, both, and the height of its text."""
OURS, CONTROLS = "#000000", "#7f7f7f"
"""What is claimed, and what could explain it away."""
LINE = 0.15
"""Inches of a line of small text."""
MARKS = "osD^vP*X"
REACH = 3
"""Where a figure's values have no upper end, intervals are drawn to this many times the largest value; an arrow says that one goes on."""
NAMED = 6
"""Missing values named one by one; the others are counted."""
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
    "text.parse_math": False,  # a name with $ is no formula
    "text.usetex": False,
}


@contextmanager
def paper_style(families: Sequence[str] = ()) -> Iterator[None]:
    """Inside, figures are drawn by RULES over matplotlib's own defaults, whatever a matplotlibrc in the working folder says.

    :param families: of fonts, each tried for the characters that those before it lack
    """
    with style.context(["default", {**RULES, **({"font.family": list(families)} if families else {})}]):
        yield


def panels(columns: int, width: float, height: float, lines: int = 1, **given: Any) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, in one line or several. It belongs to no window, so threads may draw at once."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, **given)
    return figure, list(axes.flat)


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend of everything drawn, under all panels."""
    named = {text: mark for each in axes for mark, text in zip(*each.get_legend_handles_labels(), strict=True)}
    if named:
        letters = 18 * figure.get_figwidth()  # of a line
        across = max(1, int(letters / (max(map(len, named)) + 6)))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(across, len(named)))


def numbers(column: pl.Series, scale: float = 1.0) -> Floats:
    """A column's values times `scale`; NaN, which is not drawn, for nulls and infinities."""
    values = scale * column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def errors(values: npt.ArrayLike, lows: npt.ArrayLike, highs: npt.ArrayLike) -> Floats:
    """Distances from each value to the ends of its interval, (2, n); 0 where there is none. Never negative."""
    value, low, high = (np.asarray(each, dtype=float) for each in (values, lows, highs))
    ends: Floats = np.nan_to_num(np.stack([value - low, high - value]).clip(min=0.0))
    return ends


def reach(values: Floats, highs: Floats, least: float = 0.0) -> float:
    """How far an axis goes, so that one wide interval flattens no other."""
    most = float(np.nanmax(values, initial=least))
    widest = float(np.nanmax(highs, initial=most))
    return min(widest, REACH * most) if most > least else widest


def say_missing(figure: Figure, names: Sequence[str], left_out: int = 0) -> None:
    """Name above the panels what the table has no value of, and say how many of its rows have no room."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    said = [f"no value: {'; '.join(names[:NAMED])}{more}"] if names else []
    said += [f"{left_out:,} more {'row' if left_out == 1 else 'rows'} in the table"] if left_out else []
    if said:
        text = "\n".join(fill(one, int(18 * figure.get_figwidth())) for one in said)
        figure.set_figheight(figure.get_figheight() + LINE * (text.count("\n") + 1))
        figure.suptitle(text, fontsize="small", color=CONTROLS, x=0.01, horizontalalignment="left")
