"""results.duckdb as a reader uses it: a private copy, checked, locked in, and asked only then.

The file may be damaged, or made by somebody else. A copy, since a database that is open holds a lock on its file, and nothing in a store
is ever locked. It is attached read-only and has no name any more once it is: nobody else can open it, its room is free again when the
connection closes, and a snapshot that is published meanwhile changes nothing. Before a row is asked for, the connection is locked: no
file, no network, no setting. Then its tables must be those that this version makes: a view in the place of one could run for ever.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import duckdb

from knscope.store import files, schema
from knscope.store.database import NUMBERED
from knscope.store.layout import SNAPSHOT
from knscope.store.view import sql_literal

CONFIG = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
"""Of a DuckDB that attaches a file: what it is decides over nothing that is loaded."""
MARGIN = 1.5
"""Room wanted in the temporary folder, in sizes of the snapshot."""
HELD = {
    "held": ("shards that these results come from", {"shard": "run/shard", "tables": "which definition of the tables"}),
    "dense_place": (
        "where the dense scores of an attribution lie: one row a stored copy",
        {"key": "table attribution", "shard": "run/shard", "dense_row": "row among the shard's dense scores"},
    ),
    "numerics": (
        "of which numerics version a model's results are: the newest that is stored",
        {"model": "table model", "version": "as in table method"},
    ),
}
"""Tables that only a snapshot has, for readers that start from it (store/base.py): what a row is, and what each column means."""
_NUMBERS = ("dense_row", "version")
_SEAL = b"\0knscope sha256:"
_AT_ONCE = 1 << 20
MEND = "`knscope store compact` writes it anew; until then every shard is read"


class UnusableError(Exception):
    """results.duckdb is not what this version publishes: how, and what to do."""


def seal(snapshot: Path) -> None:
    """Add its checksum to a finished database: behind its end, where DuckDB does not look."""
    with snapshot.open("rb+") as file:
        file.write(_SEAL + hashlib.file_digest(file, "sha256").digest())


def read(store: Path, write: Callable[[bytes], object]) -> None:
    """Give out results.duckdb without its seal, part by part.

    :raises UnusableError: its checksum does not hold; all parts were given to `write` by then
    :raises OSError: it is not there or cannot be read
    """
    checksum = hashlib.sha256()
    with files.opened(store, SNAPSHOT) as file:
        left = os.fstat(file.fileno()).st_size - len(_SEAL) - checksum.digest_size
        while left > 0 and (part := file.read(min(_AT_ONCE, left))):
            checksum.update(part)
            write(part)
            left -= len(part)
        if file.read(_AT_ONCE) != _SEAL + checksum.digest():
            raise UnusableError(
                f"{SNAPSHOT} is not what knscope wrote there (its checksum differs, or is missing); {MEND}"
            )


def attach(connection: duckdb.DuckDBPyConnection, store: Path, temporary: Path) -> None:
    """A copy of results.duckdb, as `base`. Nothing of it may be asked before `lock`.

    :param temporary: where the copy is made; nothing stays there
    :raises UnusableError: it is not what knscope wrote there
    :raises OSError: there is none, or no room for a copy
    """
    folder = temporary / "base"
    if shutil.disk_usage(temporary).free < MARGIN * os.lstat(store / SNAPSHOT).st_size:
        raise OSError(errno.ENOSPC, "no room for a copy")
    folder.mkdir()
    try:
        with (folder / SNAPSHOT).open("wb") as copy:
            read(store, copy.write)
        connection.execute(f"ATTACH {sql_literal(str(folder / SNAPSHOT))} AS base (READ_ONLY, TYPE duckdb)")
    except duckdb.Error as error:
        raise UnusableError(f"{SNAPSHOT} cannot be opened ({error}); {MEND}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on the connection's DuckDB reaches neither files nor the network, and its settings stay."""
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")


def held_shards(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Shards (run/shard) that the attached, locked snapshot was made from. Nothing but tables is asked.

    :raises UnusableError: its tables are not those of this version, or hold more rows than a file of its size can
    """
    made = {name: _plain(ddl) for name, ddl in connection.execute(_TABLES).fetchall()}
    others = connection.execute(_OTHERS).fetchall()
    rows, size = connection.execute(_SIZE).fetchall()[0]
    if made != _tables() or others != [(len(NUMBERED), 0)] or rows > size:
        raise UnusableError(f"{SNAPSHOT} does not hold the tables of this version of knscope; {MEND}")
    found = connection.execute("SELECT shard, tables FROM base.held").fetchall()
    if any(tables != schema.fingerprint() for _, tables in found):
        raise UnusableError(f"{SNAPSHOT} was made by another version of knscope; {MEND}")
    return {shard for shard, _ in found}


def check_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare the attached snapshot's macros with those of the connection's own database.

    :raises UnusableError: they differ
    """
    by_database: dict[str, set[tuple[object, ...]]] = {}
    for database, *macro in connection.execute(_MACROS).fetchall():
        by_database.setdefault(database, set()).add((*macro[:-1], _unparenthesised(macro[-1])))
    base = by_database.pop("base", set())
    if [base] != list(by_database.values()):
        raise UnusableError(f"{SNAPSHOT} does not hold the macros of this version of knscope; {MEND}")


_TABLES = "SELECT table_name, sql FROM duckdb_tables() WHERE database_name = 'base' AND schema_name = 'main'"
_OTHERS = """
    SELECT (SELECT count(*) FROM duckdb_views() WHERE database_name = 'base' AND NOT internal),
        (SELECT count(*) FROM duckdb_schemas() WHERE database_name = 'base' AND NOT internal)
        + (SELECT count(*) FROM duckdb_types() WHERE database_name = 'base' AND NOT internal)
        + (SELECT count(*) FROM duckdb_indexes() WHERE database_name = 'base')
        + (SELECT count(*) FROM duckdb_sequences() WHERE database_name = 'base')
        + (SELECT count(*) FROM duckdb_triggers() WHERE database_name = 'base')
"""
_SIZE = """
    SELECT (SELECT coalesce(sum(estimated_size), 0) FROM duckdb_tables() WHERE database_name = 'base'),
        (SELECT total_blocks * block_size FROM pragma_database_size() WHERE database_name = 'base')
"""
_MACROS = """
    SELECT database_name, schema_name, function_type, function_name, parameters::VARCHAR, macro_definition
    FROM duckdb_functions() WHERE NOT internal
"""


@cache
def _tables() -> dict[str, str]:
    """Every table of a snapshot, and how it is made."""
    stored = [*schema.tables().values(), *schema.derived().values()]
    own = {name: _plain(ddl(name)) for name in HELD}
    return {table.name: _plain(table.ddl) for table in stored if table.name not in NUMBERED} | own


def ddl(name: str) -> str:
    """How a table of HELD is made."""
    columns = (f'"{column}" {"INTEGER" if column in _NUMBERS else "VARCHAR"}' for column in HELD[name][1])
    return f"CREATE TABLE {name} ({', '.join(columns)})"


def _unparenthesised(macro: str) -> str:
    """A macro without what DuckDB prints differently once it was written in its oldest format."""
    return re.sub(r"[() ]|MATERIALIZED|(?<=e-)0+", "", macro.replace("CROSS JOIN", ","))


def _plain(ddl: str) -> str:
    """A table's definition without what DuckDB and schema.sql write differently."""
    return re.sub(r'[" ;]', "", ddl)
