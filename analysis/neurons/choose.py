"""Which neurons are looked at one by one, and on which queries they have not been read yet. Knows no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from knscope.analysis.types import Ints
from knscope.store.reader import Reader

LEAST = 0.1
"""Half the lowest default τ: neurons below it on every query are in no set that one looks at."""
_CHOSEN = f"""
    SELECT DISTINCT s.layer, s.neuron FROM score_row s JOIN attribution_row a USING (aq)
    WHERE a.model = $model AND s.rel >= {LEAST}
    UNION SELECT layer, neuron FROM note WHERE model = $model
"""
_READ = """
    SELECT query, list("set" ORDER BY "set") AS sets FROM activation WHERE model = $model GROUP BY query
"""


def chosen(reader: Reader, model: str) -> Ints:
    """Flat neurons, ascending, with rel of at least `LEAST` on a query, by any method, or with a note."""
    rows = reader.sql(_CHOSEN, {"model": model})
    flat = reader.addresses(model).flat(rows["layer"].to_numpy(), rows["neuron"].to_numpy())
    return np.unique(np.asarray(flat, np.int64))


def unread(reader: Reader, model: str, queries: Iterable[str]) -> Mapping[tuple[int, ...], list[str]]:
    """The chosen neurons whose activations are not stored, with the queries (ids) that lack just these."""
    wanted = chosen(reader, model)
    sets = _sets(reader, model)
    read = dict(reader.sql(_READ, {"model": model}).iter_rows())
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for query in queries:
        groups[tuple(read.get(query, ()))].append(query)
    lacking: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for names, group in groups.items():
        there = np.concatenate([np.zeros(0, np.int64), *(sets[name] for name in names if name in sets)])
        left = np.setdiff1d(wanted, there)
        if left.size:
            lacking[tuple(left.tolist())] += group
    return lacking


def _sets(reader: Reader, model: str) -> dict[str, Ints]:
    """Flat neurons of the sets that activations are stored of."""
    sql = """
        SELECT "set", layers, neurons FROM edited_set
        WHERE model = $model AND "set" IN (SELECT "set" FROM activation WHERE model = $model)
    """
    addresses = reader.addresses(model)
    return {
        name: np.asarray(addresses.flat(np.array(layers), np.array(neurons)), np.int64)
        for name, layers, neurons in reader.sql(sql, {"model": model}).iter_rows()
    }
