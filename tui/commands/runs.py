"""`knscope status` and `cancel`: what the runs of a store do, what they were asked for, and how they are stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands.options import Json, Store
from knscope.tui.commands.run import state, tell_failures

if TYPE_CHECKING:
    from knscope.analysis.runs.status import RunStatus


def status(
    store: Store,
    name: Annotated[str | None, typer.Argument(metavar="RUN", help="Default: all.")] = None,
    config: Annotated[
        bool, typer.Option("--config", help="Print what RUN was asked for, as a file that knscope run takes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the runs of STORE, active and newest first: progress, rate, time left, failures."""
    import polars as pl

    from knscope.store.runs import ACTIVE
    from knscope.store.text import duration
    from knscope.tui.printing import output

    seen = list(_chosen(store, name))
    if config:
        output.write_data(_experiment(store, seen).encode())
        return
    if as_json:
        output.write_json({"store": str(store), "runs": [one.to_json() for one in seen]})
        return
    seen = sorted(seen, key=lambda one: (one.status in ACTIVE, one.run), reverse=True)  # a long list is cut off
    columns: dict[str, list[Any]] = {
        "run": [one.run for one in seen],
        "status": [state(one) for one in seen],
        "done": [one.record.done for one in seen],
        "of": [one.record.total for one in seen],
        "per second": [one.rate for one in seen],
        "time left": [duration(one.left) for one in seen],
        "failures": [len(one.record.failures) for one in seen],
        "what": [describe(one.record.config) for one in seen],
    }
    frame = pl.DataFrame(columns, strict=False)
    output.emit([output.one_table("runs", f"runs of {store}", frame)], hint="--json")
    for one in seen:
        if one.silent is not None or one.status not in ("done", *ACTIVE):
            tell_failures(one)


def _chosen(store: Path, name: str | None) -> Collection[RunStatus]:
    """The run of that name, or all of a store. Raises UserError where there is none of that name."""
    from knscope.analysis.runs.status import Observer

    seen = {one.run: one for one in Observer(store).settled()}
    if name is not None and name not in seen:
        raise UserError(f"{store} has no run {name}; it has: {', '.join(seen) or 'none'}")
    return seen.values() if name is None else [seen[name]]


def _experiment(store: Path, seen: Sequence[RunStatus]) -> str:
    """The file of the one run that is meant. Raises UserError where there are several, or none."""
    from knscope.analysis.runs import experiment

    named = [one for one in seen if one.record.config.get("models")]
    if len(named) != 1:
        runs = ", ".join(one.run for one in named) or "none that names models"
        raise UserError(
            f"--config prints one run; name it, as in knscope status {store} RUN --config; the store has: {runs}"
        )
    return experiment.write(named[0].record)


def describe(config: Any) -> str:
    """A run's configuration in a few words."""
    names = ",".join(Path(model.get("source", "")).name for model in config.get("models", ()))
    lists = (",".join(config.get(name, ())) for name in ("methods", "what"))
    return " · ".join((names, Path(config.get("data", "")).name, *lists))


def cancel(
    store: Store, name: Annotated[str | None, typer.Argument(metavar="RUN", help="Default: all.")] = None
) -> None:
    """Stop a run, or all active runs, at the next pass of the model. Results are kept. A run that does not answer is killed."""
    from knscope.tui.printing import output

    chosen = _chosen(store, name)
    asked = [one for one in chosen if _cancel(store, one)]
    if not asked:
        output.say("no run is active" if name is None else f"run {name} is not active: {next(iter(chosen)).status}")


def _cancel(store: Path, one: RunStatus) -> bool:
    """Cancel a run that is active or has processes left. Returns whether there was anything to cancel."""
    from knscope.analysis.runs import protocol
    from knscope.store import processes
    from knscope.store.runs import ACTIVE
    from knscope.tui.printing import output

    if one.status not in ACTIVE and not (one.status == "lost" and any(processes.find(protocol.PROGRAM, one.run))):
        return False
    protocol.cancel_job(store, one.run)
    if one.status in ACTIVE and protocol.hears(store, one):
        output.say(f"run {one.run} will stop at its next pass")
        return True
    output.say(
        f"run {one.run} was asked to stop; its processes are killed if it does not within {protocol.STOP_SECONDS:.0f} s"
    )
    ended = protocol.end_job(store, one.run)
    host = one.record.provenance.get("host", "another machine")
    output.say(f"run {one.run} has ended" if ended else f"run {one.run} cannot be stopped from here; stop it on {host}")
    return True
