"""What a person waits for: one line in the header says what, since when, and how to stop it; stopping is said too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from textual.screen import Screen
from textual.timer import Timer

from knscope.store.text import duration
from knscope.tui.widgets.header_line import HeaderLine

EVERY = 1.0
"""Seconds between two drawings of the line; nothing is drawn while nobody waits."""


@dataclass(frozen=True)
class Wait:
    """One thing that is waited for."""

    what: str
    since: float
    stop: Callable[[], object] | None = None
    """What ^x does; None: it cannot be stopped."""
    stopping: bool = False

    def text(self, now: float) -> str:
        passed = duration(max(0.0, now - self.since))
        how = "stopping …" if self.stopping else "^x stops" if self.stop is not None else ""
        return " · ".join(filter(None, (f"▶ {self.what}", passed, how)))


class Waits:
    """The newest one is told, with how many others there are."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._waits: dict[str, Wait] = {}
        self._timer: Timer | None = None

    def __bool__(self) -> bool:
        return bool(self._waits)

    def begin(
        self, name: str, what: str, stop: Callable[[], object] | None = None, *, stopping: bool | None = None
    ) -> None:
        """Say at once that something is waited for; another `what` of the same name goes on where it stands.

        :param stopping: whether it is being stopped; None: if it was before
        """
        before = self._waits.get(name)
        since = before.since if before is not None else time.monotonic()
        if stopping is None:
            stopping = before is not None and before.stopping
        self._waits[name] = Wait(what, since, stop, stopping)
        self._show()

    def stopping(self, name: str) -> None:
        """Somebody stopped it, and it has not ended yet."""
        if (wait := self._waits.get(name)) is not None:
            self._waits[name] = replace(wait, stopping=True)
            self._show()

    def end(self, name: str) -> None:
        if self._waits.pop(name, None) is not None:
            self._show()

    def stop_newest(self) -> bool:
        """Stop what was begun last of what can be stopped; False where there is nothing."""
        for name, wait in reversed(self._waits.items()):
            if wait.stop is not None and not wait.stopping:
                self.stopping(name)
                wait.stop()
                return True
        return False

    def text(self) -> str:
        if not self._waits:
            return ""
        more = f" (+{len(self._waits) - 1})" if len(self._waits) > 1 else ""
        return list(self._waits.values())[-1].text(time.monotonic()) + more

    def _show(self) -> None:
        self._screen.query_one(HeaderLine).wait = self.text()
        if self._waits and self._timer is None:
            self._timer = self._screen.set_interval(EVERY, self._show)
        elif not self._waits and self._timer is not None:
            self._timer.stop()
            self._timer = None
