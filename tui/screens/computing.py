"""The actions that compute: what the view lacks, a new question, and the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.worker import Worker, WorkerState

from store.errors import UserError
from tui import state
from tui.messages import WorkerEvent
from tui.panes.runs import RunsPane, duration
from tui.screens.bench import Bench
from tui.screens.form import Field, FormScreen
from tui.screens.text import TextScreen
from tui.selection import Selection, Shown

if TYPE_CHECKING:
    from analysis.runs.client import ModelWorker
    from store.reader import Reader

ASKED = "asked"
"""Relation of the questions a person typed."""
_LACKING = """
SELECT count(*) FILTER (a.key IS NULL) AS attributions,
    count(DISTINCT (q.fact, q.lang)) FILTER (s.key IS NULL) AS scans,
    count(DISTINCT q.fact) FILTER (a.key IS NULL OR s.key IS NULL) AS facts,
    list(DISTINCT q.fact) FILTER (a.key IS NULL OR s.key IS NULL) AS fact_ids
FROM query q
JOIN prediction p ON p.query = q.query AND p.model = $model
LEFT JOIN attribution a ON a.query = q.query AND a.model = $model AND a.method = $method
LEFT JOIN (SELECT any_value(s.key) AS key, m.fact, m.lang FROM scan s JOIN query m USING (query)
           WHERE s.model = $model AND s.method = $method AND s.role = 'kn' GROUP BY ALL) s ON s.fact = q.fact AND s.lang = q.lang
WHERE list_contains($langs, q.lang) AND (len($relations) = 0 OR list_contains($relations, q.relation))
    AND (len($facts) = 0 OR list_contains($facts, q.fact)) AND (len($queries) = 0 OR list_contains($queries, q.query))
    AND (NOT $known OR p.known)
