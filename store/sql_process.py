"""The process that answers ad-hoc SQL: it opens a store, runs one statement after another, and ends with whoever started it.

What keeps a statement in, each enough for what it is there for: one SELECT or EXPLAIN at a time, as DuckDB's parser sees it; a read-only
transaction, since a SELECT may hide a DELETE in a CTE; a DuckDB without files, network, settings or a folder to spill into, since it may
hide a COPY; and the operating system's limits on memory and on what is written. store/sandbox.py kills the process over a statement that
takes too long.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb

from knscope.store import attached, database, ledger, schema
from knscope.store.ending import when_the_caller_ends
from knscope.store.errors import UserError
from knscope.store.layout import check, list_shards, place_of, unreadable
from knscope.store.sandbox import ALL, ERROR, HEADER, MORE, RESULT_BYTES, RUNNING, STALE, arrow
from knscope.store.sql_errors import explained

if TYPE_CHECKING:
    from knscope.store.reader import Reader

    Opened = Reader | duckdb.DuckDBPyConnection
    Ready = Callable[[str], str | None]
    """Takes in what is new before a statement: what to tell of results that cannot be read, None where it cannot take it in."""

BATCH = 2_048
"""Rows fetched at once."""
THREADS = 4
SLACK = 320 << 20
"""Bytes of address space beyond DuckDB's limit: for threads, and for a result on its way out."""
_BLANK = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_BLANK}EXPLAIN\b{_BLANK}(?:ANALYZE\b|\([^()]*\))?", re.IGNORECASE | re.DOTALL)
_READS = re.compile(rf"(?:{_BLANK}|\()*(?:PIVOT|PIVOT_WIDER|FROM|SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
_PLAIN = (
    "boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "float",
    "double", "decimal", "varchar", "blob", "uuid", "null",
)  # fmt: skip
"""Types that come back as they are, also in lists, structs and maps. All others come as text: polars lacks some of them, such as INTERVAL,
and cannot show others to their ends, such as DATE."""


def main(store: str, memory_limit: str) -> None:
    """Answer what comes on stdin, a JSON object a line, on stdout, until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else writes there

    def reply(kind: bytes, content: bytes = b"") -> None:
        out.write(HEADER.pack(kind, len(content)) + content)
        out.flush()

    when_the_caller_ends(lambda: os._exit(0))  # it may be killed while a statement runs
    try:
        opened, ready = _open(check(store), memory_limit)
        pa = arrow()
        answer(opened, pa, "SELECT 1", 1)  # threads begin, and what they take is not the statement's
        most = _limit(opened)
    except UserError as error:
        reply(ERROR, str(error).encode())
        return
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            # Allocators keep address space, in pieces: after a large statement the next one gets a new process.
            note = ready(request["sql"]) if _address_space() <= most else None
            if note is None:
                reply(STALE)
                return
            reply(RUNNING, note.encode())
            content, more = answer(opened, pa, request["sql"], request["rows"])
            reply(MORE if more else ALL, content)
        except UserError as error:
            reply(ERROR, str(error).encode())


def _limit(opened: Opened) -> int:
    """From here on no more memory than DuckDB's limit beyond what is taken, and not a byte into any file.

    Returns the address space beyond which less than that limit would be left.
    """
    with opened.cursor() as cursor:
        [(limit,)] = cursor.execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    taken = _address_space()
    if taken:
        resource.setrlimit(resource.RLIMIT_AS, (taken + limit + SLACK,) * 2)
        with contextlib.suppress(OSError):  # the first to go where memory is short
            Path("/proc/self/oom_score_adj").write_text("1000")
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(what, (0, 0))
    return taken + SLACK


def _address_space() -> int:
    """Bytes; 0 where that cannot be told, and limited, as it can on Linux."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


# --- opening


def _open(store: Path, memory_limit: str) -> tuple[Opened, Ready]:
    """A locked database, and what to call before a statement."""
    if found := _snapshot(store, memory_limit):
        return found
    from knscope.store.reader import Reader

    reader = Reader(store, memory_limit, spill=False)

    def ready(_: str) -> str:
        reader.poll()
        return "\n".join(filter(None, (reader.unreadable().removeprefix("; "), reader.passed_over)))

    return reader, ready


def _snapshot(store: Path, memory_limit: str) -> tuple[Opened, Ready] | None:
    """results.duckdb, where it holds all that is stored: open in a tenth of the time that a Reader takes."""
    shards = set(map(place_of, list_shards(store)))
    if not shards or ledger.deleted(store) or unreadable(store):
        return None  # the Reader says what is not there
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "temp_directory": "",
        "threads": str(min(THREADS, os.cpu_count() or 1)),
        "python_enable_replacements": "false",
        **attached.CONFIG,
    }
    connection = duckdb.connect(config=config)
    try:
        with TemporaryDirectory(prefix="knscope-") as folder:
            attached.attach(connection, store, Path(folder))
        attached.lock(connection)
        if attached.held_shards(connection) == shards:
            database.prepare_views(connection)
            return connection, _readiness(connection, store, shards)
    except (OSError, duckdb.Error, attached.UnusableError):
        pass  # the Reader says why
    connection.close()
    return None


