"""Start a run from Python and wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from knscope.analysis.api.progress import Progress
from knscope.analysis.engine.sources import absolute_source
from knscope.analysis.runs import experiment
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import absolute_data, check_store, load_facts
from knscope.analysis.runs.protocol import cancel_job, start_job
from knscope.analysis.runs.status import Observer, RunStatus
from knscope.store import open as open_store
from knscope.store.errors import ProcessFailed
from knscope.store.reader import Reader
from knscope.store.runs import ACTIVE

POLL_SECONDS = 0.3


def run(
    store: Path | str,
    models: Sequence[str] | RunConfig | Path,
    data: str = "",
    *,
    wait: bool = True,
    progress: Callable[[RunStatus], None] | None = None,
    **options: Any,
) -> Reader:
    """Compute those of the results asked for that STORE lacks, in processes of their own; then open the store.

    ``knscope.run("my.knstore", ["gpt2-en"], "facts.csv", methods=("amig",), what=("attribution", "dkn"))``

    ``knscope.run("my.knstore", "exp.toml")``

    :param models: folders, hub ids or names of bundled models; or a whole RunConfig, or the `.toml` file of an experiment,
        without `data` and options
    :param data: as `knscope run --data` takes it: demo, mlama:DIR, …, or a file
    :param wait: return when the run has ended (an interrupt cancels it); else at once, while it goes on
    :param progress: called with a RunStatus a few times a second; else a notebook shows a bar that moves, and a terminal a line
    :param options: fields of RunConfig
    :raises UserError: options or data that cannot be used; nothing is started then
    :raises ProcessFailed: the run failed or was cancelled; what it has stored is kept
    """
    asked = _asked(models, data, options)
    place, dataset_hash = Path(store), load_facts(asked.config).hash
    experiment.check_dataset(asked, dataset_hash)
    check_store(place, asked.config, dataset_hash)
    name = start_job(place, asked.config)
    if wait:
        _follow(place, name, progress or Progress())
    return open_store(place)


def _asked(models: Sequence[str] | RunConfig | Path, data: str, options: dict[str, Any]) -> experiment.Experiment:
    if isinstance(models, RunConfig):
        return experiment.Experiment(models)
    if isinstance(models, str | Path) and str(models).endswith(".toml"):
        return experiment.read(Path(models))
    named = [str(models)] if isinstance(models, str | Path) else models
    sources = tuple(ModelSource(absolute_source(one)) for one in named)
    return experiment.Experiment(RunConfig(sources, absolute_data(data), **options))


def _follow(place: Path, name: str, progress: Callable[[RunStatus], None]) -> None:
    observer = Observer(place)
    try:
        while (seen := observer.run(name)).status in ACTIVE:
            progress(seen)
            time.sleep(POLL_SECONDS)
        progress(seen)
    except KeyboardInterrupt:
        cancel_job(place, name)
        raise
    _check(seen)


def _check(seen: RunStatus) -> None:
    if seen.status != "done":
        why = seen.record.message or "; ".join(seen.record.failures[:1]) or "no reason is known"
        raise ProcessFailed(f"run {seen.run} ended as {seen.status}: {why}")
