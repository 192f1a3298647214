"""A DuckDB that holds results: every table, view and macro, each with its comment. The reader's in memory, or a snapshot's in a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import duckdb

from knscope.store import schema
from knscope.store.view import sql_literal

NUMBERED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "score": ("attribution_row", "aq"),
        "path": ("attribution_row", "aq"),
        "scan_neuron": ("scan_row", "scan_no"),
        "ablation": ("scan_row", "scan_no"),
    }
)
"""Tables kept as <name>_row, by a number instead of the key: of which table, and in which column. Under their own names they are views."""
LARGE = ("score_row", "path_row", "scan_neuron_row", "ablation_row", "pair", "claim_neuron", "promoted")
"""Tables of millions of rows."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make everything, empty, in the connection's current database."""
    connection.execute(f"BEGIN; {_everything()}; COMMIT")


def prepare_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make every table as a view of an attached snapshot's, where the rows stay. The macros are those of `prepare_macros`."""
    over = [f"CREATE VIEW {table.name} AS FROM base.{table.name}" for table in _stored()]
    connection.execute(f"BEGIN; {'; '.join([*over, *map(_numbered, NUMBERED)])}; COMMIT")


def prepare_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the macros, over tables that are there."""
    connection.execute(f"BEGIN; {_macros()}; COMMIT")


@cache
def _everything() -> str:
    tables = schema.tables()
    statements = []
    for table in _stored():
        statements += [table.ddl, *comments("TABLE", table)]
    for name in NUMBERED:
        statements += [_numbered(name), *comments("VIEW", tables[name])]
    statements.append(_macros())
    for macro in schema.macros().values():
        kind = "MACRO TABLE" if macro.table else "MACRO"
        statements.append(f"COMMENT ON {kind} {macro.name} IS {sql_literal(macro.comment)}")
    return ";\n".join(statements)


def _stored() -> list[schema.Table]:
    """Tables that are no views."""
    return [table for table in [*schema.tables().values(), *schema.derived().values()] if table.name not in NUMBERED]


def _numbered(name: str) -> str:
    parent, number = NUMBERED[name]
    listed = ", ".join(f'"{column}"' for column in schema.tables()[name].columns[1:])
    return f"CREATE VIEW {name} AS SELECT key, {listed} FROM {name}_row JOIN {parent} USING ({number})"


def _macros() -> str:
    return schema.text("macros.sql").rstrip().removesuffix(";")


def comments(kind: str, table: schema.Table) -> list[str]:
    """Statements that say of a TABLE or VIEW and its columns what they mean."""
    columns = [
        f'COMMENT ON COLUMN {table.name}."{column}" IS {sql_literal(text)}' for column, text in table.comments.items()
    ]
    return [f"COMMENT ON {kind} {table.name} IS {sql_literal(table.comment)}", *columns]
