"""Where the neurons are: their share by layer, per language, with what the languages share beside it (figures 3-5)."""

from __future__ import annotations

import polars as pl

from knscope.analysis.report import paper
from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View

NOTES = (
    "share of each fact's neurons by layer, mean over facts; LIKN: neurons shared by all chosen languages",
    f"paper (figures 3-5): {paper.FIGURES}",
)


def build(reader: Reader, view: View) -> Table:
    """One row a layer: neurons and their mean share for each language, for LIKN and for DKN where there are any."""
    hist = reader.layer_hist(view)
    if hist.is_empty():
        frame = pl.DataFrame(schema={"layer": pl.Int64})
    else:
        # Sums in parallel differ in the last bits from time to time.
        hist = hist.with_columns(pl.col("share").round(12))
        counts = hist.pivot("kind", index="layer", values="n", aggregate_function="first")
        shares = hist.pivot("kind", index="layer", values="share", aggregate_function="first")
        kinds = counts.columns[1:]
        columns = [column for kind in kinds for column in (kind, f"{kind} share")]
        frame = counts.join(shares.rename({kind: f"{kind} share" for kind in kinds}), on="layer", how="left")
        frame = frame.select("layer", *columns).sort("layer")
    return Table("layers", f"neurons by layer: {view.model}, {view.method}", frame, NOTES)
