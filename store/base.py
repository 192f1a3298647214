"""What results.duckdb holds already need not be read from shards again: a reader starts from a copy of it, and reads what came since.

Tables of few rows are copied into the reader's own database; those of many stay where they are, and their names become views of both. A
snapshot is used only where every shard it was made from is still there, and only where it is what this version makes (store/attached.py):
what cannot be used is passed over, and the shards answer alone.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from knscope.store import schema
from knscope.store.attached import CONFIG, MEND, UnusableError, attach, check_macros, held_shards, lock
from knscope.store.database import LARGE, NUMBERED, comments, prepare
from knscope.store.dense import DamagedShardError, DenseRow
from knscope.store.errors import UserError
from knscope.store.intake import Intake
from knscope.store.layout import SNAPSHOT, list_shards, place_of
from knscope.store.neurons import NAMED, StrangeRowsError, extents
from knscope.store.shards import read_manifest

FRESH = "fresh."
"""Where rows of large tables go that the snapshot does not hold."""
SECONDS, BYTES_A_SECOND = 20, 5 << 20
"""How long a statement over a snapshot may take while a reader starts from it: a fixed time, and more for more bytes."""
_MOST_NUMBERED = 1 << 30


@dataclass(frozen=True)
class Start:
    """What a reader begins with: what is taken in, from which shards, and why results.duckdb is of no use, where it is not."""

    intake: Intake = field(default_factory=Intake)
    seen: frozenset[str] = frozenset()
    passed_over: str = ""


def start(instance: duckdb.DuckDBPyConnection, store: Path, temporary: Path | None) -> Start:
    """Fill a prepared, empty database from the snapshot where one can be used. The database is locked from here on.

    :param temporary: a folder that goes with the reader; None where every shard is to be read
    """
    if temporary is None:
        lock(instance)
        return Start()
    try:
        with instance.cursor() as cursor:
            try:
                attach(cursor, store, temporary)
                patience = SECONDS + os.lstat(store / SNAPSHOT).st_size // BYTES_A_SECOND
                cursor.execute(f"SET max_execution_time = {1000 * patience}")
            finally:
                lock(cursor)
            try:
                return _from_snapshot(cursor, store)
            except Exception:
                cursor.execute("DETACH base")
                raise
    except UnusableError as error:
        return Start(passed_over=str(error))
    except (duckdb.Error, StrangeRowsError) as error:
        return Start(passed_over=f"{SNAPSHOT} cannot be used ({error}); {MEND}")
    except OSError as error:
        silent = error.errno in (errno.ENOENT, errno.ENOSPC)
        return Start(passed_over="" if silent else f"{SNAPSHOT}: {error.strerror}; {MEND}")
    except (LookupError, UserError, DamagedShardError):
        return Start()  # not all of its shards are there


def damage(store: Path) -> str:
    """Why results.duckdb is of no use; empty where it can be used, or is not there."""
    with TemporaryDirectory(prefix="knscope-") as folder, duckdb.connect(config=dict(CONFIG)) as instance:
        prepare(instance)
        return start(instance, store, Path(folder)).passed_over


def _from_snapshot(cursor: duckdb.DuckDBPyConnection, store: Path) -> Start:
    """Raises LookupError where a shard is not there any more, and as `held_shards` does."""
    held = held_shards(cursor)
    check_macros(cursor)
    _check_neurons(cursor)
    there = {place_of(path): path for path in list_shards(store)}
    if not held or not held <= there.keys():
        raise LookupError("not all of its shards are there")
    intake = Intake(FRESH)
    intake.dense = _dense(cursor, there)
    for name, keys in intake.keys.items():
        keys.update(key for (key,) in cursor.execute(f"SELECT key FROM base.{name}").fetchall())
    intake.numerics = dict(cursor.execute(_NUMERICS).fetchall())
    for name, number in (("attribution", "aq"), ("scan", "scan_no")):
        last = cursor.execute(f"SELECT coalesce(max({number}), -1) FROM base.{name}_row").fetchall()[0][0]
        if not -1 <= last < _MOST_NUMBERED:
            raise LookupError(f"{name} {last} is no number of this store")
        intake.taken[name] = last + 1
    _join(cursor)
    return Start(intake, frozenset(there[shard].name for shard in held))


def _check_neurons(cursor: duckdb.DuckDBPyConnection) -> None:
    """Raises StrangeRowsError where rows of large tables name what no model in the snapshot has."""
    known = extents(cursor.execute('SELECT model, layer, width, "offset" FROM base.site').fetchall())
    limits = [max((extent[axis] for extent in known.values()), default=0) for axis in (0, 1)]
    for name, (_, columns) in NAMED.items():
        for pair in columns:
            for column, limit in zip(pair, limits, strict=True):
                asked = f"SELECT min({column}), max({column}) FROM base.{name}_row"
                for lowest, highest in cursor.execute(asked).fetchall():
                    if lowest is not None and not 0 <= lowest <= highest < limit:
                        raise StrangeRowsError(f"table {name} has {column} {lowest} to {highest}")


_NUMERICS = "SELECT model, version FROM base.numerics WHERE model IS NOT NULL AND version IS NOT NULL"


def _dense(cursor: duckdb.DuckDBPyConnection, places: dict[str, Path]) -> dict[str, list[DenseRow]]:
    matrices = {}
    found: dict[str, list[DenseRow]] = {}
    for key, shard, row in cursor.execute("SELECT key, shard, dense_row FROM base.dense_place").fetchall():
        if shard not in matrices:
            matrices[shard] = read_manifest(places[shard]).dense
        if (dense := matrices[shard]) is None or row is None:
            raise DamagedShardError(f"{places[shard]} has no dense scores of {key}")
        found.setdefault(key, []).append((dense, row))
    return found


def _join(cursor: duckdb.DuckDBPyConnection) -> None:
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
        cursor.execute("BEGIN; " + "; ".join(statements) + "; COMMIT")
    except duckdb.Error:
        cursor.execute("ROLLBACK")
        raise
