"""What asks a model: the results a View lacks (r) and new questions (n). One warm model worker, the desk's, computes both."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from knscope.store.errors import UserError
from knscope.store.text import duration
from knscope.store.view import View
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.messages import DeskMoved
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.selection import Selection
from knscope.tui.widgets import cells
from knscope.tui.workbench.missing import ALSO, Lacking, lacking
from knscope.tui.workbench.runs import Runs

if TYPE_CHECKING:
    from knscope.analysis.prompts.encode import Query
    from knscope.analysis.runs.desk import Desk, DeskState, Task
    from knscope.analysis.runs.units import Unit
    from knscope.store.reader import Reader
    from knscope.tui.workbench.bench import Bench


_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*")
_PREFIXES = """
    SELECT DISTINCT coalesce(q.prompt_note, '') AS prefix FROM prediction p JOIN query q USING (query) WHERE p.model = $model LIMIT 2
"""


class ModelDesk:
    """Asks the desk of this store. The desk ends with the workbench; what it computed stays in the store."""

    def __init__(self, bench: Bench, runs: Runs) -> None:
        self._bench, self._runs = bench, runs
        self._desk: Desk | None = None
        self._form: Mapping[str, str] = {}
        """The question typed last."""
        self._wanted: Query | None = None
        """The question that waits for its answer."""
        self._asked_at = 0.0
        self._counted_for = 0.0
        """When the key came that asked for what is missing."""
        self._began: tuple[float, int] | None = None
        """Seconds and results of the task when its model was loaded."""
        self._computes: Lacking | None = None
        """What is computed here, which a run could compute instead."""
        self._dropped = False
        """The task under way gives place to another one, of which nobody is told."""

    @property
    def run(self) -> str:
        """The run that the desk writes into; empty before there is one."""
        return self._desk.run if self._desk is not None else ""

    @property
    def busy(self) -> bool:
        return self._desk is not None and self._desk.busy

    def stop(self) -> bool:
        """Cancel what the desk computes; False when it computes nothing."""
        if self._desk is None or not self._desk.busy:
            return False
        self._desk.cancel()
        self._wanted = None
        self._bench.waits.stopping("desk")
        return True

    def drop(self) -> None:
        """Let what the desk computes give place to the task that is given next."""
        if self._desk is not None and self._desk.busy:
            self._dropped = True
            self._desk.cancel()

    def close(self) -> None:
        """End the model worker."""
        if self._desk is not None:
            self._desk.close(patience=1.0)

    def give(self, task: Task) -> bool:
        """Give the desk a task; the first one makes the desk. False when the worker could not start."""
        from knscope.analysis.runs.desk import Desk

        if self._desk is None:
            assert self._bench.session.path is not None
            self._desk = Desk(self._bench.session.path, self._post)
        try:
            self._desk.ask(task)
        except (OSError, UserError) as error:
            self._bench.waits.end("desk")
            self._bench.say(f"The model worker could not start: {error}", "error")
            return False
        if self._began is None:
            what = task.title if self._bench.worker_text else "starting the model worker"
            self._bench.waits.begin("desk", what, self.stop, stopping=False)
        return True

    def _post(self, state: DeskState) -> None:
        """Runs in the desk's thread."""
        if self._bench.is_attached:
            self._bench.post_message(DeskMoved(state))

    # --- r: what the View lacks

    def compute(self) -> None:
        """Count what the View lacks, then offer to compute it."""
        bench = self._bench
        reader, shown = bench.session.reader, bench.session.shown()
        if reader is None or shown is None:
            bench.say("Nothing is stored yet that something could be missing from; R starts a run.")
        elif self.busy:
            bench.say("The model worker is busy; ^x stops it.")
        else:
            what = ("attribution", "dkn", *ALSO.get(bench.open_tab, ()))
            records = [one.record for one in self._runs.statuses]
            self._counted_for = bench.host.last_key
            bench.in_thread(
                partial(lacking, reader, shown, what, records),
                self._offer,
                lambda error: bench.say(f"What is missing could not be counted: {error}"),
                group="lacking",
                exclusive=True,
                what=f"counting what {shown.subject} lacks",
            )

    def _offer(self, found: Lacking) -> None:
        bench = self._bench
        if not found.missing.results:
            view = found.shown.view
            bench.say(
                f"Nothing is missing for {found.shown.subject}: {view.method} on {'+'.join(view.langs)}.", "information"
            )
            return
        if bench.app.screen is not bench or bench.host.last_key != self._counted_for:
            # The person types on, and a dialog that opens now would take keys that are not meant for it.
            bench.say(f"{found.missing.results:,} results are missing; r shows them.", "information")
            return

        def answer(word: str | None) -> None:
            if word == "here":
                self._compute(found)
            elif word == "job":
                self._runs.start_missing(found)

        answers = (("enter", "here", "computes it here"), ("j", "job", "starts a run of its own"))
        bench.app.push_screen(TextScreen("missing for this view", found.text(), answers), answer)

    def _compute(self, found: Lacking) -> None:
        from knscope.analysis.runs import missing
        from knscope.analysis.runs.desk import Task

        reader, view, what = self._bench.session.reader, found.shown.narrowed, found.what
        if reader is None:
            return

        def units() -> tuple[Unit, ...]:
            reader.poll()
            return missing.missing(reader, view, what).units

        dtype = str(missing.model_row(reader, view.model)["dtype"])
        if self.give(Task(f"missing of {found.shown.subject}", units, found.missing.results, dtype=dtype)):
            self._computes = found

    def ask_to_leave(self) -> bool:
        """Ask once what becomes of what is computed here; False where nothing is."""
        if not self.busy:
            return False
        found = self._computes
        said = "The model worker computes here. It ends with the workbench; what it has computed stays."
        answers = [("q", "leave", "leaves")]
        if found is not None:
            said += f"\n\nA run computes the rest of {found.shown.subject} without the workbench."
            answers.append(("j", "job", "hands it over to a run and leaves"))

        def answer(word: str | None) -> None:
            if word == "job" and found is not None:
                self.stop()
                self._runs.start_missing(found)
            if word:
                self._bench.host.leave()

        self._bench.app.push_screen(TextScreen("still computing", said, answers), answer)
        return True

    # --- n: a new question

    def ask(self) -> None:
        """Open the form of a question, and load the model while a person types."""
        session, say = self._bench.session, self._bench.say
        view, reader = session.view, session.reader
        if view is None or session.path is None or reader is None:
            say("A question needs a model: R starts a run with one.")
            return
        kept = self._form
        fields = (
            Field("template", "prompt", kept.get("template", ""), "as in: The capital of [X] is [Y]"),
            Field("subject", "subject [X]", kept.get("subject", ""), "as in: Tanzania"),
            Field("object", "answer [Y]", kept.get("object", ""), "as in: Dodoma"),
            Field("lang", "language", kept.get("lang", view.langs[0]), "as the store writes it"),
            Field(
                "prefix",
                "before it",
                self._prefix(reader, view),
                r"empty, or an instruction, examples (\n: new line)",
                required=False,
            ),
            Field("fact", "fact", "", "empty: a new one; a stored fact's name adds to it", required=False),
        )
        title = f"ask {view.model.partition('@')[0]}, attribute with {view.method}"
        stored = reader.langs(view.model)

        def check(values: Mapping[str, str]) -> tuple[str, str] | None:
            lang = values["lang"]
            if lang in stored or _CODE.fullmatch(lang):
                return None
            return "lang", f"{lang} is no language of this store, and no code such as {stored[0]} or zh-hans"

        self._bench.app.push_screen(FormScreen(title, fields, check=check), self._typed)
        if not self.busy:  # once the form is there: the first time its modules are loaded too
            self._bench.waits.begin("desk", "starting the model worker", self.stop, stopping=False)
            self._bench.app.call_after_refresh(self._load_model, reader, view)

    def _prefix(self, reader: Reader, view: View) -> str:
        """What was typed last; else what stands before all stored prompts of the model, if it is the same before all."""
        if "prefix" in self._form:
            return self._form["prefix"]
        found = reader.sql(_PREFIXES, {"model": view.model})["prefix"].to_list()
        return found[0].replace("\n", "\\n") if len(found) == 1 else ""

    def _load_model(self, reader: Reader, view: View) -> None:
        from knscope.analysis.runs.desk import Task
        from knscope.analysis.runs.keys import model_hash
        from knscope.analysis.runs.missing import model_row, source_of
        from knscope.analysis.runs.units import Unit

        row = model_row(reader, view.model)
        stages = iter([(Unit("load", source_of(reader, row), model=model_hash(row)),)])
        self.give(Task("load the model", lambda: next(stages, ()), 0, dtype=str(row["dtype"])))

    def _typed(self, values: dict[str, str] | None) -> None:
        """Ask the question of a filled form."""
        view, reader = self._bench.session.view, self._bench.session.reader
        if values is None or view is None or reader is None:
            return
        from knscope.analysis.prompts.open_prompt import ASKED, question
        from knscope.analysis.runs.desk import Task
        from knscope.analysis.runs.keys import model_hash
        from knscope.analysis.runs.missing import model_row, source_of
        from knscope.analysis.runs.units import Unit

        self._form = values
        known = reader.sql("SELECT DISTINCT relation FROM query WHERE fact = ?", [values["fact"]])["relation"]
        try:
            query = question(values, str(known[0]) if known.len() else ASKED)
        except UserError as error:
            self._bench.say(str(error))
            self.ask()
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
        if self.give(Task(title, lambda: next(stages, ()), 2, query.id, str(row["dtype"]))):
            self._bench.say("asked; the workbench goes to the answer when it is there", "information")

    def find_answer(self) -> None:
        """Go to the question once its answer is stored, and say how it went. Called after new results."""
        session = self._bench.session
        query, view, reader = self._wanted, session.view, session.reader
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
            session.change(**changes)
        label = f"{query.subject} → {query.object}"
        session.select(Selection("fact", query.relation, query.fact, query.id, label))
        self._bench.query_one(QueriesPane).go_to(query.id)
        self._bench.follow()
        seconds = time.monotonic() - self._asked_at
        self._bench.say(f"{label}: p {cells.prob(p)}, rank {rank:,} · answered in {seconds:.1f} s", "information")

    # --- what the desk says

    def moved(self, message: DeskMoved) -> None:
        """Show the desk's progress, and say how a task ended."""
        bench, state = self._bench, cast("DeskState", message.state)
        if state.task is not None:
            self._tell(state, state.task)
            return
        dropped, self._dropped = self._dropped, False
        question = self._wanted is not None and state.key == self._wanted.id
        stored = f"; {state.done:,} {'result is' if state.done == 1 else 'results are'} stored" if self._began else ""
        self._began, self._computes = None, None
        bench.waits.end("desk")
        bench.worker_text = "model worker: warm" if state.warm else ""
        if state.outcome == "done" and state.done > 2 and state.seconds > 1.0:
            bench.say(f"computed: {state.done:,} results in {duration(state.seconds)}", "information")
        elif state.outcome == "cancelled" and dropped:
            return
        elif state.outcome == "cancelled":
            bench.say(f"stopped{stored}", "information")
        elif state.failures:
            bench.say(state.failures[0], "error")
        if question and (state.outcome == "cancelled" or state.failures):
            self._wanted = None
        elif question and state.outcome == "done":
            self.find_answer()  # one that was stored before brings no new results
            bench.set_timer(1.0, self._say_why_unanswered)

    def _tell(self, state: DeskState, task: Task) -> None:
        """What the worker is at, and how long it will take, into the header and the runs pane."""
        bench = self._bench
        if state.doing != "computing" or not task.total:
            self._began = None
            view = bench.session.view
            model = view.model.partition("@")[0] if view else "the model"
            loads = {"starting": "starting the model worker", "loading": f"loading {model}"}
            what = loads.get(state.doing, task.title)
        else:
            began = self._began = self._began or (state.seconds, state.done)
            passed, done = state.seconds - began[0], state.done - began[1]
            told = done > 1 and passed > 1.0  # the two results of a question are of two kinds
            left = duration((task.total - state.done) * passed / done) if told else "unknown"
            what = f"{task.title}: {state.done:,} of {task.total:,} · time left {left}"
        bench.worker_text = f"model worker: {what}"
        since = self._wanted is not None and self._wanted.id != task.key  # a question waits for the same model
        bench.waits.begin("desk", what, self.stop, stopping=state.stopping and not since)

    def _say_why_unanswered(self) -> None:
        """Say why the model cannot use the question."""
        query, reader = self._wanted, self._bench.session.reader
        if query is None or reader is None:
            return
        why = reader.sql("SELECT detail FROM unusable WHERE query = ?", [query.id])["detail"]
        if why.len():
            self._wanted = None
            self._bench.say(str(why[0]).partition(": ")[2] or str(why[0]))
