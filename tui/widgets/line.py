"""Text to read, as it stands, and one line to type into."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Input, Static

from knscope.tui.printing.format import visible


def _literal(text: VisualType) -> VisualType:
    """Text that may hold data, for any widget: `[red]` is no markup, and every character can be seen."""
    if isinstance(text, Text):
        shown = text.copy()
        shown.plain = visible(text.plain)
        return shown
    return Content(visible(text)) if isinstance(text, str) else text


class PlainText(Static):
    """Text to read, as it stands. The workbench has no other Static."""

    def __init__(self, text: VisualType = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(_literal(text), id=id, classes=classes)

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        super().update(_literal(content), layout=layout)


class Line(Input):
    """Enter calls `done` at once, not by a message: keys typed after it must find the focus where `done` put it."""

    def __init__(self, value: str, placeholder: str, done: Callable[[Line], None], *, id: str) -> None:  # noqa: A002
        super().__init__(value, placeholder=placeholder, id=id, compact=True)
        self.cursor_blink = False
        self._done = done

    async def action_submit(self) -> None:
        self._done(self)
