"""A page of text: help, a pane's SQL, what a computation would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from knscope.tui.printing.format import one_line
from knscope.tui.widgets.line import PlainText


class TextScreen(ModalScreen[str | None]):
    """Scrolls with the arrows. `answers` are keys that leave with a word; escape leaves with nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "dismiss(None)", "leave", show=False),
        Binding("q", "leave", "leave", show=False),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, title: str, text: Text | str, answers: Sequence[tuple[str, str, str]] = ()) -> None:
        """`answers`: key, the word it leaves with, what it does in a few words."""
        super().__init__()
        self._title, self._text, self._answers = title, text, tuple(answers)

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = Content(one_line(self._title))
            hints = [f"{key} {label}" for key, _, label in self._answers] + ["esc leaves"]
            box.border_subtitle = ", ".join(hints)
            yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="text"):
            yield PlainText(self._text)

    def on_mount(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Once everything is there."""
        self.query_one("#text").focus()

    def on_key(self, event: events.Key) -> None:
        """Leave with the key's word. The key ends here: what stands behind would take it for its own."""
        for wanted, word, _ in self._answers:
            if word and event.key == wanted != "q":
                event.stop()
                self.dismiss(word)

    def action_leave(self) -> None:
        """q leaves with nothing, unless it is one of the answers."""
        self.dismiss(next((word for key, word, _ in self._answers if key == "q"), None))

    def action_scroll(self, step: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=3 * step, animate=False)
