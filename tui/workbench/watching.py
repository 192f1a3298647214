"""What goes on by itself: the store is opened and looked at again and again, and so are its runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.worker import Worker, WorkerState

from knscope.store.errors import UserError
from knscope.tui.panes.pane import FINISHED
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.panes.runs import RunsPane, headline
from knscope.tui.session import Stored, look
from knscope.tui.widgets import cells
from knscope.tui.widgets.header_line import HeaderLine
from knscope.tui.workbench.bench import Bench

if TYPE_CHECKING:
    from knscope.analysis.runs.status import Observer, RunStatus
    from knscope.store.reader import Reader

EVERY = 0.25
"""Seconds between two looks at the store."""
REST = 0.5
"""Seconds that the panes rest between two rounds of new results: what comes meanwhile comes in the next one together."""
BUSY_REST = 2.0
"""The same while keys come: taking results in and drawing them would keep the keys waiting."""
TYPING = 1.0
"""Seconds after a key for which the next one is expected."""
MACHINE_EVERY = 3.0
"""Seconds between two looks at memory and GPUs."""


@dataclass(frozen=True)
class Seen:
    """What one look found; None: nothing new."""

    stored: Stored | None
    of_view: bool
    """Whether what is new belongs to the model looked at."""
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


class Watching(Bench):
    """Opens the store and watches it."""

    _observer: Observer | None = None
    _looking: Worker[Any] | None = None
    _moved_at = 0.0
    """When the panes were last told of new results, or seen to be loading still."""
    _trouble = ""
    _runs_seen = False
    _machine_at = 0.0
    _machine_text = ""
    _generation = -1
    """Of the reader, when it was last looked at. The desk polls too, so what `poll` answers here is not enough."""
    _told: tuple[str, int] = ("", -1)
    """Of which model the panes show results, and of which generation."""

    def on_mount(self) -> None:
        self.watch_store()

    def watch_store(self) -> None:
        """Open the store and keep looking. Everything happens in threads, so that the first paint waits for nothing."""
        if self.session.path is None:
            self.query_one(QueriesPane).say("No store is open. knscope demo makes one.")
            return
        self.query_one(QueriesPane).say("opening …")
        self._look()
        self.set_interval(EVERY, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        if any(pane.loading_still for pane in self.seen_panes()):  # newer results would make what they load stale
            self._moved_at = now
        if self._looking is None:  # one that has ended is still under way until what it found is taken
            typing = now - self.knscope.last_key < TYPING
            work = partial(self._seen, now - self._moved_at >= (BUSY_REST if typing else REST))
            self._looking = self.run_worker(
                work, thread=True, group="look", exit_on_error=False, description="look at the store"
            )

    def _seen(self, rested: bool) -> Seen:
        from knscope.analysis.runs.status import Observer

        session = self.session
        path = session.path
        assert path is not None
        reader, fresh = session.reader, False
        if reader is None:
            from knscope import store

            reader, fresh = store.open(path), True
            self._observer = Observer(path)
        elif not (path / "store.json").is_file():
            return Seen(None, False, (), reader, gone=True)
        model = session.view.model if session.view else ""
        new = False
        if fresh or rested:
            reader.poll()
            new, self._generation = reader.generation != self._generation, reader.generation
        assert self._observer is not None
        stored, of_view = None, False
        if new or fresh:
            stored = look(reader, model)
            of_view = not model or self._told != (model, reader.changed.get(model, 0))
        return Seen(stored, of_view, tuple(self._observer.look()), reader, self._machine())

    def _machine(self) -> str:
        """Asked every few seconds, and only for who sees it."""
        if not self._runs_seen:
            return ""
        if time.monotonic() - self._machine_at > MACHINE_EVERY:
            from knscope.tui.terminal import gpu

            self._machine_at, self._machine_text = time.monotonic(), " · ".join((*gpu.gpus(), gpu.memory()))
        return self._machine_text

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "look":
            if event.state in FINISHED:
                self._looking = None
            if event.state == WorkerState.SUCCESS and isinstance(event.worker.result, Seen):
                self._take(event.worker.result)
            elif event.state == WorkerState.ERROR:
                self._in_trouble(event.worker.error)

    def _take(self, seen: Seen) -> None:
        session, header = self.session, self.query_one(HeaderLine)
        if seen.gone:
            header.run = "✗ the store is gone; what was read stays"
            return
        if session.reader is None:
            session.reader = seen.reader
        header.run = headline(seen.statuses)
        runs = self.query_one(RunsPane)
        self._runs_seen = runs in self.seen_panes()
        runs.feed(seen.statuses, " · ".join(filter(None, (self.worker_text, seen.machine))))
        if seen.stored is not None:
            self._moved_at = time.monotonic()
            self._tell_damage(seen.reader)
        if seen.stored is not None and not seen.of_view:
            session.stored = seen.stored
            self._tell()
        elif seen.stored is not None:
            session.take(seen.stored)
            if session.view is not None and seen.reader is not None:
                model = session.view.model
                self._told = model, seen.reader.changed.get(model, 0)
            self.follow()
            self.on_new_results()
        if session.view is None:
            going = any(one.status in ("running", "queued") for one in seen.statuses)
            self.query_one(QueriesPane).say(nothing(seen.reader, going=going))

    def _tell_damage(self, reader: Reader | None) -> None:
        damaged = len(reader.damaged) if reader else 0
        said = [f"{damaged} damaged shards were set aside; knscope store verify names them."] if damaged else []
        text = "\n".join([*said, *([reader.passed_over] if reader and reader.passed_over else [])])
        if text and text != self._trouble:
            self.knscope.say(text, "warning")
        self._trouble = text

    def _in_trouble(self, error: BaseException | None) -> None:
        text = (
            str(error)
            if isinstance(error, UserError)
            else f"The store could not be read: {type(error).__name__}: {error}"
        )
        self.query_one(QueriesPane).say(text)
        self.query_one(HeaderLine).run = "✗ not readable"
