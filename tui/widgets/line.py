"""Text to read, as it stands, and one line to type into."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.suggester import Suggester
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

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "complete", show=False)]

    def __init__(
        self,
        value: str,
        placeholder: str,
        done: Callable[[Line], None],
        *,
        id: str,  # noqa: A002
        suggester: Suggester | None = None,
    ) -> None:
        super().__init__(value, placeholder=placeholder, id=id, compact=True, suggester=suggester)
        self.cursor_blink = False
        self._done = done

    async def action_submit(self) -> None:
        self._done(self)

    def action_complete(self) -> None:
        """Take what stands grey behind the cursor; with nothing there, go on to the next field."""
        before = self.value
        if self.cursor_position == len(before):
            self.action_cursor_right()
        if self.value == before:
            self.screen.focus_next()
