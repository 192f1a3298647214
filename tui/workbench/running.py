"""Runs as processes of their own: start one, go on with one, stop one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.worker import Worker, WorkerState

from knscope.analysis.errors import ModelError
from knscope.store.errors import UserError
from knscope.store.processes import start, without_result
from knscope.tui.commands.common import CLI
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.panes.runs import RunsPane
from knscope.tui.workbench.computing import Computing, Lacking

if TYPE_CHECKING:
    from knscope.analysis.runs.status import RunStatus

ACTIVE = ("running", "queued")


def arguments(store: Path, values: Mapping[str, str]) -> list[str]:
    """`knscope run`'s arguments for a filled form."""
    models = [part for one in values["model"].split(",") if (name := one.strip()) for part in (f"--model={name}",)]
    named = {"--langs": "langs", "--facts": "facts", "--method": "method", "--what": "what"}
    options = [part for option, name in named.items() if values[name] for part in (option, values[name])]
    return ["run", str(store), *models, f"--data={values['data']}", *options, "--json"]


class Running(Computing):
    """A job outlives the workbench; it is started as the command line starts it, so both refuse the same."""

    def action_start_run(self) -> None:
        """A form with what the last run was asked for."""
        if self.session.path is None:
            return
        last = next((c for one in reversed(self._statuses()) if (c := one.record.config).get("models")), {})
        fields = (
            Field("model", "model", _models(last), "a folder or hub id; several with commas"),
            Field("data", "data", str(last.get("data", "")), "demo, mlama:DIR, mpararel:DIR, or FILE.csv"),
            Field("langs", "languages", ",".join(last.get("langs", ())), "all there are; or en,zh", required=False),
            Field("facts", "facts", str(last.get("facts") or "all"), "how many, or all"),
            Field("method", "methods", ",".join(last.get("methods", ("amig",))), "amig, bkn, …"),
            Field("what", "what", ",".join(last.get("what", ("attribution", "dkn"))), "attribution,dkn,edit,factcheck"),
        )
        text = "What is stored already is not computed again."
        self.app.push_screen(FormScreen("start a run", fields, text), self._begin)

    def _statuses(self) -> Sequence[RunStatus]:
        return self.query_one(RunsPane).statuses

    def _begin(self, values: dict[str, str] | None) -> None:
        if values is None or self.session.path is None:
            return
        asked = arguments(self.session.path, values)
        self.knscope.say("looking at the data …", "information")

        def work() -> tuple[int, str, str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with start(CLI, *asked, text=True, encoding="utf-8", errors="replace", **pipes) as child:
                said, why = child.communicate()
            return child.returncode, said, why

        self.run_worker(work, thread=True, group="start", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group != "start":
            return
        if event.state == WorkerState.SUCCESS and event.worker.result is not None:
            code, said, why = event.worker.result
            try:
                run = "" if code else str(json.loads(said)["run"])
            except (ValueError, KeyError):
                run = ""
            if run:
                self._started(run)
            else:
                self.knscope.say(why.strip().removeprefix("knscope: ") or without_result("knscope run", code))
        elif event.state == WorkerState.ERROR:
            self.knscope.say(f"The run could not be started: {event.worker.error}")

    def start_missing(self, found: Lacking) -> None:
        """What a view lacks, as a run on the data of the last one, restricted to the facts concerned."""
        from knscope.analysis.runs.missing import model_row, source_of
        from knscope.analysis.runs.plan import ModelSource

        reader, view = self.session.reader, found.shown.view
        stored = next((c for one in reversed(self._statuses()) if (c := one.record.config).get("models")), None)
        if reader is None or stored is None:
            self.knscope.say("No run of this store says where its facts come from; R starts one, enter computes here.")
            return
        row = model_row(reader, view.model)
        self._start(
            stored,
            models=(ModelSource(source_of(reader, row)),),
            dtype=str(row["dtype"]),
            langs=view.langs,
            methods=(view.method,),
            scan_methods=(),
            what=found.what,
            fact_ids=found.missing.facts,
        )

    def _start(self, stored: Mapping[str, Any], **changes: Any) -> None:
        from knscope.analysis.runs import protocol
        from knscope.analysis.runs.plan import RunConfig

        if self.session.path is None:
            return
        try:
            self._started(protocol.start_job(self.session.path, replace(RunConfig.from_json(stored), **changes)))
        except (
            UserError,
            ModelError,
            OSError,
            TypeError,
            LookupError,
            ValueError,
            AttributeError,
        ) as error:  # of any run.json
            self.knscope.say(f"The run cannot be started: {error}")

    def _started(self, run: str) -> None:
        self.action_tab("runs")  # type: ignore[attr-defined]
        self.knscope.say(f"{run} started; leaving the workbench does not stop it", "information")

    def action_cancel_run(self) -> None:
        """The marked run; or what the model worker does, where no run is marked that goes on."""
        from knscope.analysis.runs import protocol

        marked, path = self.query_one(RunsPane).marked(), self.session.path
        mine = self._desk.run if self._desk is not None else ""
        here = isinstance(self.pane(), RunsPane)
        if marked is not None and here and marked.run != mine and marked.status in ACTIVE and path is not None:
            protocol.cancel_job(path, marked.run)
            self.run_worker(partial(_stop, path, marked), thread=True, exit_on_error=False)
            self.knscope.say(f"{marked.run} stops at its next row; what it stored stays.", "information")
        elif self.stop_desk():
            self.knscope.say("The model worker stops at its next row; what it computed stays.", "information")
        elif any(one.status in ACTIVE for one in self._statuses()):
            self.knscope.say("Mark the run in the runs pane (8), then ^x stops it.")
        else:
            self.knscope.say("No run is going on.")

    def action_resume_run(self) -> None:
        marked = self.query_one(RunsPane).marked()
        if marked is None:
            self.knscope.say("There is no run to resume.")
        elif marked.status in ACTIVE:
            self.knscope.say("The run marked in the runs pane is going on already.")
        elif not marked.record.config.get("models"):
            self.knscope.say("This is what r and n computed here; r computes what is still missing.")
        else:
            self._start(marked.record.config)


def _stop(path: Path, run: RunStatus) -> None:
    """See to it that a cancelled run ends."""
    from knscope.analysis.runs import protocol

    if not protocol.hears(path, run):
        protocol.end_job(path, run.run)


def _models(config: Mapping[str, Any]) -> str:
    return ",".join(str(model.get("source", "")) for model in config.get("models", ()))
