"""Where the neurons are: their share by layer, per language, with what the languages share beside it (figures 3-5)."""

from __future__ import annotations

import polars as pl

from analysis.tables import Table
from store.reader import Reader
from store.view import View

NOTE = "share of each fact's neurons by layer, mean over facts; LIKN: neurons shared by all chosen languages"


def build(reader: Reader, view: View) -> Table:
    """One row a layer: neurons and their mean share for each language, for LIKN and for DKN where there are any."""
    hist = reader.layer_hist(view)
    if hist.is_empty():
        frame = pl.DataFrame(schema={"layer": pl.Int64})
    else:
        wide = [
            hist.pivot("kind", index="layer", values=value, aggregate_function="first").rename(
                lambda name, end=end: name if name == "layer" else f"{name} {end}"
            )
            for value, end in (("n", "n"), ("share", "share"))
        ]
        frame = wide[0].join(wide[1], on="layer", how="left").sort("layer")
    return Table("layers", f"neurons by layer: {view.model}, {view.method}", frame, (NOTE,))
