"""`knscope run` and `query`: start computations and follow them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common, options

if TYPE_CHECKING:
    from knscope.analysis.runs.config import RunConfig
    from knscope.analysis.runs.experiment import Experiment
    from knscope.analysis.runs.status import RunStatus

EXIT_CODES = {"done": 0, "cancelled": 130}
POLL_SECONDS = 0.3
BEGIN_SECONDS = 5.0
FIELDS = {
    "model": "models", "column": "columns", "method": "methods", "sign": "signs", "neurons": "sets", "fact": "fact_ids",
    "known_any": "known", "chat": "prefix", "site": "models",
}  # fmt: skip
"""Options that RunConfig calls otherwise."""
AS_GIVEN = ("templates", "size", "device", "engine", "processes", "dtype", "dense", "shots", "part", "seed")
"""Options that RunConfig takes as they are."""

ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="EXPERIMENT",
        help="A file that says the rest, as status STORE RUN --config prints it; options beside it replace what it says.",
    ),
]
Sets = Annotated[
    list[Path] | None,
    typer.Option(
        "--set",
        metavar="SET",
        help="Edit the neurons of this set in every fact, in place of N: a file, or a list of STORE (a tag of knscope note); "
        "repeat for several.",
    ),
]


def run(
    context: typer.Context,
    store: options.Store,
    file: ExperimentFile = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A folder, a hub id or the name of a bundled model. Repeat for several."),
    ] = None,
    data: options.Data = "",
    column: options.Columns = None,
    langs: options.DataLangs = None,
    relations: options.DataRelations = None,
    facts: options.Facts = "all",
    fact: options.FactIds = None,
    known: Annotated[
        bool, typer.Option("--known", help="Attribute only what the model knows in every language asked for.")
    ] = False,
    known_any: Annotated[bool, typer.Option("--known-any", help="The same, in at least one of the languages.")] = False,
    templates: Annotated[
        str, typer.Option(help="best, all, or a number of templates per relation and language.")
    ] = "all",
    method: Annotated[str, typer.Option("--method", help="Methods, as in amig,bkn.")] = "amig",
    what: Annotated[str, typer.Option(help="attribution, dkn, sets, edit, factcheck, neurons.")] = "attribution,dkn",
    suppress: Annotated[
        str, typer.Option(help="Values that edits give suppressed neurons: zero, mean, resample, or several.")
    ] = "zero",
    sign: Annotated[
        str, typer.Option(help="Neurons that edits are of: positive, negative (they push the answer down), or both.")
    ] = "positive",
    neurons: Sets = None,
    size: Annotated[int, typer.Option(help="Neurons of the largest degenerate sets of --what sets: 3 to 6.")] = 3,
    site: options.Site = None,
    device: options.Device = "auto",
    engine: Annotated[str, typer.Option(help="process, inline or ray.")] = "process",
    processes: Annotated[
        int, typer.Option(min=0, help="Processes without a GPU. 0: one per processor, at most 8.")
    ] = 0,
    dtype: options.Dtype = "float32",
    memory: Annotated[str | None, typer.Option(help="Memory that a process may use for a batch, as in 8GiB.")] = None,
    dense: Annotated[
        str,
        typer.Option(
            help="How scores below the floor are stored: auto (float16 from 8,192 neurons on), none, float16, float32."
        ),
    ] = "auto",
    prefix: options.Prefix = "",
    chat: options.Chat = "",
    shots: options.Shots = 0,
    seed: options.Seed = 0,
    part: Annotated[
        str, typer.Option(help="Only a part of the facts, as in 2/4: for processes that share the work.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Wait and show progress; ctrl+c cancels the run.")] = False,
    as_json: options.Json = False,
) -> None:
    """Compute the results that STORE lacks, in a separate process that survives this terminal."""
    given = {FIELDS.get(name, name) for name in context.params if _is_given(context, name)}
    _start(store, _asked(file, _options(context.params), given), follow, as_json)


def _options(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of the command line as a configuration has them."""
    from knscope.analysis.engine.sources import absolute_source, with_site
    from knscope.analysis.runs.config import ModelSource
    from knscope.analysis.runs.facts import absolute_data, absolute_set

    model = asked["model"] or ()
    return {
        "models": tuple(ModelSource(absolute_source(with_site(one, asked["site"]))) for one in model),
        "data": absolute_data(asked["data"]) if asked["data"] else "",
        "columns": tuple(asked["column"] or ()),
        "facts": common.facts_count(asked["facts"]),
        "methods": common.methods(asked["method"]),
        "sets": tuple(absolute_set(str(one)) for one in asked["neurons"] or ()),
        "signs": common.words("--sign", asked["sign"]),
        "memory": common.size(asked["memory"]),
        "prefix": common.prefix(asked["prefix"], asked["chat"], model),
        "known": "any" if asked["known_any"] else "every" if asked["known"] else "",
        "fact_ids": tuple(asked["fact"] or ()),
        **{name: common.words(f"--{name}", asked[name]) for name in ("langs", "relations", "what", "suppress")},
        **{name: asked[name] for name in AS_GIVEN},
    }


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _asked(file: Path | None, chosen: Mapping[str, Any], given: Collection[str]) -> Experiment:
    """What the file says, with the options that are given in place of it; without a file all options."""
    from dataclasses import replace

    from knscope.analysis.runs import experiment
    from knscope.analysis.runs.config import RunConfig

    if file is None:
        if not chosen["data"]:
            raise UserError("no facts named; add --data D, or name the file of an experiment")
        return experiment.Experiment(RunConfig(**chosen))
    asked = experiment.read(file)
    changed = {name: value for name, value in chosen.items() if name in given}
    other_data = {"data", "columns", "langs", "relations"}.intersection(given)  # which may be other files
    return experiment.Experiment(replace(asked.config, **changed), "" if other_data else asked.dataset_hash)


