"""`knscope open` and `knscope store …`: open, verify and compact a store."""

from __future__ import annotations

from typing import Annotated

import typer

from knscope.tui.commands.listing import Listed
from knscope.tui.commands.options import Json, Store

store_app = typer.Typer(cls=Listed, help="Verify or compact a store.", rich_markup_mode=None)


def open_store(
    store: Store,
    theme: Annotated[str | None, typer.Option(help="Colour theme; ctrl+t lists them.")] = None,
    animations: Annotated[str | None, typer.Option(help="auto (none over SSH), none, basic or full.")] = None,
) -> None:
    """Open the workbench on STORE, also while a run writes to it."""
    from knscope.tui.app import run_workbench

    run_workbench(store, {"theme": theme, "animations": animations})


@store_app.command()
def verify(store: Store, as_json: Json = False) -> None:
    """Compare every byte of STORE with its checksums. Exit code 1 if something is damaged."""
    from knscope.store import base, layout, shards
    from knscope.store.layout import SNAPSHOT
    from knscope.tui.printing import output
    from knscope.tui.widgets import cells

    report = shards.verify(store)
    read = [name for name in report if f"/{layout.SHARDS}/" in name]
    damaged = {name: why for name, why in report.items() if why}
    if why := base.damage(store):
        damaged[SNAPSHOT] = why
    if as_json:
        output.write_json({"store": str(store), "shards": len(read), "damaged": damaged})
    else:
        for name, why in damaged.items():
            output.say(f"{name}: {why.removeprefix(f'{name} ').removeprefix(f'{name}: ')}")
        lost = sum(name in read for name in damaged)
        then = "; run again to compute again what they held" if lost else ""
        other = f"; {len(damaged) - lost:,} other damaged" if len(damaged) > lost else ""
        output.say(f"{cells.several(len(read), 'shard')}, {lost:,} damaged{then}{other}")
    raise typer.Exit(1 if damaged else 0)


@store_app.command()
def compact(store: Store) -> None:
    """Merge small shards, and write results.duckdb, which any DuckDB client opens, with the macros inside."""
    from knscope.store import compaction, snapshot
    from knscope.tui.printing import output
    from knscope.tui.widgets import cells

    try:
        before, after = compaction.compact(store)
        shards = cells.several(before, "shard")
        output.say(f"{shards} are {after:,} now" if after < before else f"{shards}, none to merge")
    finally:  # also where another user's runs could not be merged
        place = snapshot.publish(store)
        output.say(f"wrote {place} ({place.stat().st_size / 2**20:,.1f} MiB)")
