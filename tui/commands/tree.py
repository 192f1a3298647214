"""The command tree. Nothing heavy is imported before a command runs, so `--help` stays instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from knscope.tui.commands import demo, judge, measure, neurons, query, report, results, run, runs, serve, sql
from knscope.tui.commands.inspect import data_app, doctor, models_app
from knscope.tui.commands.listing import Listed
from knscope.tui.commands.stores import open_store, store_app

GROUPS: dict[str, tuple[Callable[..., None] | tuple[str, typer.Typer], ...]] = {
    "Start": (demo.demo, open_store, doctor),
    "Before a run": (query.query, ("models", models_app), ("data", data_app)),
    "Compute": (run.run, runs.status, runs.cancel, judge.judge, measure.faithfulness, measure.stability),
    "Tables": (
        results.facts, results.kn, results.layers, results.likn, results.dkn, results.edits, results.factcheck,
        neurons.neurons, neurons.neuron,
    ),
    "Names and notes": (neurons.note, neurons.notes),
    "Take away": (sql.sql, report.report, serve.serve, ("store", store_app)),
}  # fmt: skip
"""Every command but `help`, in the order of `knscope --help`."""


class Grouped(Listed):
    """Lists the commands by what they are for."""

    def groups(self) -> dict[str, list[str]]:
        named = {title: [_name(one) for one in group] for title, group in GROUPS.items()}
        return {**named, "Help": ["help"]}


def _name(command: Callable[..., None] | tuple[str, typer.Typer]) -> str:
    return command[0] if isinstance(command, tuple) else command.__name__.removesuffix("_store")


app = typer.Typer(
    name="knscope",
    help="A terminal workbench for knowledge neurons.",
    cls=Grouped,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for each in (each for group in GROUPS.values() for each in group):
    if isinstance(each, tuple):
        app.add_typer(each[1], name=each[0])
    else:
        app.command(name=_name(each))(each)


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
