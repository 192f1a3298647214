"""Ad-hoc SQL that reads everything stored and touches nothing else.

Three walls, each enough for what it is there for: one SELECT or EXPLAIN a call (the statement's own type is asked, not its
text); a read-only transaction, since a SELECT may hide a DELETE in a CTE; and an instance without files, network or
settings, since one may hide a COPY. The reader's instance is locked that way from the start, so the sandbox sees what
arrives while it is open.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from knscope.store.errors import UserError
from knscope.store.reader import Reader

ROWS = 1_000
ROWS_AT_ONCE = 50
SECONDS = 30.0
_ALLOWED = ("SELECT", "EXPLAIN")


@dataclass(frozen=True)
class Result:
    """`frame` holds the first rows; `more` says that there were others."""

    frame: pl.DataFrame
    more: bool
    seconds: float


class Sandbox:
    """Runs one statement at a time for one person; `cancel` may come from any thread."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stop: _Stop | None = None

    @property
    def busy(self) -> bool:
        """Whether a statement runs."""
        return self._stop is not None

    def run(self, sql: str, limit: int = ROWS, seconds: float = SECONDS) -> Result:
        """The first `limit` rows of a statement.

        Raises UserError: what is forbidden and why, DuckDB's own words for wrong SQL, `cancelled`, or out of time or
        memory.
        """
        statement = _single(sql)
        started = time.monotonic()
        with _Stop(seconds) as stop:
            self._stop = stop
            try:
                # Closing the cursor of a statement half done waits for the threads it runs in: they are stopped until it is closed.
                with self._reader.cursor() as stop.cursor:
                    stop.cursor.execute("BEGIN TRANSACTION READ ONLY")
                    frame = _first_rows(stop, statement, limit + 1)
            except duckdb.Error as error:
                raise UserError(stop.why or explained(error)) from error
            finally:
                self._stop = None
        return Result(frame.head(limit), frame.height > limit, time.monotonic() - started)

    def cancel(self) -> None:
        """Stop what runs, at once; without effect when nothing does."""
        stop = self._stop
        if stop is not None:
            stop.ask("cancelled")


class _Stop:
    """Interrupts a cursor when asked to or when its time is up, again and again until it has stopped: an interrupt that comes before
    the statement has begun is forgotten by DuckDB."""

    AGAIN = 0.02

    def __init__(self, seconds: float) -> None:
        self.why = ""
        self.cursor: duckdb.DuckDBPyConnection | None = None
        self._seconds = seconds
        self._asked = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop-sql", daemon=True)

    def ask(self, why: str) -> None:
        self.why = self.why or why
        self._asked.set()

    def __enter__(self) -> _Stop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._asked.set()
        self._thread.join()

    def _watch(self) -> None:
        if not self._asked.wait(self._seconds):
            self.why = f"stopped after {self._seconds:g} s; ask for less"
        while not self._over.is_set():
            if self.cursor is not None:
                with contextlib.suppress(duckdb.Error):  # closed meanwhile
                    self.cursor.interrupt()
            self._over.wait(self.AGAIN)


def _single(sql: str) -> str:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise UserError(explained(error)) from error
    if not statements:
        raise UserError("nothing to run; write one SELECT")
    if len(statements) > 1:
        raise UserError(f"{len(statements)} statements at once; run them one by one")
    try:
        kind = statements[0].type.name
    except ValueError:  # a kind that DuckDB's own Python list lacks
        kind = "this kind of statement"
    if kind not in _ALLOWED:
        raise UserError(f"{kind.replace('_', ' ')} is not allowed: what is stored is only read here; write one SELECT")
    return sql


def _first_rows(stop: _Stop, statement: str, rows: int) -> pl.DataFrame:
    """Read a stream no further than it is asked for; a few rows at a time, since none can be stopped while they become Python's."""
    assert stop.cursor is not None
    cursor = stop.cursor.execute(statement)
    names = [column[0] for column in cursor.description or []]
    types = [column[1] for column in cursor.description or []]
    fetched: list[tuple[Any, ...]] = []
    while not stop.why and (some := cursor.fetchmany(min(ROWS_AT_ONCE, rows - len(fetched)))):
        fetched += some
    if stop.why:
        raise UserError(stop.why)
    unique = _unique(names)
    texts = {name for name, kind in zip(unique, types, strict=True) if str(kind) in ("INTERVAL", "UUID", "JSON", "BIT")}
    columns = list(zip(*fetched, strict=True)) if fetched else [()] * len(unique)
    return pl.DataFrame(
        [
            pl.Series(name, [None if v is None else str(v) for v in values] if name in texts else values, strict=False)
            for name, values in zip(unique, columns, strict=True)
        ]
    )


def _unique(names: list[str]) -> list[str]:
    """Column names of a result may repeat; a frame's may not."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def explained(error: duckdb.Error) -> str:
    """DuckDB's message, with a sentence of our own where its reason is the sandbox."""
    text = str(error).strip()
    if any(why in text for why in ("disabled by configuration", "configuration has been locked", "Cannot open file")):
        return "files, network and settings are out of reach here: this SQL reads what is stored and nothing else"
    if "pytz" in text:
        return "times with a zone cannot be shown; cast them, as in now()::VARCHAR"
    if "read-only" in text.lower() and "transaction" in text.lower():
        return "what is stored is only read here; this statement writes"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "not enough memory for this statement; ask for less, or use results.duckdb with a client of your own"
    return text
