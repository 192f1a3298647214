"""`knscope demo`: the bundled facts and models, analysed while the workbench is already open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tui.commands import common

if TYPE_CHECKING:
    from analysis.runs.plan import RunConfig


def demo(
    store: Annotated[Path | None, typer.Option(help="Where the results go. Default: your data folder.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Wait, print the summary, open nothing.")] = False,
    facts: Annotated[str, typer.Option(help="How many of the bundled facts, or all.")] = "60",
    device: common.Device = "auto",
) -> None:
    """Analyse the bundled facts with the bundled models and open the workbench at once: it fills while this runs."""
    from tui import output
    from tui.commands import run, stores

    place = store or default_store()
    config = demo_config(common.facts_count(facts), device)
    interactive = not headless and sys.stdin.isatty() and sys.stdout.isatty()
    output.say(_introduction(config, facts, place))
    name = resume(place, config)
    if interactive:
        stores.open_workbench(place)
        return
    if name is not None:
        seen = run.follow_run(place, name)
        if seen.status != "done":
            raise typer.Exit(run.EXIT_CODES.get(seen.status, 1))
    stores.print_summary(place)
    output.say(
        f"next:  knscope open {place}    the workbench on these results\n"
        f"       knscope demo --facts all    the other bundled facts too\n"
        f"       knscope run STORE --model FOLDER --data FILE.csv    your own"
    )


def default_store() -> Path:
    """`~/.local/share/knscope/demo.knstore`, or what XDG_DATA_HOME says."""
    import platformdirs

    return Path(platformdirs.user_data_dir("knscope"), "demo.knstore")


def demo_config(facts: int | None, device: str = "auto") -> RunConfig:
    """Both multilingual models on all languages, the two English ones on English, `amig` and `bkn`, pair ablations."""
    from analysis import demo as bundled
    from analysis.runs.plan import ModelSource, RunConfig
    from store.errors import UserError

    folder = Path(bundled.__file__).parent / "models"
    langs = {"bert-multi": (), "gpt2-multi": (), "bert-en": ("en",), "gpt2-en": ("en",)}
    models = [ModelSource(str(folder / name), langs[name]) for name in langs if (folder / name).is_dir()]
    if not models:
        raise UserError(f"the bundled models are not in {folder}; train them with: make demo-models")
    # Degenerate pairs are amig's: scanning bkn's neurons too would make the demo half as long again.
    methods, scanned = ("amig", "bkn"), ("amig",)
    return RunConfig(tuple(models), "demo", facts=facts, device=device, methods=methods, scan_methods=scanned)


def resume(store: Path, config: RunConfig) -> str | None:
    """The run to follow: one that is active with this configuration, or a new one; None when one has done it all."""
    from analysis.method import NUMERICS_VERSION
    from analysis.runs import client
    from analysis.runs.status import ACTIVE, Observer

    if store.exists():
        same = [one for one in Observer(store).settled() if one.record.config == config.to_json()]
        for one in same:
            if one.status in ACTIVE:
                return one.run
        if any(
            one.status == "done" and one.record.provenance.get("numerics_version") == NUMERICS_VERSION for one in same
        ):
            return None
    return client.start_job(store, config)


def _introduction(config: RunConfig, facts: str, store: Path) -> str:
    names = ", ".join(Path(model.source).name for model in config.models)
    sample = "all facts" if facts == "all" else f"a seeded sample of {facts} facts, even over four relations"
    return (
        f"knscope demo: {sample}, two templates the models never saw with them, all languages\n"
        f"models {names}; methods {', '.join(config.methods)}; pair ablations of the 20 strongest neurons\n"
        f"results in {store}"
    )
