"""The `knscope` command: which commands there are, and how errors become messages and exit codes.

0 done, 1 the run failed (what is done is kept), 2 bad input or usage, 130 cancelled. Nothing heavy is imported before a
command runs, so that `--help` is instant; nothing here or below imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui.commands import demo, inspect, measure, results, run, serve, sql, stores
from tui.commands.inspect import data_app, models_app
from tui.commands.stores import store_app

app = typer.Typer(
    name="knscope",
    help="A terminal workbench for knowledge neurons.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command: Callable[..., None]
for command in (demo.demo, run.run, stores.open_store, run.status, run.cancel):
    app.command(name=command.__name__.removesuffix("_store"))(command)
for command in (results.facts, results.kn, results.layers, results.likn, results.dkn, results.edits, results.factcheck):
    app.command()(command)
app.command()(measure.faithfulness)
app.command()(measure.stability)
app.command()(sql.sql)
app.command()(serve.serve)
app.command()(run.query)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
app.command()(inspect.doctor)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(version("knscope"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Without a command: open the last store, or a welcome screen that offers the demo."""
    if context.invoked_subcommand is None:
        stores.open_workbench(None)


def main() -> None:
    """Run the command line and leave with its exit code; a person's error is a message, never a traceback."""
    sys.exit(run_app(sys.argv[1:]))


def run_app(arguments: list[str]) -> int:
    """The exit code of one command line."""
    try:
        app(arguments, prog_name="knscope")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _detach_stdout()
        return 0
    except Exception as error:
        from analysis.errors import ModelError
        from store.errors import UserError

        if not isinstance(error, UserError | ModelError):
            raise
        from tui.output import say

        say(f"knscope: {error}")
        return 2
    return 0


def _detach_stdout() -> None:
    """`knscope … | head` closes the pipe; what Python flushes at exit must not complain about it."""
    import os

    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
