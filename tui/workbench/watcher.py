"""The watcher opens the store, then polls it and its runs a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from knscope.store.errors import UserError
from knscope.store.runs import ACTIVE
from knscope.tui.panes.pane import Pane
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.panes.runs import RunsPane, headline
from knscope.tui.session import Stored, look
from knscope.tui.widgets import cells
from knscope.tui.widgets.header_line import HeaderLine

if TYPE_CHECKING:
    from knscope.analysis.runs.status import Observer, RunStatus
    from knscope.store.reader import Reader
    from knscope.tui.workbench.bench import Bench

EVERY = 0.25
"""Seconds between two looks at the store."""
REST = 0.5
"""Seconds between two rounds of new results: all that come meanwhile are shown together in the next round."""
BUSY_REST = 2.0
"""The same while keys come: taking results in and drawing them would make the keys wait."""
OTHER_REST = 3.0
"""The same where the last round was of models that are not looked at: nothing of it is drawn but the run's progress."""
TYPING = 1.0
"""Seconds after a key for which the next one is expected."""
LEFT = 30.0
"""Seconds without a key or the mouse after which nobody is taken to be there."""
LEFT_EVERY = 1.0
"""Seconds between two looks at the store while nobody is there."""
LEFT_OTHER_REST = 120.0
"""OTHER_REST while nobody is there: most of what such a round costs does not depend on how much has come."""
MACHINE_EVERY = 3.0
"""Seconds between two looks at memory and GPUs."""


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    stored: Stored | None
    """None: what there is to choose from is as before, and nothing of the View is new."""
    new: bool
    """Whether results of any model came."""
    of_view: bool
    """Whether the new results belong to the model of the View."""
    statuses: Sequence[RunStatus]
    reader: Reader | None
    machine: str = ""
    """Memory and GPUs, while the runs pane is seen."""
    gone: bool = False


def nothing(reader: Reader | None, *, going: bool) -> str:
    """Why there is nothing to show, and what to do."""
    if reader is not None and reader.damaged:
        why = next(iter(reader.damaged.values()))
        aside = cells.several(len(reader.damaged), "shard")
        then = "The run that goes on computes it anew." if going else "R starts a run, which computes it anew."
        return (
            f"Nothing of this store can be shown: {aside} set aside, because\n{why}\n\n"
            f"knscope store verify {reader.path}\nnames what cannot be read. {then}"
        )
    if going:
        return "Nothing is stored yet; results appear here as the run writes them."
    return "This store is empty. R starts a run; knscope demo has an example."


