"""Negative neurons: those whose score lowers the answer most, in sets like N.

rel⁻ is a score over the query's lowest one, so it is 1 for the neuron that pushes the answer down most. A neuron is in N⁻ of a
fact in a language when the score is negative and rel⁻ > τ on at least the template share of the fact's attributed queries, as eq. 6-7
have it for N. Rows are kept of positive scores only, so all values are read from the dense scores.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import numpy as np
import polars as pl

from knscope.store.reader import Reader
from knscope.store.view import View

Sign = Literal["positive", "negative"]
SIGNS: tuple[Sign, ...] = ("positive", "negative")
_KEYS = "SELECT query, key FROM attribution WHERE model = $model AND method = $method"


def negative_neurons(reader: Reader, view: View) -> pl.DataFrame:
    """N⁻ of a View: fact, relation, lang, layer, neuron, rel (the highest rel⁻ over its queries), share (of its queries).

    Strongest first within a fact and language. Raises UserError where dense scores cannot be read.
    """
    keys = dict(reader.sql(_KEYS, {"model": view.model, "method": view.method}).iter_rows())
    asked = reader.queries(view).filter(pl.col("n_kn").is_not_null())
    queries: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for query, fact, relation, lang in asked.select("query", "fact", "relation", "lang").iter_rows():
        queries[fact, relation, lang].append(query)
    addresses = reader.addresses(view.model)
    parts = []
    for (fact, relation, lang), those in queries.items():
        rel = np.stack([_rel(reader.dense(keys[query])) for query in those])
        share = (rel > view.tau[lang]).mean(axis=0)
        flat = np.flatnonzero((share > 0) & (share >= view.template_share - 1e-9))
        highest = rel[:, flat].max(axis=0)
        order = np.lexsort((flat, -highest))
        layer, neuron = addresses.split(flat[order])
        about = {"fact": [fact] * len(flat), "relation": [relation] * len(flat), "lang": [lang] * len(flat)}
        values = {"layer": layer, "neuron": neuron, "rel": highest[order], "share": share[flat][order]}
        parts.append(pl.DataFrame({**about, **values}, schema=_SCHEMA))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)


def _rel(scores: np.ndarray) -> np.ndarray:
    """rel⁻ of every neuron in double precision; 0 where the score is not negative."""
    lowest = float(scores.min(initial=0.0))
    return np.maximum(scores.astype(np.float64) / lowest, 0.0) if lowest < 0 else np.zeros(len(scores))


_SCHEMA = {
    **dict.fromkeys(("fact", "relation", "lang"), pl.String),
    "layer": pl.Int16,
    "neuron": pl.Int32,
    **dict.fromkeys(("rel", "share"), pl.Float64),
}
