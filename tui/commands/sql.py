"""`knscope sql`: run one SELECT over a store in a sandbox."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from knscope.tui.commands.options import Format, Json, Output, Store


def sql(
    store: Store,
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT; `SHOW TABLES` lists the tables.")],
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Largest number of rows. Default: all; a printed table shows the first.")
    ] = None,
) -> None:
    """Run one SELECT over all results of STORE. It can read nothing else and write nothing."""
    from knscope.store.sandbox import Sandbox
    from knscope.tui.printing import output
    from knscope.tui.printing.answer import print_answer, say_of
    from knscope.tui.state import remember_statement

    output.check(form, out)
    if sys.stdout.isatty():  # what a script asks is no history
        remember_statement(statement)
    if form == "table" and out is None and not as_json:
        print_answer(store, statement, limit)
        return
    with Sandbox(store) as sandbox:
        result = sandbox.run(statement, limit or sys.maxsize)
    output.emit([output.one_table("sql", "", result.frame)], "json" if as_json else form, out)
    say_of(result, store, result.frame.height, limit)