class Watcher:
    """Looks in a thread, one look at a time, and gives what it finds to the session, the header and the runs pane."""

    def __init__(self, bench: Bench, on_new_results: Callable[[], None]) -> None:
        """:param on_new_results: called after the panes were told that their model has new results"""
        self._bench, self._on_new_results = bench, on_new_results
        self.looking = False
        """Whether a look is under way; it is until what it found is taken in."""
        self._started = self._looked_at = time.monotonic()
        self._observer: Observer | None = None
        self._moved_at = 0.0
        """When the panes last got new results, or were last seen loading."""
        self._of_others = False
        """Whether what came last was of models that are not looked at."""
        self._models: frozenset[str] = frozenset()
        self._trouble = ""
        self._runs_seen = False
        self._machine_at = 0.0
        self._machine_text = ""
        self._generation = -1
        """The reader's at the last look. The desk polls too, so what `poll` returns here is not enough."""
        self._told: tuple[str, int] = ("", -1)
        """The model whose results the panes show, and the generation of these."""

    def start(self) -> None:
        """Open the store and keep looking. Everything runs in threads, so the first paint waits for nothing."""
        queries = self._bench.query_one(QueriesPane)
        if self._bench.session.path is None:
            queries.say("No store is open. knscope demo makes one.")
            return
        queries.say("opening …")
        self.look()
        self._bench.set_interval(EVERY, self.look)

    def look(self) -> None:
        """Start a look, unless one is under way."""
        now = time.monotonic()
        if any(pane.loading_still for pane in self._bench.seen_panes()):  # newer results would make these loads stale
            self._moved_at = now
        touched = self._bench.host.last_key
        left = now - max(touched, self._started) > LEFT and not self._bench.waits
        if not self.looking and (not left or now - self._looked_at >= LEFT_EVERY):
            rest = BUSY_REST if now - touched < TYPING else REST
            if self._of_others and not self._bench.waits:
                rest = LEFT_OTHER_REST if left else OTHER_REST
            rested = now - self._moved_at >= rest
            self.looking, self._looked_at = True, now
            self._bench.in_thread(partial(self._seen, rested), self._take, self._fail, group="look")

    def _seen(self, rested: bool) -> Seen:
        """Look. Runs in a thread."""
        from knscope.analysis.runs.status import Observer

        session = self._bench.session
        path = session.path
        assert path is not None
        reader, fresh = session.reader, False
        if reader is None:
            from knscope import store

            reader, fresh = store.open(path), True
            self._observer = Observer(path)
        elif not (path / "store.json").is_file():
            return Seen(None, False, False, (), reader, gone=True)
        model = session.view.model if session.view else ""
        new = False
        if fresh or rested:
            reader.poll()
            new, self._generation = reader.generation != self._generation, reader.generation
        assert self._observer is not None
        stored, of_view = None, False
        if new or fresh:
            of_view = not model or self._told != (model, reader.changed.get(model, 0))
            models = frozenset(reader.models())
            if of_view or models != self._models:
                stored, self._models = look(reader, model), models
        return Seen(stored, new or fresh, of_view, tuple(self._observer.look()), reader, self._machine())

    def _machine(self) -> str:
        """Memory and GPUs: read every few seconds, and only while the runs pane is seen."""
        if not self._runs_seen:
            return ""
        if time.monotonic() - self._machine_at > MACHINE_EVERY:
            from knscope.tui.terminal import gpu

            self._machine_at, self._machine_text = time.monotonic(), " · ".join((*gpu.gpus(), gpu.memory()))
        return self._machine_text

    def _take(self, seen: Seen) -> None:
        self.looking = False
        bench = self._bench
        session, header, runs = bench.session, bench.query_one(HeaderLine), bench.query_one(RunsPane)
        if seen.gone:
            header.run = "✗ the store is gone; what was read stays"
            return
        if session.reader is None:
            session.reader = seen.reader
        header.run = headline(seen.statuses, runs.stopping)
        self._runs_seen = runs in bench.seen_panes()
        runs.feed(seen.statuses, " · ".join(filter(None, (bench.worker_text, seen.machine))))
        if seen.new:
            self._moved_at, self._of_others = time.monotonic(), not seen.of_view
            self._report_damage(seen.reader)
        if seen.stored is not None:
            self._take_results(seen.stored, seen)
        going = any(one.status in ACTIVE for one in seen.statuses)
        if going != session.partial:
            session.partial = going
            for pane in bench.query(Pane):
                pane.entitle_again()
        if session.view is None:
            bench.query_one(QueriesPane).say(nothing(seen.reader, going=going))

    def _take_results(self, stored: Stored, seen: Seen) -> None:
        session = self._bench.session
        if not seen.of_view:
            session.stored = stored
            self._bench.show_header()
            return
        before = session.view
        session.take(stored)
        if before is None and not any(one.status in ACTIVE for one in seen.statuses):
            self._bench.open_what_shows()
        if session.view is not None and seen.reader is not None:
            model = session.view.model
            self._told = model, seen.reader.changed.get(model, 0)
        self._bench.follow()
        self._on_new_results()

    def _report_damage(self, reader: Reader | None) -> None:
        damaged = len(reader.damaged) if reader else 0
        said = [f"{damaged} damaged shards were set aside; knscope store verify names them."] if damaged else []
        text = "\n".join([*said, *([reader.passed_over] if reader and reader.passed_over else [])])
        if text and text != self._trouble:
            self._bench.say(text)
        self._trouble = text

    def _fail(self, error: BaseException) -> None:
        self.looking = False
        text = (
            str(error)
            if isinstance(error, UserError)
            else f"The store could not be read: {type(error).__name__}: {error}"
        )
        self._bench.query_one(QueriesPane).say(text)
        self._bench.query_one(HeaderLine).run = "✗ not readable"
