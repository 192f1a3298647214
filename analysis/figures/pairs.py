"""Degenerate pairs and larger sets (eq. 9-10) as a share of those looked at, beside the same share of both controls."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from matplotlib.figure import Figure

from knscope.analysis.figures.forest import Forest, counted, forest

CONTROLS = ("others, same layers", "others, same single drops")
RULES = {"paper": "the paper's rule", "strict": "strict: less together than apart"}
_PAIRS = Forest(
    "neurons", "rate", "low", "high", "degenerate, % of the pairs", panel=("rule",), heading=("lang",), ends=(0.0, None),
    counts=("pairs",), by_block=True, shared=False,
)  # fmt: skip
_SETS = Forest(
    "neurons", "rate", "rate_low", "rate_high", "degenerate, % of the candidates", panel=("size",), ends=(0.0, None),
    counts=("facts",), shared=False,
)  # fmt: skip


def dkn(table: pl.DataFrame) -> Figure:
    """Of the table `dkn`: the paper's rule to the left, the strict one to the right; a block a language, a row a kind of neurons."""
    rules = [
        table.select(
            pl.col(*(name for name in ("model", "method", "pairs") if name in table.columns), "lang", "neurons"),
            pl.lit(title).alias("rule"),
            *((pl.col(f"{rule}_{name}").cast(pl.Float64) * 100).alias(name) for name in ("rate", "low", "high")),
        )
        for rule, title in RULES.items()
    ]
    facts = f" of {counted(table, ('facts',))}" if "facts" in table.columns else ""
    return forest(pl.concat(rules), replace(_PAIRS, xlabel=f"{_PAIRS.xlabel}{facts}"), CONTROLS)


def sets(table: pl.DataFrame) -> Figure:
    """Of the table `dkn_sets`: a panel a size."""
    percent = pl.col("rate", "rate_low", "rate_high").cast(pl.Float64) * 100
    return forest(table.with_columns(percent, size=pl.format("{} neurons", "size")), _SETS, CONTROLS)
