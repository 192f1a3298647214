"""Where a neuron fires: its stored activations on the queries of a View, as rows, as histograms, and the two ends."""

from __future__ import annotations

import numpy as np
import polars as pl

from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View, sql_literal

BINS = 12
ENDS = 5
"""Queries shown of each end."""
BARS = " ▁▂▃▄▅▆▇█"
HOW = "activation where the answer's first token is read, unedited; bins of equal width from the lowest value of all to the highest"
HISTOGRAM = {
    "by": pl.String, "of": pl.String, "queries": pl.Int64, "lowest": pl.Float64, "median": pl.Float64, "highest": pl.Float64,
    "above_0": pl.Float64, "histogram": pl.String,
}  # fmt: skip
"""Columns of `histograms`."""
UNREAD = "not stored for this neuron: knscope run ... --what neurons reads those with rel >= 0.1 somewhere, or a note"


def fires_sql(reader: Reader, view: View, layer: int, neuron: int) -> str:
    """Every query of the View that the neuron was read on, the highest activation first."""
    model = sql_literal(view.model)
    return f"""\
SELECT activation, q.lang, q.relation, q.subject, q.object, q.p, prompt, q.fact, q.query
FROM ({reader.macro_sql("queries", view)}) q JOIN fires({model}, {layer}, {neuron}) USING (query)
JOIN (SELECT DISTINCT query, prompt FROM prediction WHERE model = {model}) USING (query)
ORDER BY activation DESC, q.lang, q.fact, q.query"""


def fires(reader: Reader, view: View, layer: int, neuron: int) -> pl.DataFrame:
    """What `fires_sql` gives; no rows where nothing is stored of the neuron."""
    return reader.sql(fires_sql(reader, view, layer, neuron))


def activations(reader: Reader, view: View, layer: int, neuron: int) -> Table:
    """The neuron's activation on every query of the View, highest first."""
    frame = fires(reader, view, layer, neuron)
    title = f"activations of neuron {layer}:{neuron} of {view.model}"
    return Table("activations", title, frame, (HOW if frame.height else UNREAD,))


def histograms(fired: pl.DataFrame, name: str) -> Table:
    """One row a language and a relation: queries, lowest, median and highest activation, share above 0, and a histogram."""
    rows = [
        {
            "by": by,
            "of": of,
            "queries": group.height,
            "lowest": values.min(),
            "median": values.median(),
            "highest": values.max(),
            "above_0": int((values > 0).sum()) / group.height,
            "histogram": bars(values.to_numpy(), fired["activation"].to_numpy()),
        }
        for by in ("lang", "relation")
        for (of,), group in fired.sort(by).group_by(by, maintain_order=True)
        for values in (group["activation"],)
    ]
    return Table(
        "fires", f"where neuron {name} fires", pl.DataFrame(rows, schema=HISTOGRAM), (HOW if rows else UNREAD,)
    )


def bars(values: np.ndarray, every: np.ndarray, bins: int = BINS) -> str:
    """A histogram of values (n,) as a text of `bins` characters, over the range of `every` (m,); its fullest bin is a full block."""
    low, high = float(np.min(every)), float(np.max(every))
    counts, _ = np.histogram(values, bins=bins, range=(low, high if high > low else low + 1))
    heights = np.ceil(counts / max(counts.max(), 1) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)


def extremes(fired: pl.DataFrame, name: str) -> Table:
    """The queries on which the neuron fires most and least, highest first."""
    ends = fired if fired.height <= 2 * ENDS else pl.concat([fired.head(ENDS), fired.tail(ENDS)])
    frame = ends.select("activation", "lang", "prompt", "object", "p")
    return Table(
        "extremes", f"queries on which neuron {name} fires most and least", frame, (UNREAD,) if fired.is_empty() else ()
    )
