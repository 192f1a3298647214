"""The actions that ask a model: what the view lacks, and a new question. Both go to the desk: one warm model worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from textual.worker import Worker, WorkerState

from knscope.store.errors import UserError
from knscope.store.view import View
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.messages import DeskMoved
from knscope.tui.panes.runs import RunsPane
from knscope.tui.printing.format import duration
from knscope.tui.selection import Selection, Shown
from knscope.tui.widgets import cells
from knscope.tui.workbench.bench import Bench

if TYPE_CHECKING:
    from knscope.analysis.prompts.encode import Query
    from knscope.analysis.runs.desk import Desk, DeskState
    from knscope.analysis.runs.missing import Missing
    from knscope.store.reader import Reader

WORDS = {"attributions": "attributions", "scans": "pair scans", "edits": "readings of edits", "claims": "claims"}
ALSO = {"edits": ("edit",), "checks": ("factcheck",)}
"""What a pane shows beyond attributions and pair scans."""


@dataclass(frozen=True)
class Lacking:
    """What a view needs that is not stored, and how fast passes have been in this store."""

    shown: Shown
    what: tuple[str, ...]
    missing: Missing
    pace: float | None
    """Passes a second; None where nothing was timed."""

    def text(self) -> str:
        found, view = self.missing, self.shown.view
        lines = [f"{self.shown.subject} · {view.method} · {'+'.join(view.langs)}", ""]
        lines += [f"{number:>8,} {WORDS[name]}" for name, number in found.counts.items()]
        about = "not timed here yet"
        if self.pace:
            about = f"about {duration(max(1.0, found.passes / self.pace))} at {self.pace:,.0f} passes a second"
        facts = f"{cells.several(len(found.facts), 'fact')}, " if found.facts else ""
        lines += ["", f"{facts}{found.passes:,} passes, {about}, beside loading the model where it is not warm."]
        if set(self.what) & {"edit", "factcheck"} and not {"edits", "claims"} & set(found.counts):
            lines.append("Then what this pane itself needs, which depends on these.")
        return "\n".join(lines)


def lacking(reader: Reader, shown: Shown, what: tuple[str, ...], seconds: float, pace: float | None) -> Lacking:
    """Count it for the selection. `seconds` is what the runs of the store took altogether. Runs in a thread."""
    from knscope.analysis.runs import missing

    found = missing.missing(reader, shown.narrowed, what)
    if pace is None and found.passes and seconds > 1.0:
        pace = missing.passes_stored(reader) / seconds or None
    return Lacking(shown, what, found, pace)


class Computing(Bench):
    """The desk is the workbench's own and ends with it; what it computed stays."""

    _desk: Desk | None = None
    _form: Mapping[str, str] | None = None
    """The question typed last."""
    _wanted: Query | None = None
    """The question that is on its way."""
    _pace: float | None = None
    _counted_for = 0.0
    """When the key came that asked for what is missing."""

    def desk(self) -> Desk:
        """The desk of this store; the first call makes it."""
        from knscope.analysis.runs.desk import Desk

        if self._desk is None:
            assert self.session.path is not None
            self._desk = Desk(self.session.path, lambda state: self._heard(state))
        return self._desk

    def _heard(self, state: DeskState) -> None:
        """Called on the desk's thread."""
        if self.is_attached:
            self.post_message(DeskMoved(state))

    # --- r

    def action_compute(self) -> None:
        reader, shown = self.session.reader, self.session.shown()
        if reader is None or shown is None:
            self.knscope.say("Nothing is stored yet that something could be missing from; R starts a run.")
            return
        if self._desk is not None and self._desk.busy:
            self.knscope.say("The model worker is busy; ^x stops it.")
            return
        what = ("attribution", "dkn", *ALSO.get(self.open_tab, ()))
        records = [one.record for one in self.query_one(RunsPane).statuses]
        seconds = sum(one.heartbeat - one.started for one in records if one.computed)
        pace, self._counted_for = self._pace, self.knscope.last_key
        work: Callable[[], Lacking] = lambda: lacking(reader, shown, what, seconds, pace)  # noqa: E731
        self.run_worker(work, thread=True, group="lacking", exclusive=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "lacking":
            if event.state == WorkerState.SUCCESS:
                self._offer(cast("Lacking", event.worker.result))
            elif event.state == WorkerState.ERROR:
                self.knscope.say(f"What is missing could not be counted: {event.worker.error}")

    def _offer(self, found: Lacking) -> None:
        if not found.missing.results:
            view = found.shown.view
            self.knscope.say(
                f"Nothing is missing for {found.shown.subject}: {view.method} on {'+'.join(view.langs)}.",
                "information",
            )
            return

        if self.app.screen is not self or self.knscope.last_key != self._counted_for:
            # Somebody types on: what is typed is not for a dialog that comes now.
            self.knscope.say(f"{found.missing.results:,} results are missing; r shows them.", "information")
            return

        def answer(word: str | None) -> None:
            if word == "here":
                self._compute(found)
            elif word == "job":
                self.start_missing(found)

        answers = (("enter", "here", "computes it here"), ("j", "job", "as a run that goes on without the workbench"))
        self.app.push_screen(TextScreen("missing for this view", found.text(), answers), answer)

    def start_missing(self, found: Lacking) -> None:
        """As a run of its own; `running` does that."""
        raise NotImplementedError

    def _compute(self, found: Lacking) -> None:
        from knscope.analysis.runs import missing
        from knscope.analysis.runs.desk import Task

        reader, view, what = self.session.reader, found.shown.narrowed, found.what
        if reader is None:
            return

        def units() -> Any:
            reader.poll()
            return missing.missing(reader, view, what).units

        dtype = str(missing.model_row(reader, view.model)["dtype"])
        self._ask_desk(Task(f"missing of {found.shown.subject}", units, found.missing.results, dtype=dtype))

    def _ask_desk(self, task: Any) -> bool:
        try:
            self.desk().ask(task)
        except (OSError, UserError) as error:
            self.knscope.say(f"The model worker could not start: {error}", "error")
            return False
        return True

    # --- n

    def action_ask(self) -> None:
        """The form; the model is loaded while a person types."""
        view, path, reader = self.session.view, self.session.path, self.session.reader
        if view is None or path is None or reader is None:
            self.knscope.say("A question needs a model: R starts a run with one.")
            return
        kept = self._form or {}
        fields = (
            Field("template", "prompt", kept.get("template", ""), "as in: The capital of [X] is [Y]"),
            Field("subject", "subject [X]", kept.get("subject", ""), "as in: Tanzania"),
            Field("object", "answer [Y]", kept.get("object", ""), "as in: Dodoma"),
            Field("lang", "language", kept.get("lang", view.langs[0]), "as the store writes it"),
            Field("fact", "fact", "", "empty: a new one; a stored fact's name adds to it", required=False),
        )
        if self._desk is None or not self._desk.busy:
            self._warm(reader, view)
        title = f"ask {view.model.partition('@')[0]}, attribute with {view.method}"
        self.app.push_screen(FormScreen(title, fields), self._ask)

    def _warm(self, reader: Reader, view: View) -> None:
        from knscope.analysis.runs.desk import Task
        from knscope.analysis.runs.missing import model_row, source_of
        from knscope.analysis.runs.plan import Unit, model_hash

        row = model_row(reader, view.model)
        stages = iter([(Unit("load", source_of(reader, row), model=model_hash(row)),)])
        self._ask_desk(Task("load the model", lambda: next(stages, ()), 0, dtype=str(row["dtype"])))

    def _ask(self, values: dict[str, str] | None) -> None:
        view, reader = self.session.view, self.session.reader
        if values is None or view is None or reader is None:
            return
        from knscope.analysis.prompts.questions import ASKED, question
        from knscope.analysis.runs.desk import Task
        from knscope.analysis.runs.missing import model_row, source_of
        from knscope.analysis.runs.plan import Unit, model_hash

        self._form = values
        known = reader.sql("SELECT DISTINCT relation FROM query WHERE fact = ?", [values["fact"]])["relation"]
        try:
            query = question(values, str(known[0]) if known.len() else ASKED)
        except UserError as error:
            self.knscope.say(str(error))
            self.action_ask()
            return
        row = model_row(reader, view.model)
        source, model = source_of(reader, row), model_hash(row)
        stages = iter(
            [
                (Unit("predict", source, queries=(query,), model=model),),
                (Unit("attribute", source, view.method, queries=(query,), model=model),),
            ]
        )
        self._wanted, self._asked_at = query, time.monotonic()
        title = f"question: {query.subject} → {query.object}"
        if self._ask_desk(Task(title, lambda: next(stages, ()), 2, query.id, str(row["dtype"]))):
            self.knscope.say("asked; the workbench goes to the answer when it is there", "information")

    _asked_at = 0.0

    def on_new_results(self) -> None:
        """Go to the question that has just been answered, and say how it went."""
        query, view, reader = self._wanted, self.session.view, self.session.reader
        if query is None or view is None or reader is None:
            return
        found = reader.sql(
            "SELECT p.p, p.rank, p.known FROM prediction p JOIN attribution a USING (model, query) "
            "WHERE p.model = ? AND p.query = ? AND a.method = ?",
            [view.model, query.id, view.method],
        )
        if found.is_empty():
            return
        self._wanted = None
        p, rank, known = found.row(0)
        changes: dict[str, Any] = {"relations": ()} if view.relations else {}
        if query.lang not in view.langs:
            changes["langs"] = (*view.langs, query.lang)
        if view.known and not known:
            changes["known"] = False
        if changes:
            self.session.change(**changes)
        label = f"{query.subject} → {query.object}"
        self.session.select(Selection("fact", query.relation, query.fact, query.id, label))
        self.go_to_query(query.id)
        seconds = time.monotonic() - self._asked_at
        self.knscope.say(f"{label}: p {cells.prob(p)}, rank {rank:,} · answered in {seconds:.1f} s", "information")

    def go_to_query(self, query: str) -> None:
        """Bring the cursor of the query table to a row as soon as it is there."""
        raise NotImplementedError

    # --- the desk

    def on_desk_moved(self, message: DeskMoved) -> None:
        """What the desk says: progress, and how a task ended."""
        state = cast("DeskState", message.state)
        if state.task is not None:
            loading = not state.done and not self.worker_text.startswith("model worker: warm")
            what = "loading the model" if loading else f"{state.done:,} of {state.task.total:,}"
            self.worker_text = f"model worker: {what}"
            return
        self.worker_text = "model worker: warm" if state.warm else ""
        if state.outcome == "done" and state.done > 2 and state.seconds > 1.0:
            self.knscope.say(f"computed: {state.done:,} results in {duration(state.seconds)}", "information")
        elif state.outcome == "cancelled":
            self.knscope.say(f"stopped; {state.done:,} results are stored", "information")
            self._wanted = None
        elif state.failures:
            self.knscope.say(state.failures[0], "error")
            self._wanted = None
        if self._wanted is not None and state.outcome == "done":
            self.set_timer(1.0, self._unanswered)

    def _unanswered(self) -> None:
        """The model cannot use the question: say why."""
        query, reader = self._wanted, self.session.reader
        if query is None or reader is None:
            return
        why = reader.sql("SELECT detail FROM unusable WHERE query = ?", [query.id])["detail"]
        if why.len():
            self._wanted = None
            self.knscope.say(str(why[0]).partition(": ")[2] or str(why[0]))

    def stop_desk(self) -> bool:
        """Cancel what the desk does; False when it does nothing."""
        if self._desk is None or not self._desk.busy:
            return False
        self._desk.cancel()
        return True

    def on_unmount(self) -> None:
        if self._desk is not None:
            self._desk.close(patience=1.0)
