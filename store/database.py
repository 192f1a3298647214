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
LARGE = ("score_row", "path_row", "scan_neuron_row", "ablation_row", "pair", "claim_neuron")
"""Tables of millions of rows."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make everything, empty, in the connection's current database."""
    connection.execute(f"BEGIN; {_everything()}; COMMIT")


@cache
def _everything() -> str:
    tables = schema.tables()
    statements = []
    for table in [*tables.values(), *schema.derived().values()]:
        if table.name not in NUMBERED:
            statements += [table.ddl, *comments("TABLE", table)]
    for name, (parent, number) in NUMBERED.items():
        listed = ", ".join(f'"{column}"' for column in tables[name].schema.names[1:])
        view = f"CREATE VIEW {name} AS SELECT key, {listed} FROM {name}_row JOIN {parent} USING ({number})"
        statements += [view, *comments("VIEW", tables[name])]
    statements.append(schema.text("macros.sql").rstrip().removesuffix(";"))
    for macro in schema.macros().values():
        kind = "MACRO TABLE" if macro.table else "MACRO"
        statements.append(f"COMMENT ON {kind} {macro.name} IS {sql_literal(macro.comment)}")
    return ";\n".join(statements)


def comments(kind: str, table: schema.Table) -> list[str]:
    """Statements that say of a TABLE or VIEW and its columns what they mean."""
    columns = [
        f'COMMENT ON COLUMN {table.name}."{column}" IS {sql_literal(text)}' for column, text in table.comments.items()
    ]
    return [f"COMMENT ON {kind} {table.name} IS {sql_literal(table.comment)}", *columns]
