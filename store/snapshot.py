"""results.duckdb: everything stored in one read-only file that any DuckDB client opens, old ones included, with the macros inside.

It is made beside its final place and renamed, so a client sees the old file or the new one, and whoever has the old one open keeps it. The
format is that of DuckDB 1.0 (`STORAGE`). Dense scores stay outside: a τ below the floor is an error there that names the floor.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import duckdb

from store.compaction import ABANDONED
from store.database import prepare
from store.dense import DamagedShardError
from store.errors import UserError
from store.ingest import Intake
from store.layout import check
from store.shards import Shard, list_shards, read_shard

SNAPSHOT = "results.duckdb"
STORAGE = "v1.0.0"
"""The oldest DuckDB that opens the file."""
MEMORY = "1GB"
SHARDS_AT_ONCE = 64


def publish(store: Path | str) -> Path:
    """Write STORE/results.duckdb anew; returns its path. Damaged shards are left out. Raises UserError where it cannot be written.

    Where shards came while it was written, and a run that ended meanwhile may have published fewer, it is written once more.
    """
    folder = check(store)
    before = _names(folder)
    final = _publish(folder)
    return final if _names(folder) == before else _publish(folder)


def _names(folder: Path) -> set[str]:
    return {path.name for path in list_shards(folder)}


def _publish(folder: Path) -> Path:
    final = folder / SNAPSHOT
    for left in folder.glob(f".{SNAPSHOT}-*"):  # of a process that was killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    temporary = folder / f".{SNAPSHOT}-{secrets.token_hex(4)}"
    try:
        _build(folder, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(final)
    except (OSError, duckdb.Error) as error:
        raise UserError(
            f"{final} cannot be written ({error}); free space or make the folder writable, then `knscope store compact {folder}`: "
            "what is stored is kept"
        ) from error
    finally:
        for left in (temporary, temporary.with_name(f"{temporary.name}.wal")):
            left.unlink(missing_ok=True)
    return final


def _build(folder: Path, path: Path) -> None:
    with duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": f"{path}.tmp"}) as connection:
        place = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{place}' AS results (STORAGE_VERSION '{STORAGE}')")
        connection.execute("USE results")
        prepare(connection)
        intake = Intake()
        shards = _readable(folder)
        while some := list(islice(shards, SHARDS_AT_ONCE)):
            intake.take_in(connection, some)
        connection.execute("CHECKPOINT")
        connection.execute("USE memory")
        connection.execute("DETACH results")


def _readable(folder: Path) -> Iterator[Shard]:
    for path in list_shards(folder):
        try:
            yield read_shard(path)
        except DamagedShardError:
            continue
