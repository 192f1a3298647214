"""What results.duckdb holds already need not be read from shards again: a reader starts from a copy of it, and reads what came since.

A private copy, since a database that is open holds a lock on its file, and nothing in a store is ever locked. The copy is attached
read-only and has no name any more once it is: nobody else can open it, its room is free again when the reader closes, and a snapshot that
is published meanwhile changes nothing here. Tables of few rows are copied into the reader's own database; those of many stay where they
are, and their names become views of both. A snapshot is used only where every shard it was made from is still there and its tables are
those of this version: what cannot be used is passed over, and the shards answer alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

from knscope.store import schema
from knscope.store.database import LARGE, NUMBERED, comments
from knscope.store.dense import DamagedShardError
from knscope.store.errors import UserError
from knscope.store.intake import DenseRow, Intake
from knscope.store.shards import list_shards, read_manifest
from knscope.store.snapshot import SNAPSHOT, place_of
from knscope.store.view import sql_literal

FRESH = "fresh."
"""Where rows of large tables go that the snapshot does not hold."""
MARGIN = 1.5
"""Room wanted in the temporary folder, in sizes of the snapshot."""


def start(instance: duckdb.DuckDBPyConnection, store: Path, temporary: Path) -> tuple[Intake, set[str]]:
    """Fill a prepared, empty database from the snapshot; what was taken in, and the names of the shards that it holds.

    Where there is no snapshot that can be used, nothing of both.

    :param temporary: a folder that goes with the reader
    """
    nothing: tuple[Intake, set[str]] = (Intake(), set())
    try:
        _attach(instance, store / SNAPSHOT, temporary)
    except (OSError, duckdb.Error):
        return nothing
    try:
        held = instance.execute("SELECT shard, tables FROM base.held").fetchall()
        there = {place_of(path): path for path in list_shards(store)}
        if held and all(shard in there and tables == schema.fingerprint() for shard, tables in held):
            intake = Intake(FRESH)
            intake.dense = _dense(instance, there)
            for name, keys in intake.keys.items():
                keys.update(key for (key,) in instance.execute(f"SELECT key FROM base.{name}").fetchall())
            intake.numerics = dict(instance.execute("SELECT model, version FROM base.numerics").fetchall())
            for name, number in (("attribution", "aq"), ("scan", "scan_no")):
                last = instance.execute(f"SELECT coalesce(max({number}), -1) FROM base.{name}_row").fetchall()
                intake.taken[name] = last[0][0] + 1
            _join(instance)
            return intake, {there[shard].name for shard, _ in held}
    except (duckdb.Error, LookupError, UserError, DamagedShardError):
        pass  # of an older version, or damaged: the shards answer
    instance.execute("DETACH base")
    return nothing


def _attach(instance: duckdb.DuckDBPyConnection, snapshot: Path, temporary: Path) -> None:
    folder = temporary / "base"
    if shutil.disk_usage(temporary).free < MARGIN * snapshot.stat().st_size:
        raise OSError("no room for a copy")
    folder.mkdir()
    try:
        copy = folder / SNAPSHOT
        shutil.copyfile(snapshot, copy)
        instance.execute(f"ATTACH {sql_literal(str(copy))} AS base (READ_ONLY)")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _dense(instance: duckdb.DuckDBPyConnection, places: dict[str, Path]) -> dict[str, list[DenseRow]]:
    matrices = {}
    found: dict[str, list[DenseRow]] = {}
    for key, shard, row in instance.execute("SELECT key, shard, dense_row FROM base.dense_place").fetchall():
        if shard not in matrices:
            matrices[shard] = read_manifest(places[shard]).dense
        if (dense := matrices[shard]) is None:
            raise DamagedShardError(f"{places[shard]} has no dense scores")
        found.setdefault(key, []).append((dense, row))
    return found


def _join(instance: duckdb.DuckDBPyConnection) -> None:
    """Few rows are copied; of many, the name becomes a view of what is held and what comes."""
    statements = [f"CREATE SCHEMA {FRESH.rstrip('.')}"]
    for table in [*schema.tables().values(), *schema.derived().values()]:
        name = table.name
        if name in LARGE:
            statements += [
                f"CREATE TABLE {FRESH}{name} AS FROM {name} LIMIT 0",
                f"DROP TABLE {name}",
                f"CREATE VIEW {name} AS FROM {FRESH}{name} UNION ALL FROM base.{name}",
                *comments("VIEW", table),
            ]
        elif name not in NUMBERED:
            statements.append(f"INSERT INTO {name} FROM base.{name}")
    try:
        instance.execute("BEGIN; " + "; ".join(statements) + "; COMMIT")
    except duckdb.Error:
        instance.execute("ROLLBACK")
        raise