"""


@dataclass(frozen=True)
class Lacking:
    """What a view needs that is not stored."""

    attributions: int
    scans: int
    facts: tuple[str, ...]

    def say(self, rate: float | None) -> str:
        parts = []
        if self.attributions:
            parts.append(f"{self.attributions:,} attributions")
        if self.scans:
            parts.append(f"{self.scans:,} pair scans (210 ablations each, and their controls)")
        about = (
            f"\nat the last run's {rate:.1f} results a second: about {duration((self.attributions + 3 * self.scans) / rate)}"
            if rate
            else ""
        )
        return f"{len(self.facts):,} facts lack {' and '.join(parts)}.{about}"


def lacking(reader: Reader, shown: Shown) -> Lacking:
    """Count it, for the selection."""
    view = shown.narrowed
    names = {
        "model": view.model, "method": view.method, "langs": list(view.langs), "relations": list(view.relations),
        "facts": list(view.facts), "queries": list(view.queries), "known": view.known,
    }  # fmt: skip
    row = reader.sql(_LACKING, names).row(0, named=True)
    return Lacking(row["attributions"], row["scans"], tuple(sorted(row["fact_ids"] or ())))


class Computing(Bench):
    """Jobs outlive the workbench; the model worker is its child and ends with it."""

    _model_worker: ModelWorker | None = None
    _worker_run = ""
    _asked: Mapping[str, str] | None = None

    # --- r

    def action_compute(self) -> None:
        reader, shown = self.session.reader, self.session.shown()
        if reader is None or shown is None:
            self.knscope.say(
                "Nothing is stored yet that something could be missing from; knscope run STORE … starts an analysis."
            )
            return
        self.run_worker(lambda: (shown, lacking(reader, shown)), thread=True, group="lacking", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "lacking":
            if event.state == WorkerState.SUCCESS:
                self._offer(*event.worker.result)  # type: ignore[misc]
            elif event.state == WorkerState.ERROR:
                self.knscope.say(f"What is missing could not be counted: {event.worker.error}")

    def _offer(self, shown: Shown, found: Lacking) -> None:
        subject = shown.selection.subject
        if not found.facts:
            self.knscope.say(
                f"Nothing is missing for {subject}: {shown.view.method} on {'+'.join(shown.view.langs)}.", "information"
            )
            return
        statuses = self.query_one(RunsPane).statuses
        rate = next((one.rate for one in reversed(statuses) if one.rate), None)
        config = next((one.record.config for one in reversed(statuses) if one.record.config.get("models")), None)
        if config is None:
            self.knscope.say("No run of this store says where the model is; start one with knscope run.")
            return
        text = f"{subject}, {shown.view.method}:\n{found.say(rate)}\n\nIt runs by itself; leaving the workbench does not stop it."

        def answer(word: str | None) -> None:
            if word:
                self._start(shown, found, config)

        self.app.push_screen(TextScreen("compute what is missing", text, (("enter", "go", "starts"),)), answer)

    def _start(self, shown: Shown, found: Lacking, stored: Mapping[str, Any]) -> None:
        from analysis.runs import client
        from analysis.runs.plan import ModelSource, RunConfig

        reader, path = self.session.reader, self.session.path
        if reader is None or path is None:
            return
        try:
            source = reader.sql("SELECT source FROM model WHERE model = ?", [shown.view.model])["source"][0]
            config = replace(
                RunConfig.from_json(stored), models=(ModelSource(source),), langs=shown.view.langs, methods=(shown.view.method,),
                what=("attribution", "dkn"), fact_ids=found.facts, facts=stored.get("facts"),
            )  # fmt: skip
            self._started(client.start_job(path, config))
        except (UserError, OSError, TypeError) as error:
            self.knscope.say(str(error))

    def _started(self, run: str) -> None:
        self.action_tab("runs")  # type: ignore[attr-defined]
        self.knscope.say(f"{run} started", "information")

    # --- runs

    def action_cancel_run(self) -> None:
        from analysis.runs import client

        marked, path = self.query_one(RunsPane).marked(), self.session.path
        if marked is None or path is None or marked.status not in ("running", "queued"):
            self.knscope.say("The run marked in the runs pane is not going on.")
            return
        client.cancel_job(path, marked.run)
        self.knscope.say(f"{marked.run} stops at its next unit; what it computed stays.", "information")

    def action_resume_run(self) -> None:
        from analysis.runs import client
        from analysis.runs.plan import RunConfig

        marked, path = self.query_one(RunsPane).marked(), self.session.path
        if marked is None or path is None or marked.status in ("running", "queued"):
            self.knscope.say(
                "The run marked in the runs pane is going on already." if marked else "There is no run to resume."
            )
            return
        try:
            config = RunConfig.from_json(marked.record.config)
            self._started(client.start_job(path, config))
        except (UserError, OSError, TypeError, KeyError) as error:
            self.knscope.say(f"{marked.run} cannot be resumed: {error}")

    # --- n

    def action_ask(self) -> None:
        view, path = self.session.view, self.session.path
        if view is None or path is None:
            self.knscope.say("A question needs a model: open a store that holds one.")
            return
        kept = self._asked or {}
        fields = (
            Field("template", "prompt", kept.get("template", ""), "with [X] and [Y]: The capital of [X] is [Y]"),
            Field("subject", "subject [X]", kept.get("subject", ""), "Tanzania"),
            Field("object", "answer [Y]", kept.get("object", ""), "Dodoma"),
            Field("lang", "language", kept.get("lang", view.langs[0]), "as the store writes it"),
        )
        label = view.model.partition("@")[0]
        self.app.push_screen(FormScreen(f"ask {label}, attribute with {view.method}", fields), self._ask)

    def _ask(self, values: dict[str, str] | None) -> None:
        view, reader, path = self.session.view, self.session.reader, self.session.path
        if values is None or view is None or reader is None or path is None:
            return
        self._asked = values
        missing = [slot for slot in ("[X]", "[Y]") if slot not in values["template"]]
        if missing:
            self.knscope.say(f"The prompt lacks {' and '.join(missing)}: The capital of [X] is [Y]")
            self.action_ask()
            return
        from analysis.prompts import Query
        from analysis.runs.plan import Unit

        source = reader.sql("SELECT source FROM model WHERE model = ?", [view.model])["source"][0]
        fact = f"{ASKED}: {values['subject']}"
        query = Query(fact, ASKED, values["lang"], values["template"], values["subject"], values["object"])
        unit = Unit("attribution", source, view.method, (query,))
        try:
            worker = self._worker(path)
        except (OSError, UserError) as error:
            self.knscope.say(f"The model's process could not start: {error}")
            return
        self._wanted_fact = fact, values["lang"]
        self.worker_text = "model: loading"
        worker.compute(unit)
        self.knscope.say("The question is on its way; its row appears when it is answered.", "information")

    _wanted_fact: tuple[str, str] | None = None

    def _worker(self, path: Path) -> ModelWorker:
        from analysis.runs.client import ModelWorker
        from store import runs

        if self._model_worker is None or not self._model_worker.alive:
            self._worker_run = runs.new_run(
                path, {"models": [], "data": "questions", "what": ["attribution"], "methods": []}
            )
            self._model_worker = ModelWorker(
                path, self._worker_run, self._heard, state.state_folder() / "model-worker.log"
            )  # fmt: skip
        return self._model_worker

    def _heard(self, event: Mapping[str, Any]) -> None:
        """Called on the worker's reader thread."""
        self.post_message(WorkerEvent(event))

    def on_worker_event(self, message: WorkerEvent) -> None:
        event = message.event
        match event.get("event"):
            case "state":
                self.worker_text = f"model: {event.get('state', '')}"
            case "progress":
                self.worker_text = "model: attributing"
            case "done":
                self.worker_text = "model: ready"
                self.set_timer(0.4, self._go_to_asked)
            case "error":
                self.worker_text = "model: ready"
                self.knscope.say(str(event.get("message") or event.get("text") or event), "error")
            case "ended":
                self.worker_text = "model: ended"

    def _go_to_asked(self) -> None:
        """Select the question that was just answered."""
        if self._wanted_fact is not None and self.session.view is not None:
            fact, _ = self._wanted_fact
            self.session.select(Selection("fact", relation=ASKED, fact=fact, label=fact))
            self.follow()

    def on_unmount(self) -> None:
        if self._model_worker is not None:
            self._model_worker.close(timeout=1.0)
