"""The neurons of a fact in a language, best first: by mean rel over its templates, as scans choose theirs (METHOD §5).

Rows hold rel from the floor up, so a neuron that some template has below it, or negative, has no row there: its values of
that fact are read from the dense scores instead, and are 0 where none are stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from knscope.analysis.types import Floats
from knscope.store.reader import Reader
from knscope.store.view import View

_CHOSEN = """
    WITH chosen AS (
        SELECT a.key, a.query, q.fact, q.lang, a.max_score
        FROM attribution a JOIN query q USING (query)
        WHERE a.model = $model AND a.method = $method AND list_contains($langs, q.lang)
          AND (len($relations) = 0 OR list_contains($relations, q.relation))
          AND (len($facts) = 0 OR list_contains($facts, q.fact)) AND (len($queries) = 0 OR list_contains($queries, q.query))
          AND (NOT $known OR a.query IN (SELECT query FROM prediction WHERE model = $model AND known))
    )
"""
_SUMS = (
    _CHOSEN
    + """
    , counted AS (SELECT *, count(*) OVER (PARTITION BY fact, lang) AS templates FROM chosen)
    SELECT fact, lang, s.layer, s.neuron, sum(s.rel) / any_value(templates) AS rel, count(*) < any_value(templates) AS partly
    FROM counted JOIN score s USING (key) GROUP BY fact, lang, s.layer, s.neuron
"""
)
_KEYS = (
    _CHOSEN
    + "SELECT fact, lang, list(key ORDER BY key) AS keys, list(max_score ORDER BY key) AS highest FROM chosen GROUP BY ALL"
)


def ranked(reader: Reader, view: View) -> pl.DataFrame:
    """Every neuron with a stored score on a query of the View: fact, lang, layer, neuron, rel (its mean), best first.

    Ties go by layer and neuron. Depends on no threshold, and is kept while the store does not change.
    """
    names = view.parameters("model", "method", "langs", "relations", "facts", "queries", "known")
    return reader.kept(("ranked", *(str(value) for value in names.values())), lambda: _ranked(reader, names))


def _ranked(reader: Reader, names: Mapping[str, object]) -> pl.DataFrame:
    rows = reader.sql(_SUMS, names)
    if rows["partly"].any():
        rows = _completed(reader, rows, names)
    return rows.drop("partly").sort("rel", "layer", "neuron", descending=[True, False, False])


def _completed(reader: Reader, rows: pl.DataFrame, names: Mapping[str, object]) -> pl.DataFrame:
    """The same with the mean over all templates where only some have a row."""
    wanted = reader.addresses(str(names["model"])).with_flat(rows.with_row_index("at").filter("partly"))
    means = rows["rel"].to_numpy().copy()
    keys = {(fact, lang): (keys, highest) for fact, lang, keys, highest in reader.sql(_KEYS, names).iter_rows()}
    for (fact, lang), part in wanted.group_by("fact", "lang"):
        flat = part["flat"].to_numpy()
        total = np.zeros(len(flat))
        for key, highest in zip(*keys[str(fact), str(lang)], strict=True):
            if highest > 0:
                total += rel(reader, key)[flat]
        means[part["at"].to_numpy()] = total / len(keys[str(fact), str(lang)][0])
    return rows.with_columns(rel=pl.Series(means))


def rel(reader: Reader, key: str) -> Floats:
    """rel of every neuron of one attribution, (n_neurons,); 0 below the floor where `--dense none` stored no other.

    Raises UserError where scores are stored and cannot be read.
    """
    if reader.has_dense(key):
        scores = reader.dense(key).astype(np.float64)
        best = scores.max(initial=0.0)
        return scores / best if best > 0 else np.zeros_like(scores)
    rows = reader.sql(
        "SELECT model, layer, neuron, rel FROM attribution LEFT JOIN score USING (key) WHERE key = $key", {"key": key}
    )
    addresses = reader.addresses(rows["model"][0])
    rows = addresses.with_flat(rows.drop_nulls())
    found = np.zeros(addresses.n_neurons)
    found[rows["flat"].to_numpy()] = rows["rel"].to_numpy()
    return found
