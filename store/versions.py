"""Results of several numerics versions in one store: of each model those of the newest count, and older ones are passed over.

A numerics version is raised when the same options give other values, so that two versions never stand side by side as if they were two
prompts of a fact. What is passed over stays on disk, and table `method` names every version that is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from knscope.store.database import NUMBERED
from knscope.store.errors import UserError
from knscope.store.ingest import KEYED
from knscope.store.runs import read_run
from knscope.store.shards import Shard


def version_of(shard: Shard) -> int | None:
    """As the shard's own methods say, or else its run's record; None where neither does, and then nothing is older or newer."""
    methods = shard.tables.get("method")
    if methods is not None and methods.num_rows:
        found: int | None = pc.max(methods["numerics_version"]).as_py()
        return found
    run = shard.path.parent.parent
    try:
        stored: int | None = read_run(run.parent.parent, run.name).provenance.get("numerics_version")
    except UserError:
        return None
    return stored


def models_of(shard: Shard) -> set[str]:
    """Models that the shard has results of."""
    present = (shard.tables[name] for name in KEYED if name in shard.tables)
    return {model for rows in present for model in pc.unique(rows["model"]).to_pylist()}


def newest(shards: Iterable[Shard], known: Mapping[str, int]) -> dict[str, int]:
    """The newest version of each model, in these shards or known before."""
    found = dict(known)
    for shard in shards:
        version = version_of(shard)
        if version is not None:
            for model in models_of(shard):
                found[model] = max(version, found.get(model, version))
    return found


def current(shard: Shard, latest: Mapping[str, int]) -> Shard:
    """The shard without results that are of an older version than the newest of their model."""
    version = version_of(shard)
    if version is None:
        return shard
    old = pa.array([model for model in models_of(shard) if latest[model] > version], pa.string())
    if not len(old):
        return shard
    tables = {
        name: rows.filter(pc.invert(pc.is_in(rows["model"], old))) if name in KEYED else rows
        for name, rows in shard.tables.items()
    }
    return replace(shard, tables=tables)


def retire(cursor: duckdb.DuckDBPyConnection, model: str, large: str) -> dict[str, set[str]]:
    """Take out every result of a model, since newer ones come; returns the keys that are gone, by table.

    :param large: schema of the tables of many rows; rows in a snapshot stay where they are, and belong to nothing then
    """
    gone = {}
    for name, children in KEYED.items():
        rows = cursor.execute(f"SELECT key FROM {name} WHERE model = ?", [model]).fetchall()
        gone[name] = {key for (key,) in rows}
        for child in (*children, *(("pair",) if name == "scan" else ())):
            parent, number = NUMBERED.get(child, ("scan_row", "scan_no") if child == "pair" else (name, "key"))
            table = f"{child}_row" if child in NUMBERED else child
            cursor.execute(
                f"DELETE FROM {large}{table} WHERE {number} IN (SELECT {number} FROM {parent} WHERE model = ?)", [model]
            )
        for table in (name, f"{name}_row") if name in ("attribution", "scan") else (name,):
            cursor.execute(f"DELETE FROM {table} WHERE model = ?", [model])
    return gone
