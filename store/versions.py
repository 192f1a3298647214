"""Results of several numerics versions in one store: of each model those of the newest count, and older ones are passed over.

A numerics version is raised when the same options give other values, so that two versions never stand side by side as if they were two
prompts of a fact. What is passed over stays on disk, and table `method` names every version that is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from knscope.store.database import NUMBERED
from knscope.store.errors import UserError
from knscope.store.ingest import KEYED
from knscope.store.runs import read_run
from knscope.store.shards import Shard


def current(shards: Iterable[Shard], known: Mapping[str, int]) -> tuple[list[Shard], dict[str, int]]:
    """The shards without results that are of an older version than the newest of their model, and which version that is of each model,
    in these shards or known before."""
    records: dict[Path, int | None] = {}
    dated = [(shard, _version(shard, records)) for shard in shards]
    models = {one: _models(shard for shard, own in dated if own == one) for one in {own for _, own in dated}}
    latest = dict(known)
    for version, names in models.items():
        if version is not None:
            latest |= {model: max(version, latest.get(model, version)) for model in names}
    old = {
        version: [model for model in names if version is not None and latest[model] > version]
        for version, names in models.items()
    }
    return [_without(shard, old[version]) if old[version] else shard for shard, version in dated], latest


def _version(shard: Shard, records: dict[Path, int | None]) -> int | None:
    """As the shard's own methods say, or else its run's record; None where neither does, and then nothing is older or newer.

    :param records: what records of runs said that were read before
    """
    methods = shard.tables.get("method")
    if methods is not None and methods.num_rows:
        found: int | None = pc.max(methods["numerics_version"]).as_py()
        return found
    run = shard.path.parent.parent
    if run not in records:
        try:
            records[run] = read_run(run.parent.parent, run.name).provenance.get("numerics_version")
        except UserError:
            records[run] = None
    return records[run]


def _models(shards: Iterable[Shard]) -> set[str]:
    """Models that the shards have results of."""
    columns = [rows["model"] for shard in shards for name in KEYED if (rows := shard.tables.get(name)) is not None]
    chunks = [chunk for column in columns for chunk in column.chunks]
    return set(pc.unique(pa.chunked_array(chunks, pa.string())).to_pylist())


def _without(shard: Shard, models: list[str]) -> Shard:
    old = pa.array(models, pa.string())
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
