"""The command tree. Nothing heavy is imported before a command runs, so `--help` stays instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from knscope.tui.commands import (
    demo,
    inspect,
    judge,
    measure,
    neurons,
    query,
    report,
    results,
    run,
    runs,
    serve,
    sql,
    stores,
)
from knscope.tui.commands.inspect import data_app, models_app
from knscope.tui.commands.stores import store_app

app = typer.Typer(
    name="knscope",
    help="A terminal workbench for knowledge neurons.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command: Callable[..., None]
for command in (demo.demo, run.run, stores.open_store, runs.status, runs.cancel):
    app.command(name=command.__name__.removesuffix("_store"))(command)
for command in (
    results.facts,
    results.kn,
    results.layers,
    results.likn,
    results.dkn,
    results.edits,
    results.factcheck,
    neurons.neurons,
    neurons.neuron,
    neurons.note,
    neurons.notes,
):
    app.command()(command)
app.command()(measure.faithfulness)
app.command()(measure.stability)
app.command()(judge.judge)
app.command()(report.report)
app.command()(sql.sql)
app.command()(serve.serve)
app.command()(query.query)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
app.command()(inspect.doctor)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(version("knscope"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Without a command: open the last store, or a welcome screen that offers the demo."""
