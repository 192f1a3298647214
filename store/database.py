"""A DuckDB that holds results: every table, view and macro, each with its comment. The reader's in memory, or a snapshot's in a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import duckdb

from store import schema
from store.view import sql_literal

NUMBERED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "score": ("attribution_row", "aq"),
        "path": ("attribution_row", "aq"),
        "scan_neuron": ("scan_row", "scan_no"),
        "ablation": ("scan_row", "scan_no"),
    }
)
"""Tables kept as <name>_row, by a number instead of the key: of which table, and in which column. Under their own names they are views."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make everything, empty, in the connection's current database."""
    tables = schema.tables()
    for table in [*tables.values(), *schema.derived().values()]:
        if table.name not in NUMBERED:
            connection.execute(table.ddl)
            _comment(connection, "TABLE", table)
    for name, (parent, number) in NUMBERED.items():
        listed = ", ".join(f'"{column}"' for column in tables[name].schema.names[1:])
        connection.execute(f"CREATE VIEW {name} AS SELECT key, {listed} FROM {name}_row JOIN {parent} USING ({number})")
        _comment(connection, "VIEW", tables[name])
    connection.execute(schema.text("macros.sql"))
    for macro in schema.macros().values():
        kind = "MACRO TABLE" if macro.table else "MACRO"
        connection.execute(f"COMMENT ON {kind} {macro.name} IS {sql_literal(macro.comment)}")


def _comment(connection: duckdb.DuckDBPyConnection, kind: str, table: schema.Table) -> None:
    connection.execute(f"COMMENT ON {kind} {table.name} IS {sql_literal(table.comment)}")
    for column, text in table.comments.items():
        connection.execute(f'COMMENT ON COLUMN {table.name}."{column}" IS {sql_literal(text)}')
