"""τ below the floor: the scores that are not kept as rows are read first, with progress, and nothing waits for it but the panes."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from textual.worker import Worker, WorkerState

from knscope.store.view import FLOOR, View
from knscope.tui.panes.thresholds import ThresholdsPane
from knscope.tui.workbench.bench import Bench

if TYPE_CHECKING:
    from knscope.store.reader import Reader


class Below(Bench):
    """Panes keep what they show until the scores are there; esc stops reading and goes back to the floor."""

    _reading: tuple[Worker[bool], threading.Event, View] | None = None

    def follow(self) -> None:
        """Panes follow at once, or when the scores below the floor have been read."""
        shown, reader = self.session.shown(), self.session.reader
        if shown is None or reader is None or min(shown.view.tau.values()) >= FLOOR:
            self._stop_reading()
            super().follow()
            return
        if self._reading is not None and self._reading[2] == shown.view:
            return
        self._stop_reading()
        stop = threading.Event()
        work = partial(self._read, reader, shown.view, stop)
        worker = self.run_worker(
            work, thread=True, group="below", exit_on_error=False, description="scores below the floor"
        )
        self._reading = worker, stop, shown.view

    def _read(self, reader: Reader, view: View, stop: threading.Event) -> bool:
        """In a thread; False when it was stopped."""

        def tell(done: int, total: int) -> None:
            if not stop.is_set():
                self.app.call_from_thread(self._tell_progress, done, total)

        return reader.extend(view, tell, stop.is_set)

    def _tell_progress(self, done: int, total: int) -> None:
        self.query_one(ThresholdsPane).entitle(
            below=f"reading scores below {FLOOR:g}: {done:,} of {total:,} queries · esc stops"
        )

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading[1].set()
            self._reading = None

    def stop_below(self) -> bool:
        """What escape does while scores are read: stop, every τ at least at the floor; False when nothing is read."""
        view = self.session.view
        if self._reading is None or view is None:
            return False
        self._stop_reading()
        for lang, tau in view.taus:
            view = view.with_tau(lang, max(tau, FLOOR))
        self.session.set_view(view)
        self.follow()
        return True

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if self._reading is None or event.worker is not self._reading[0]:
            return
        if event.state in (WorkerState.SUCCESS, WorkerState.ERROR):
            self._reading = None
            if event.state == WorkerState.ERROR:
                self.knscope.say(str(event.worker.error))
            super().follow()
