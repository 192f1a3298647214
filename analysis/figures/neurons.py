"""Where one neuron fires: its activations over the queries, a histogram a language."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.palette import COLOURS, places
from knscope.analysis.figures.style import COLUMN, legend_below, numbers, panels, say_missing

BINS = 30


def activations(table: pl.DataFrame) -> Figure:
    """Of the table `activations`: how many queries lie in each of `BINS` bins of equal width, an outline a language."""
    figure, (axes,) = panels(1, COLUMN, 2.2)
    values, langs = numbers(table["activation"]), table["lang"].to_numpy()
    there = np.isfinite(values)
    edges = np.histogram_bin_edges(values[there], bins=BINS)
    for lang, place in places(table["lang"]).items():
        counts, _ = np.histogram(values[there & (langs == lang)], bins=edges)
        # matplotlib leaves labels that begin with _ out of legends
        label = f"{' ' if lang.startswith('_') else ''}{lang} ({counts.sum():,} queries)"
        axes.stairs(counts, edges, label=label, color=COLOURS[place % len(COLOURS)], linewidth=1.2)
    axes.axvline(0.0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xlabel("activation")
    axes.set_ylabel("queries")
    say_missing(figure, sorted(set(langs[~there])))
    legend_below(figure, [axes])
    return figure
