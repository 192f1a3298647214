"""The command tree. Nothing heavy is imported before a command runs, so `--help` stays instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from knscope.tui.commands import demo, judge, measure, neurons, query, report, results, run, runs, serve, sql
from knscope.tui.commands.inspect import data_app, doctor, models_app
from knscope.tui.commands.stores import open_store, store_app

app = typer.Typer(
    name="knscope",
    help="A terminal workbench for knowledge neurons.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command: Callable[..., None]
for command in (
    demo.demo, run.run, open_store, runs.status, runs.cancel,
    results.facts, results.kn, results.layers, results.likn, results.dkn, results.edits, results.factcheck,
    neurons.neurons, neurons.neuron, neurons.note, neurons.notes,
    measure.faithfulness, measure.stability, judge.judge, report.report, sql.sql, serve.serve, query.query, doctor,
):  # fmt: skip
    app.command(name=command.__name__.removesuffix("_store"))(command)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


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
