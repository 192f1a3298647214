"""Scores below the sparse floor: they are read from the dense files before the panes follow a τ below the floor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from knscope.store.view import FLOOR, View
from knscope.tui.panes.thresholds import ThresholdsPane

if TYPE_CHECKING:
    from knscope.store.reader import Reader
    from knscope.tui.workbench.bench import Bench


class BelowFloor:
    """Reads in a thread and shows the progress. The panes keep what they show until the scores are there."""

    def __init__(self, bench: Bench, then: Callable[[], None]) -> None:
        """:param then: makes the panes follow; called when the scores have been read"""
        self._bench, self._then = bench, then
        self._reading: tuple[threading.Event, View] | None = None
        """What stops the reading under way, and the View that it is for."""

    def holds_back(self) -> bool:
        """Whether the panes must wait for scores below the floor. Starts reading them, or stops where they are not needed."""
        shown, reader = self._bench.session.shown(), self._bench.session.reader
        if shown is None or reader is None or min(shown.view.tau.values()) >= FLOOR:
            self._stop()
            return False
        if self._reading is None or self._reading[1] != shown.view:
            self._stop()
            stop = threading.Event()
            self._reading = stop, shown.view
            work = partial(self._read, reader, shown.view, stop)
            self._bench.in_thread(work, lambda _: self._ended(stop), partial(self._ended, stop), group="below")
        return True

    def _read(self, reader: Reader, view: View, stop: threading.Event) -> None:
        """Runs in a thread."""

        def tell(done: int, total: int) -> None:
            if not stop.is_set():
                self._bench.app.call_from_thread(self._show_progress, done, total)

        reader.extend(view, tell, stop.is_set)

    def _show_progress(self, done: int, total: int) -> None:
        self._bench.query_one(ThresholdsPane).entitle(
            below=f"reading scores below {FLOOR:g}: {done:,} of {total:,} queries · esc stops"
        )

    def _ended(self, stop: threading.Event, error: BaseException | None = None) -> None:
        if self._reading is None or self._reading[0] is not stop:
            return
        self._reading = None
        if error is not None:
            self._bench.say(str(error))
        self._then()

    def _stop(self) -> None:
        if self._reading is not None:
            self._reading[0].set()
            self._reading = None

    def stop(self) -> bool:
        """What escape does: stop reading and raise every τ to the floor. False when nothing is being read."""
        session = self._bench.session
        view = session.view
        if self._reading is None or view is None:
            return False
        self._stop()
        for lang, tau in view.taus:
            view = view.with_tau(lang, max(tau, FLOOR))
        session.set_view(view)
        self._bench.follow()
        return True
