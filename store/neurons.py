"""Whether rows name neurons that their model has, as table site says: what is counted of others would lie outside every array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from knscope.store.dense import MOST_NEURONS

Extents = Mapping[str, tuple[int, int]]
"""Layers and neurons of the widest one, by model."""
NAMED: Mapping[str, tuple[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "score": ("attribution", (("layer", "neuron"),)),
        "scan_neuron": ("scan", (("layer", "neuron"),)),
        "ablation": ("scan", (("layer_a", "neuron_a"), ("layer_b", "neuron_b"))),
    }
)
"""Tables whose rows name neurons: the table that says of which model, and the columns."""
POSITIONS = 127
"""Neurons that a scan may have: there is a bit for each (derived.sql)."""
Site = tuple[str, int, int, int]
"""Model, layer, width and offset."""


class StrangeRowsError(Exception):
    """Rows that no run writes: which, and why."""


def extents(sites: Iterable[Site]) -> Extents:
    """Raises StrangeRowsError where a site is none."""
    found: dict[str, tuple[int, int]] = {}
    for model, layer, width, offset in sites:
        if not (layer >= 0 and 0 < width <= MOST_NEURONS and 0 <= offset <= MOST_NEURONS):
            raise StrangeRowsError(f"table site says of {model}: layer {layer}, width {width}, offset {offset}")
        layers, widest = found.get(model, (0, 0))
        found[model] = max(layers, layer + 1), max(widest, width)
    return found


def check(table: str, rows: pa.Table, parents: npt.NDArray[Any], models: pa.Array, known: Extents) -> None:
    """Look at rows of a table, (n,): `parents` says which of `models` each belongs to.

    :raises StrangeRowsError: naming the first that is none
    """
    coded = models.dictionary_encode()
    limits = np.array([known.get(model, (0, 0)) for model in coded.dictionary.to_pylist()], np.int64).reshape(-1, 2)
    which = coded.indices.to_numpy()[parents]
    for columns in NAMED[table][1]:
        for limit, name in zip(limits.T, columns, strict=True):
            numbers = pc.fill_null(rows[name], 0).to_numpy()
            _refuse(table, name, numbers, (numbers < 0) | (numbers >= limit[which]))
    if table == "scan_neuron":
        numbers = rows["position"].to_numpy()
        _refuse(table, "position", numbers, (numbers < 0) | (numbers >= POSITIONS))


def _refuse(table: str, name: str, numbers: npt.NDArray[Any], wrong: npt.NDArray[np.bool_]) -> None:
    if wrong.any():
        raise StrangeRowsError(f"table {table} has {name} {numbers[wrong.argmax()]}, which the model has not")


def extents_of(sites: pa.Table | None) -> Extents:
    """Of a shard's table site, where it has one. Raises StrangeRowsError."""
    columns = ("model", "layer", "width", "offset")
    return extents(zip(*(sites[name].to_pylist() for name in columns), strict=True) if sites is not None else ())


def check_shard(tables: Mapping[str, pa.Table], others: Extents) -> None:
    """Look at a shard's rows. `others`: what other shards say of its models, which a run writes only once.

    :raises StrangeRowsError:
    """
    known = {**others, **extents_of(tables.get("site"))}
    for name, (parent, _) in NAMED.items():
        if name in tables and parent in tables:
            keys, models = (tables[parent][column].combine_chunks() for column in ("key", "model"))
            for batch in tables[name].to_batches():
                parents = pc.index_in(batch["key"].dictionary, keys).take(batch["key"].indices)
                rows = pa.table(batch).filter(pc.is_valid(parents))
                check(name, rows, parents.drop_null().to_numpy(), models, known)
