"""Keys typed ahead go where they were meant: a key is handled when the one before it has done all it does.

Textual forwards keys as they come. Over a slow line several come at once, and those after `/` or Enter would still reach
what had the focus before: `/tan` would filter by nothing and go to the thresholds.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from textual import events
from textual.app import App
from textual.message import Message
from textual.widgets import Input, TextArea

PATIENCE = 3.0
"""Seconds after which a key counts as handled whatever became of it: its widget may be gone."""


@dataclass
class KeyHandled(Message):
    """Follows a key through the queues of everything that may take it; at the application the key is dealt with."""

    number: int
    text: bool
    """It was typed into an editor, which changes nothing else."""


class OneKeyAtATime(App[None]):
    """An application whose keys wait for each other."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._typed: deque[events.Key] = deque()
        self._key_number = 0
        self._key_since: float | None = None
        """When the key under way was given out; None: none is."""
        self.last_key = 0.0
        """When a key or the mouse last came, by the monotonic clock."""

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self.last_key = time.monotonic()
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.extend(self._apart(event))
        if self._key_since is None:
            await self._next_key()
        else:
            self.set_timer(PATIENCE, self._do_not_wait_for_ever)

    def _apart(self, event: events.Key) -> tuple[events.Key, ...]:
        """Escape and another key in one packet, as a slow line sends them, come as alt and that key."""
        name = event.key.removeprefix("alt+")
        if name == event.key or (self.screen_stack and event.key in self.screen.active_bindings):
            return (event,)
        name = name.removeprefix("shift+").upper() if name.startswith("shift+") else name
        return events.Key("escape", "\x1b"), events.Key(name, event.character)

    async def _next_key(self) -> None:
        if not self.screen_stack:  # leaving: what was typed after that goes nowhere
            self._typed.clear()
        if not self._typed:
            return
        event = self._typed.popleft()
        self._key_number += 1
        self._key_since = time.monotonic()
        screen, target = self.screen, self.focused or self.screen
        await super().on_event(event)
        handled = KeyHandled(self._key_number, event.is_printable and isinstance(target, Input | TextArea))
        if screen not in self.screen_stack or not target.post_message(handled):  # it closed what it was typed into
            self.call_later(self._handled, self._key_number)

    def on_key_handled(self, message: KeyHandled) -> None:
        """What the key changed (another focus, a screen) is in place after the next refresh."""
        number = message.number
        if message.text or not self.screen_stack or not self.screen.call_after_refresh(self._handled, number):
            self.call_later(self._handled, number)

    async def _handled(self, number: int) -> None:
        if number == self._key_number:
            self._key_since = None
            await self._next_key()

    async def _do_not_wait_for_ever(self) -> None:
        if self._key_since is not None and time.monotonic() - self._key_since >= PATIENCE:
            self._key_since = None
            await self._next_key()
