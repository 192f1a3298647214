"""A run in one process, importable by name: for tests that do one, and for processes that are made to be killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def child(part: str, *arguments: str) -> Any:
    """What `tui.commands.common.child` gives, without another process, which takes seconds to import torch."""
    from knscope.analysis.api import question
    from knscope.analysis.judge import measure
    from knscope.analysis.runs import inspection

    if part == "question":
        return question.answer(question.Question.from_json(arguments[0]), lambda done, total: None)
    if part == "judge":
        return measure.measure(measure.Task.from_json(arguments[0]), lambda done, total: None)
    source, _, device, _, dtype = arguments
    return inspection.inspect_model(source, device, dtype)
