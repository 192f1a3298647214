"""Print the result of one SELECT as a text table or as JSON, without importing polars, which would take as long as the query."""

from __future__ import annotations

import sys
from pathlib import Path

from knscope.store.sandbox import ROWS, Result, Sandbox, arrow
from knscope.tui.printing.output import HINT, MAX_PRINTED, print_rows, say, write_json


def print_answer(store: Path, statement: str, limit: int | None = None, as_json: bool = False) -> None:
    """Run the SELECT and print its rows. Raises UserError.

    :param limit: largest number of rows; ROWS by default, and all as JSON
    """
    with Sandbox(store) as sandbox:
        result = sandbox.run(statement, limit or (sys.maxsize if as_json else ROWS))
    if as_json:
        rows = result.table().to_pylist(maps_as_pydicts="lossy")
        write_json({"tables": [{"name": "sql", "title": "", "rows": rows, "notes": []}]})
        say_of(result, store, len(rows), limit)
        return
    table, kinds = result.table(), arrow().types
    numeric = [
        kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) for kind in table.schema.types
    ]
    columns = [column.slice(0, MAX_PRINTED).to_pylist(maps_as_pydicts="lossy") for column in table.columns]
    print_rows(table.column_names, list(zip(*columns, strict=True)), numeric, table.num_rows)
    say_of(result, store, table.num_rows, limit)


def say_of(result: Result, store: Path, rows: int, limit: int | None) -> None:
    """Say on stderr that rows were left out, how to get them all, and which results cannot be read."""
    if result.more:
        more = "raise --limit" if limit else f"-o FILE or {HINT} has them all"
        say(f"these are the first {rows:,} rows; there are more: {more}")
    for line in result.note.splitlines():
        say(f"{store}: {line}")
