"""A run in one process, importable by name: for tests that do one, and for processes that are made to be killed."""

from __future__ import annotations

from pathlib import Path

from knscope import store
from knscope.analysis.runs import job
from knscope.analysis.runs.__main__ import make_executor
from knscope.analysis.runs.config import RunConfig
from knscope.store import runs as run_files


def execute(place: Path, wanted: RunConfig) -> str:
    """Do a run to its end; returns its name."""
    store.create(place)
    run = run_files.new_run(place, wanted.to_json())
    job.execute(place, run, lambda config, cancelled: make_executor(place, run, config, cancelled))
    return run
