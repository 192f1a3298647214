"""What languages share (eq. 8), between what chance gives and what other facts share."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.style import CONTROLS, HIGH, OURS, PAGE, numbers, panels, say_missing

ROW, AROUND = 0.26, 0.9
"""Inches of a row, and of axis and legend."""
MOST = int((HIGH - AROUND) / ROW)
"""Rows that fit a page."""
BESIDE = 0.12
"""Of a row: how far the two intervals stand above and below its points, so that both are seen."""
REPEATED = r"^top \d+, "


def likn(table: pl.DataFrame) -> Figure:
    """Of the table `likn`: a row a choice of sets; observed, chance, and the mismatched controls. As many rows as fit a page: those
    that repeat others at equal set size, and then the last ones, stand in the table alone.

    The grey line is where the observed mean would lie if it led over control (a) by no more and no less than the interval of
    that lead says: what reaches `a` shows no lead. The dotted one is the same over control (c).
    """
    total = table.height
    table = table.filter(~pl.col("sets").str.contains(REPEATED)).head(MOST)
    figure, (axes,) = panels(1, PAGE * 0.75, AROUND + ROW * table.height)
    at = np.arange(table.height)
    for control, style, aside in (("a", "solid", -BESIDE), ("c", "dotted", BESIDE)):
        mean, low, high = (numbers(table[name]) for name in (control, f"vs_{control}_low", f"vs_{control}_high"))
        lead = np.isfinite(mean + low + high)
        axes.hlines(
            (at + aside)[lead], (mean + low)[lead], (mean + high)[lead], color="#bbbbbb", linewidth=3, linestyle=style,
            zorder=0,
        )  # fmt: skip
    missing = []
    for name, label, mark, colour, face in (
        ("chance", "by chance", "x", CONTROLS, CONTROLS),
        ("a", "another fact of the relation (a)", "o", CONTROLS, "none"),
        ("b", "a fact of another relation (b)", "s", CONTROLS, "none"),
        ("c", "another fact with the same answer (c)", "^", CONTROLS, "none"),
        ("observed", "observed, 95 % of its lead over (a), dotted: (c)", "D", OURS, OURS),
    ):
        values = numbers(table[name])
        axes.plot(
            values,
            at,
            mark,
            color=colour,
            markerfacecolor=face,
            markersize=5,
            linestyle="none",
            label=label,
            clip_on=False,
        )
        without = table.filter(~pl.Series(np.isfinite(values)))["sets"].to_list()
        if name == "b":  # of one relation alone there is no fact of another
            without = [one for one in without if not one.startswith("relation ")]
        missing += [f"{name} of {'all' if len(without) == table.height else ', '.join(without)}"] if without else []
    say_missing(figure, missing, total - table.height)
    axes.set_yticks(at, [f"{row['sets']} ({row['facts']} facts)" for row in table.iter_rows(named=True)])
    axes.set_ylim(table.height - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("neurons shared by all languages, mean of a fact")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
