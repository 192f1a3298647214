"""A few fields to fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Label

from knscope.tui.printing.format import one_line
from knscope.tui.widgets.line import Line, PlainText


@dataclass(frozen=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    required: bool = True


class FormScreen(ModalScreen[dict[str, str] | None]):
    """Enter goes to the next field and, from the last, leaves with all values."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "leave", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, title: str, fields: Sequence[Field], text: str = "") -> None:
        super().__init__()
        self._title, self._fields, self._text = title, tuple(fields), text

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "enter goes on, esc leaves"
            if self._text:
                yield PlainText(self._text, classes="hint")
                yield PlainText(classes="gap")
            for field in self._fields:
                with Horizontal(classes="field"):
                    yield Label(field.label, markup=False)
                    yield Line(field.value, field.hint, self._next, id=f"field-{field.name}")
            yield PlainText(classes="bad")

    def on_mount(self) -> None:
        self.query(Line).first().focus()

    def _next(self, line: Line) -> None:
        """To the next field, or away with all of them."""
        inputs = list(self.query(Line))
        place = inputs.index(line)
        if place + 1 < len(inputs):
            self.set_focus(inputs[place + 1])
            return
        values = {field.name: box.value.strip() for field, box in zip(self._fields, inputs, strict=True)}
        for field, box in zip(self._fields, inputs, strict=True):
            if field.required and not values[field.name]:
                self.query_one(".bad", PlainText).update(f"{field.label} is missing: {field.hint}")
                self.set_focus(box)
                return
        self.dismiss(values)
