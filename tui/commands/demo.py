"""`knscope demo`: the bundled facts and models, analysed while the workbench is open."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knscope.tui.commands import common, options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from knscope.analysis.runs.config import RunConfig
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader


def demo(
    store: Annotated[Path | None, typer.Option(help="Store to write to. Default: in your data folder.")] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Wait for the results and print all tables; open nothing.")
    ] = False,
    facts: Annotated[str, typer.Option(help="Number of bundled facts, or all.")] = "60",
    device: options.Device = "auto",
) -> None:
    """Analyse the bundled facts with the bundled models, and open the workbench while results arrive."""
    from knscope.analysis.demo import start
    from knscope.tui import config
    from knscope.tui.printing import output, streams

    place = store or config.demo_store()
    whole = start.demo_config(common.facts_count(facts), device)
    output.say(_introduction(whole, facts, place))
    if not headless and streams.on_screen() and sys.stdout.isatty():
        from knscope.tui.app import run_workbench

        start.resume(place, whole)
        run_workbench(place)
        return
    # First what the summary shows; tables 1-3, whose edits and claims start from it, when asked for.
    _finish(place, replace(whole, what=("attribution", "dkn")))
    from knscope.analysis.report import summary

    _print(place, summary.build)
    if headless:
        _finish(place, whole)
        _print(place, summary.experiments)
    output.say(
        f"next:  knscope open {place}    the workbench on these results\n"
        f"       knscope demo --headless    tables 1-3 too: editing and fact checking\n"
        f"       knscope faithfulness    are the methods right about these models?\n"
        f"       knscope demo --facts all    the other bundled facts too\n"
        f"       knscope run STORE --model FOLDER --data FILE.csv    your own"
    )


def _print(store: Path, tables: Callable[[Reader], Sequence[Table]]) -> None:
    from knscope.tui.commands.shown import opened
    from knscope.tui.printing import output

    with opened(store) as reader:
        output.emit(tables(reader), hint="each table's own command and --format csv")


def _finish(store: Path, config: RunConfig) -> None:
    """Resume a run and follow it to its end; leave with its exit code unless it is done."""
    from knscope.analysis.demo import start
    from knscope.tui.commands import run

    name = start.resume(store, config)
    if name is not None and (seen := run.follow_run(store, name)).status != "done":
        raise typer.Exit(run.exit_code(seen))


def _introduction(config: RunConfig, facts: str, store: Path) -> str:
    names = ", ".join(Path(model.source).name for model in config.models)
    sample = "all facts" if facts == "all" else f"a seeded sample of {facts} facts, even over four relations"
    return (
        f"knscope demo: {sample}, two templates the models never saw with them, all languages\n"
        f"models {names}; methods {', '.join(config.methods)}; pair ablations of 20 neurons, tables 1-3 in en and zh\n"
        f"results in {store}"
    )
