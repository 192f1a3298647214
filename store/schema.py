"""The tables of schema.sql as data: columns, types and comments, read from the one place where they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\n\);", re.DOTALL)
_COLUMN = re.compile(r'^ {4}"?(\w+)"? +([A-Z][A-Z\[\]]*),?\s*(?:-- (.*))?$')


@dataclass(frozen=True)
class Table:
    name: str
    ddl: str
    schema: pa.Schema
    comments: Mapping[str, str]


def text(name: str) -> str:
    """One of this package's SQL files."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def tables() -> Mapping[str, Table]:
    """Every table a shard may hold, by name."""
    found = {}
    with duckdb.connect() as connection:
        for match in _TABLE.finditer(text("schema.sql")):
            name, body = match.groups()
            columns = [_COLUMN.match(line) for line in body.splitlines() if line.strip()]
            comments = {column[1]: (column[3] or "").strip() for column in columns if column}
            ddl = f"CREATE TABLE {name} (" + ", ".join(f'"{c[1]}" {c[2]}' for c in columns if c) + ")"
            connection.execute(ddl)
            found[name] = Table(
                name, ddl, connection.sql(f"FROM {name} LIMIT 0").to_arrow_table().schema, MappingProxyType(comments)
            )
    return MappingProxyType(found)
