"""A few fields to fill in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Label

from knscope.tui.dialogs.completing import Completer, Completion
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
    complete: Completion | None = None
    """What tab completes."""


class FormScreen(ModalScreen[dict[str, str] | None]):
    """Enter goes to the next field and, from the last, leaves with all values; tab completes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "leave", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        text: str = "",
        check: Callable[[Mapping[str, str]], tuple[str, str] | None] = lambda values: None,
        error: str = "",
    ) -> None:
        """
        :param check: from the values to a field's name and what is wrong with it; None: nothing
        :param error: what was wrong with these values the last time
        """
        super().__init__()
        self._title, self._fields, self._text = title, tuple(fields), text
        self._check, self._error = check, error

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "enter goes on, tab completes, esc leaves"
            if self._text:
                yield PlainText(self._text, classes="hint")
                yield PlainText(classes="gap")
            for field in self._fields:
                with Horizontal(classes="field"):
                    yield Label(field.label, markup=False)
                    suggester = Completer(field.complete) if field.complete is not None else None
                    yield Line(field.value, field.hint, self._next, id=f"field-{field.name}", suggester=suggester)
            yield PlainText(self._error, classes="bad")

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
        for field in self._fields:
            if field.required and not values[field.name]:
                self._refuse(field.name, f"{field.label} is missing: {field.hint}")
                return
        if (wrong := self._check(values)) is not None:
            self._refuse(*wrong)
        else:
            self.dismiss(values)

    def _refuse(self, name: str, why: str) -> None:
        """Say what is wrong with a field, and go there."""
        self.query_one(".bad", PlainText).update(why)
        self.set_focus(self.query_one(f"#field-{name}"))