def _readiness(connection: duckdb.DuckDBPyConnection, store: Path, shards: set[str]) -> Ready:
    """Makes the macros when one is first named: they take longer than everything else."""
    names = set(schema.macros())

    def ready(sql: str) -> str | None:
        if any(name in sql for name in names):
            database.prepare_macros(connection)
            names.clear()
        return "" if all(place_of(path) in shards for path in list_shards(store)) else None

    return ready


# --- answering


def answer(opened: Opened, pa: Any, sql: str, rows: int) -> tuple[bytes, bool]:
    """The first rows of a statement as an Arrow IPC stream, and whether there are more. Raises UserError."""
    with opened.cursor() as cursor:
        _refuse_what_writes(cursor, sql)
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            table, more = _first_rows(cursor, pa, sql, rows)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            return sink.getvalue().to_pybytes(), more
        except (duckdb.Error, OSError, MemoryError, pa.ArrowException) as error:  # OSError: DuckDB's, by way of Arrow
            raise UserError(explained(error, sql)) from error


def _refuse_what_writes(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises UserError for all but one statement that reads."""
    kind = _kind(cursor, sql)
    if explain := _EXPLAIN.match(sql):
        _refuse_what_writes(cursor, sql[explain.end() :])
    elif kind != "SELECT" and not (kind == "MULTI" and _READS.match(sql)):  # PIVOT is two statements to DuckDB
        raise UserError(f"{kind.replace('_', ' ')} is not allowed: what is stored is only read here; write one SELECT")


def _kind(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = cursor.extract_statements(sql)
    except duckdb.Error as error:
        raise UserError(explained(error, sql)) from error
    if not statements:
        raise UserError("nothing to run; write one SELECT")
    if len(statements) > 1:
        raise UserError(f"{len(statements)} statements at once; run them one by one")
    try:
        return statements[0].type.name
    except ValueError:  # a kind that DuckDB's own Python list lacks
        return "this kind of statement"


def _first_rows(cursor: duckdb.DuckDBPyConnection, pa: Any, sql: str, rows: int) -> tuple[Any, bool]:
    """Read the result, an Arrow table, no further than is asked for; and whether there is more of it."""
    relation = cursor.sql(sql)
    names = _unique(relation.columns)
    casts = ["" if _is_plain(kind) else "::VARCHAR" for kind in relation.types]
    if any(casts):
        relation = relation.project(", ".join(f"#{place}{cast}" for place, cast in enumerate(casts, 1)))
    reader = relation.to_arrow_reader(BATCH)
    batches, count, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        size += batch.nbytes
        if size > RESULT_BYTES:
            raise UserError(f"the result is larger than {RESULT_BYTES >> 20} MB; ask for fewer rows or columns")
        if count > rows:
            break
    table = pa.Table.from_batches(batches, reader.schema).rename_columns(names).slice(0, rows)
    for place, field in enumerate(table.schema):
        if field.type == pa.decimal128(38, 0):  # HUGEINT, which is what sum() makes of whole numbers
            with contextlib.suppress(pa.ArrowInvalid):  # they are that large
                table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    return table, count > rows


def _is_plain(kind: Any) -> bool:
    if kind.id not in ("list", "array", "struct", "map"):
        return kind.id in _PLAIN
    parts = [part for _, part in kind.children if not isinstance(part, int)]  # an array's length
    named = kind.id != "map" or parts[0].id in _PLAIN
    return bool(parts) and named and all(map(_is_plain, parts))


def _unique(names: Sequence[str]) -> list[str]:
    """Column names of a result may repeat; a frame's may not."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
