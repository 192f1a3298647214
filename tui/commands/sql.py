"""`knscope sql`: questions nobody foresaw, asked of everything stored and able to touch nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.commands.common import Format, Json, Output, Store


def sql(
    store: Store,
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT; `SHOW TABLES` says what there is.")],
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
    limit: Annotated[int, typer.Option(help="Rows to fetch at most.")] = 10_000,
) -> None:
    """Ad-hoc SQL over STORE: reads everything stored, writes nothing."""
    from store import open as open_existing
    from store.sandbox import Sandbox
    from tui import output

    with open_existing(store) as reader:
        answer = Sandbox(reader).run(statement, limit=limit)
    notes = (f"the first {answer.frame.height:,} rows; there are more, raise --limit",) if answer.more else ()
    output.emit([output.one_table("sql", "", answer.frame, *notes)], "json" if as_json else form, out)
