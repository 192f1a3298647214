"""schema.sql and derived.sql as data: tables, columns, types and comments, read from the one place where they are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:  # SQL is answered without it
    import pyarrow as pa

_TABLE = re.compile(r"CREATE TABLE (\w+) \( -- ([^\n]*)\n(.*?)\n\);", re.DOTALL)
_COLUMN = re.compile(r'^ {4}"?(\w+)"? +([A-Z][A-Z\[\]]*),?\s*(?:-- (.*))?$')
_MACRO = re.compile(r"((?:^-- [^\n]*\n)+)CREATE OR REPLACE MACRO (\w+)\(([^)]*)\) AS( TABLE)?", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """`comment` says what a row is; `comments` what each column is, in the order of the columns."""

    name: str
    ddl: str
    comment: str
    comments: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.comments)

    @property
    def schema(self) -> pa.Schema:
        """The columns with their Arrow types."""
        return _arrow_schemas()[self.name]


@dataclass(frozen=True)
class Macro:
    """A macro of macros.sql: `table` where it gives rows, not a value."""

    name: str
    comment: str
    parameters: tuple[str, ...]
    table: bool


def text(name: str) -> str:
    """One of this package's files."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def fingerprint() -> str:
    """Of all tables as this version defines them, and of how their rows are derived (by log_odds, by count_scans)."""
    files = ("schema.sql", "derived.sql", "macros.sql", "main_query.py")
    return hashlib.md5("".join(map(text, files)).encode()).hexdigest()


@cache
def tables() -> Mapping[str, Table]:
    """Every table a shard may hold, by name."""
    return _read("schema.sql")


@cache
def derived() -> Mapping[str, Table]:
    """Every table a database derives from them, by name."""
    return _read("derived.sql")


@cache
def macros() -> Mapping[str, Macro]:
    """Every macro, by name."""
    found = {}
    for comment, name, parameters, table in _MACRO.findall(text("macros.sql")):
        lines = " ".join(line.removeprefix("-- ") for line in comment.splitlines())
        found[name] = Macro(name, lines, tuple(p.strip() for p in parameters.split(",") if p.strip()), bool(table))
    return MappingProxyType(found)


def _read(file: str) -> Mapping[str, Table]:
    found = {}
    for name, comment, body in _TABLE.findall(text(file)):
        columns = [column for line in body.splitlines() if (column := _COLUMN.match(line))]
        comments = {column[1]: (column[3] or "").strip() for column in columns}
        ddl = f"CREATE TABLE {name} (" + ", ".join(f'"{column[1]}" {column[2]}' for column in columns) + ")"
        found[name] = Table(name, ddl, comment, MappingProxyType(comments))
    return MappingProxyType(found)


@cache
def _arrow_schemas() -> Mapping[str, pa.Schema]:
    found = {}
    with duckdb.connect() as connection:
        for table in [*tables().values(), *derived().values()]:
            connection.execute(table.ddl)
            found[table.name] = connection.table(table.name).limit(0).to_arrow_table().schema
    return MappingProxyType(found)