def _start(store: Path, asked: Experiment, follow: bool, as_json: bool) -> None:
    """Start the run, and follow it if asked to."""
    from knscope.analysis.runs import experiment, protocol
    from knscope.analysis.runs.facts import check_store, load_facts
    from knscope.tui.printing import output

    config = asked.config
    facts = load_facts(config)  # whatever is wrong with the data is said here, before anything is started
    experiment.check_dataset(asked, facts.hash)
    check_store(store, config, facts.hash)
    lacking = sorted(set(config.fact_ids) - {row.fact for row in facts.rows})
    if lacking and not config.part:
        raise UserError(f"--fact {lacking[0]}: {config.data} holds no fact of that id, or none that is asked for")
    if note := experiment.unjudged(config, facts.rows):
        output.say(note)
    name = protocol.start_job(store, config)
    if not follow:
        begun = _begun(store, name)
        if as_json:
            output.write_json({"store": str(store), "run": name, "status": begun.status})
        if begun.status == "failed":
            tell_failures(begun)
            raise typer.Exit(exit_code(begun))
        output.say(f"run {name} started; watch it with: knscope status {store}   or: knscope open {store}")
        return
    status = follow_run(store, name)
    if labels := [str(row["model"]) for row in status.record.provenance.get("models", {}).values()]:
        output.say(f"results of {', '.join(labels)}; look at them with: knscope open {store}")
    tell_unusable(store)
    if as_json:
        output.write_json({"store": str(store), **status.to_json()})
    raise typer.Exit(exit_code(status))


def _begun(store: Path, name: str) -> RunStatus:
    """The run's status once its process has reported or ended, at the latest after BEGIN_SECONDS."""
    from knscope.analysis.runs.status import Observer

    observer, deadline = Observer(store), time.monotonic() + BEGIN_SECONDS
    while (seen := observer.run(name)).status == "queued" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return seen


def exit_code(seen: RunStatus) -> int:
    """2 if a run failed before it planned any result, because its input is wrong (a model that is refused)."""
    if seen.status == "failed" and not seen.record.total and seen.record.beat:
        return 2
    return EXIT_CODES.get(seen.status, 1)


def follow_run(store: Path, name: str) -> RunStatus:
    """Show a run's progress until it ends. Ctrl+c asks it to stop at the next pass. Failures go to stderr."""
    from knscope.analysis.runs import protocol, status
    from knscope.store.runs import ACTIVE
    from knscope.store.text import duration
    from knscope.tui.printing import output

    observer, cancelled = status.Observer(store), False
    with output.progress_bar() as bar:
        while True:
            try:
                seen = observer.run(name)
                over = seen.status not in ACTIVE
                text = seen.status if over else f"{state(seen)}, {duration(seen.left)} left"
                bar.show(seen.record.done, seen.record.total, text, last=over)
                if over:
                    break
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                if cancelled:
                    raise
                protocol.cancel_job(store, name)
                cancelled = True  # a second ctrl+c leaves at once
                output.say("stopping at the next pass; press ctrl+c again to leave at once")
    tell_failures(seen)
    return seen


def compute(store: Path, config: RunConfig) -> RunStatus:
    """Start a run and follow it to its end."""
    from knscope.analysis.runs import protocol

    return follow_run(store, protocol.start_job(store, config))


def state(seen: RunStatus) -> str:
    """What a run does, in a word or two."""
    from knscope.store.text import duration

    return seen.status if seen.silent is None else f"{seen.status}, silent for {duration(seen.silent)}"


def tell_failures(seen: RunStatus) -> None:
    from knscope.store.text import duration
    from knscope.tui.printing import output

    if seen.silent is not None:
        output.say(
            f"run {seen.run} has not reported for {duration(seen.silent)}: a model loads, a pass takes long, or it hangs; "
            "knscope cancel stops it"
        )
    if seen.record.message:
        output.say(f"run {seen.run} {seen.status}: {seen.record.message}")
    if seen.status == "lost":
        output.say(f"the results of run {seen.run} are kept; start it again to continue")
    others = [one for one in seen.record.failures if not seen.record.message or not one.endswith(seen.record.message)]
    for failure in others[:10]:
        output.say(f"  {failure}")
    if len(others) > 10:
        output.say(f"  … and {len(others) - 10} more; see knscope status --json")


def tell_unusable(store: Path) -> None:
    """Report on stderr how many stored rows a model cannot use, with an example for each reason."""
    from knscope.analysis.report.facts_known import unusable
    from knscope.store import open as open_store
    from knscope.tui.printing import output

    with open_store(store) as reader:
        for line in unusable(reader):
            output.say(line)
