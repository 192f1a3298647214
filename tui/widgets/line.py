"""One line to type into."""

from __future__ import annotations

from collections.abc import Callable

from textual.widgets import Input


class Line(Input):
    """Enter calls `done` at once, not by a message: keys typed after it must find the focus where `done` put it."""

    def __init__(self, value: str, placeholder: str, done: Callable[[Line], None], *, id: str) -> None:  # noqa: A002
        super().__init__(value, placeholder=placeholder, id=id, compact=True)
        self.cursor_blink = False
        self._done = done

    async def action_submit(self) -> None:
        self._done(self)
