"""`knscope demo`: the bundled facts and models, analysed while the workbench is already open."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knscope.tui.commands import common

if TYPE_CHECKING:
    from knscope.analysis.runs.plan import ModelSource, RunConfig


def demo(
    store: Annotated[Path | None, typer.Option(help="Where the results go. Default: your data folder.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Wait, print all tables, open nothing.")] = False,
    facts: Annotated[str, typer.Option(help="How many of the bundled facts, or all.")] = "60",
    device: common.Device = "auto",
) -> None:
    """Analyse the bundled facts with the bundled models and open the workbench at once: it fills while this runs."""
    from knscope.tui.commands import stores
    from knscope.tui.printing import output, streams

    place = store or default_store()
    whole = demo_config(common.facts_count(facts), device)
    output.say(_introduction(whole, facts, place))
    if not headless and streams.on_screen() and sys.stdout.isatty():
        resume(place, whole)
        stores.open_workbench(place)
        return
    # First what the summary shows; tables 1-3, whose edits and claims start from it, when asked for.
    _finish(place, replace(whole, what=("attribution", "dkn")))
    stores.print_summary(place)
    if headless:
        _finish(place, whole)
        stores.print_experiments(place)
    output.say(
        f"next:  knscope open {place}    the workbench on these results\n"
        f"       knscope demo --headless    tables 1-3 too: editing and fact checking\n"
        f"       knscope faithfulness    are the methods right about these models?\n"
        f"       knscope demo --facts all    the other bundled facts too\n"
        f"       knscope run STORE --model FOLDER --data FILE.csv    your own"
    )


def _finish(store: Path, config: RunConfig) -> None:
    """Resume a run and follow it to its end; leave with its exit code unless it is done."""
    from knscope.tui.commands import run

    name = resume(store, config)
    if name is not None and (seen := run.follow_run(store, name)).status != "done":
        raise typer.Exit(run.exit_code(seen))


def default_store() -> Path:
    """`~/.local/share/knscope/demo.knstore`, or what XDG_DATA_HOME says.

    :raises UserError: where there is no home directory
    """
    from knscope.store.errors import UserError
    from knscope.tui.config import own_folder

    folder = own_folder("data")
    if folder is None:
        raise UserError("there is no home directory for the results; name a place: knscope demo --store FOLDER")
    return folder / "demo.knstore"


def bundled_models() -> tuple[ModelSource, ...]:
    """The models that come with the project: multilingual ones on all languages, English ones on English.

    :raises UserError: when they are missing
    """
    from knscope.analysis import demo as bundled
    from knscope.analysis.runs.plan import ModelSource
    from knscope.store.errors import UserError

    folder = Path(bundled.__file__).parent / "models"
    langs = {"bert-multi": (), "gpt2-multi": (), "bert-en": ("en",), "gpt2-en": ("en",)}
    models = tuple(ModelSource(str(folder / name), langs[name]) for name in langs if (folder / name).is_dir())
    if not models:
        raise UserError(f"the bundled models are not in {folder}; train them with: make demo-models")
    return models


def demo_config(facts: int | None, device: str = "auto") -> RunConfig:
    """`amig` and `bkn` on every language of each model, pair ablations of amig's neurons; tables 1-3 in the paper's two."""
    from knscope.analysis.runs.plan import PHASES, RunConfig

    # Degenerate pairs are amig's: scanning bkn's neurons too would make the demo half as long again.
    return RunConfig(
        bundled_models(),
        "demo",
        facts=facts,
        device=device,
        methods=("amig", "bkn"),
        scan_methods=("amig",),
        what=PHASES,
        table_langs=("en", "zh"),
    )


def resume(store: Path, config: RunConfig) -> str | None:
    """The run to follow: one that is active with this configuration, or a new one; None when one has done it all."""
    from knscope.analysis.attribution.method import NUMERICS_VERSION
    from knscope.analysis.runs import protocol
    from knscope.analysis.runs.status import Observer
    from knscope.store.runs import ACTIVE

    if store.exists():
        same = [one for one in Observer(store).settled() if one.record.config == config.to_json()]
        for one in same:
            if one.status in ACTIVE:
                return one.run
        if any(
            one.status == "done" and one.record.provenance.get("numerics_version") == NUMERICS_VERSION for one in same
        ):
            return None
    return protocol.start_job(store, config)


def _introduction(config: RunConfig, facts: str, store: Path) -> str:
    names = ", ".join(Path(model.source).name for model in config.models)
    sample = "all facts" if facts == "all" else f"a seeded sample of {facts} facts, even over four relations"
    return (
        f"knscope demo: {sample}, two templates the models never saw with them, all languages\n"
        f"models {names}; methods {', '.join(config.methods)}; pair ablations of 20 neurons, tables 1-3 in en and zh\n"
        f"results in {store}"
    )
