"""Runs, which are processes of their own: start one, resume one, stop one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.analysis.errors import ModelError
from knscope.store.errors import UserError
from knscope.store.processes import start, without_result
from knscope.tui.commands.common import CLI
from knscope.tui.dialogs.form import FormScreen
from knscope.tui.panes.runs import RunsPane
from knscope.tui.workbench import run_form
from knscope.tui.workbench.missing import Lacking

if TYPE_CHECKING:
    from knscope.analysis.runs.status import RunStatus
    from knscope.tui.workbench.bench import Bench

ACTIVE = ("running", "queued")


def arguments(store: Path, values: Mapping[str, str], last: Mapping[str, Any] | None = None) -> list[str]:
    """`knscope run`'s arguments for a filled form; what the last run called the columns of the same data holds on."""
    models = [part for one in values["model"].split(",") if (name := one.strip()) for part in (f"--model={name}",)]
    named = {"--langs": "langs", "--facts": "facts", "--method": "method", "--what": "what"}
    options = [part for option, name in named.items() if values[name] for part in (option, values[name])]
    if last and last.get("data") == values["data"]:
        options += [f"--column={one}" for one in last.get("columns", ())]
    return ["run", str(store), *models, f"--data={values['data']}", *options, "--json"]


class Runs:
    """Starts runs as the command line does, so both refuse the same. A run outlives the workbench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def statuses(self) -> Sequence[RunStatus]:
        """What every run of the store does, as last seen; the newest last."""
        return self._bench.query_one(RunsPane).statuses

    def _last_config(self) -> Mapping[str, Any] | None:
        """The configuration of the newest run that names models; the workbench's own runs name none."""
        configs = (one.record.config for one in reversed(self.statuses))
        return next((config for config in configs if config.get("models")), None)

    # --- start

    def start(self, kept: Mapping[str, str] | None = None, error: str = "") -> None:
        """Open a form filled with the configuration of the last run, or with what was typed and refused."""
        if self._bench.session.path is None:
            return
        filled = run_form.fields(self._last_config() or {}, self._bench.session.stored.langs)
        if kept is not None:
            filled = tuple(replace(field, value=kept[field.name]) for field in filled)
        text = "What is stored already is not computed again."
        self._bench.app.push_screen(
            FormScreen("start a run", filled, text, run_form.trouble, error), self._start_filled
        )

    def _start_filled(self, values: dict[str, str] | None) -> None:
        path = self._bench.session.path
        if values is None or path is None:
            return
        asked = arguments(path, values, self._last_config())
        begun = list[subprocess.Popen[str]]()

        def work() -> tuple[int, str, str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with start(CLI, *asked, text=True, encoding="utf-8", errors="replace", **pipes) as child:
                begun.append(child)
                said, why = child.communicate()
            return child.returncode, said, why

        def stop() -> None:
            for child in begun:
                child.terminate()

        failed = lambda error: self._bench.say(f"The run could not be started: {error}")  # noqa: E731
        self._bench.in_thread(
            work,
            lambda answer: self._answered(values, *answer),
            failed,
            group="start",
            what="checking the run's models and data",
            stop=stop,
        )

    def _answered(self, values: Mapping[str, str], code: int, said: str, why: str) -> None:
        """Take what `knscope run` printed: the run's name, or why it was refused, and then the form comes back as it was."""
        try:
            run = "" if code else str(json.loads(said)["run"])
        except (ValueError, KeyError):
            run = ""
        if run:
            self._started(run)
        else:
            said = why.strip().removeprefix("knscope: ") or without_result("knscope run", code)
            if code >= 0 and self._bench.app.screen is self._bench:
                self.start(values, said)
            else:
                self._bench.say(said)

    def start_missing(self, found: Lacking) -> None:
        """Compute what a View lacks as a run on the data of the last one, restricted to the facts concerned."""
        from knscope.analysis.runs.config import ModelSource
        from knscope.analysis.runs.missing import model_row, source_of

        reader, view, config = self._bench.session.reader, found.shown.view, self._last_config()
        if reader is None or config is None:
            self._bench.say("No run of this store says where its facts come from; R starts one, enter computes here.")
            return
        row = model_row(reader, view.model)
        self.start_from(
            config,
            models=(ModelSource(source_of(reader, row)),),
            dtype=str(row["dtype"]),
            langs=view.langs,
            methods=(view.method,),
            scan_methods=(),
            what=found.what,
            fact_ids=found.missing.facts,
            part="",
        )

    def resume(self) -> None:
        """Start the marked run again."""
        marked = self._bench.query_one(RunsPane).marked()
        if marked is None:
            self._bench.say("There is no run to resume.")
        elif marked.status in ACTIVE:
            self._bench.say("The run marked in the runs pane is going on already.")
        elif not marked.record.config.get("models"):
            self._bench.say("This is what r and n computed here; r computes what is still missing.")
        else:
            self.start_from(marked.record.config)

    def start_from(self, config: Mapping[str, Any], **changes: Any) -> None:
        """Start a run with the configuration of another, changed in some fields."""
        from knscope.analysis.runs import protocol
        from knscope.analysis.runs.config import RunConfig

        path = self._bench.session.path
        if path is None:
            return
        try:
            self._started(protocol.start_job(path, replace(RunConfig.from_json(config), **changes)))
        except (
            UserError,
            ModelError,
            OSError,
            TypeError,
            LookupError,
            ValueError,
            AttributeError,
        ) as error:  # a run.json may hold anything
            self._bench.say(f"The run cannot be started: {error}")

    def _started(self, run: str) -> None:
        self._bench.query_one(RunsPane).mark(run)
        self._bench.show_tab("runs")
        self._bench.say(f"{run} started; leaving the workbench does not stop it", "information")

    # --- stop

    def stop_marked(self, *, except_for: str) -> bool:
        """Stop the run marked in the runs pane; False when the pane has no focus, or no run that can be stopped is marked.

        :param except_for: the desk's run, which the desk stops
        """
        from knscope.analysis.runs import protocol

        bench = self._bench
        pane, path = bench.pane(), bench.session.path
        if not isinstance(pane, RunsPane):
            return False
        marked = pane.marked()
        if marked is None or path is None or marked.run == except_for or marked.status not in ACTIVE:
            return False
        run = marked.run
        protocol.cancel_job(path, run)
        pane.stopping.add(run)
        bench.in_thread(
            partial(_stop, path, marked),
            lambda _: None,
            lambda error: bench.say(f"{run} could not be stopped: {error}"),
            group="stop",
        )
        bench.say(f"{run} stops at its next pass; what it stored stays.", "information")
        return True

    def say_what_can_be_stopped(self) -> None:
        """Say how to stop a run, or that none goes on."""
        active = any(one.status in ACTIVE for one in self.statuses)
        self._bench.say("Mark the run in the runs pane (8), then ^x stops it." if active else "No run is going on.")


def _stop(path: Path, run: RunStatus) -> None:
    """End a cancelled run that does not hear it."""
    from knscope.analysis.runs import protocol

    if not protocol.hears(path, run):
        protocol.end_job(path, run.run)
