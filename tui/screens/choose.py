"""One of a list, or several of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, SelectionList, Static
from textual.widgets.option_list import Option


class ChooseScreen(ModalScreen[tuple[str, ...] | None]):
    """Answers with the chosen values; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave", show=False),
        Binding("enter", "take", "take", show=False, priority=True),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(
        self, title: str, options: Sequence[tuple[str, str]], current: Sequence[str], *, several: bool = False
    ) -> None:
        super().__init__()
        self._title, self._options, self._current, self._several = title, options, tuple(current), several

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = self._title
            box.border_subtitle = "space marks, enter takes, esc leaves" if self._several else "enter takes, esc leaves"
            if self._several:
                yield SelectionList[str](
                    *((label, value, value in self._current) for value, label in self._options), id="list", compact=True
                )
            elif self._options:
                yield OptionList(
                    *(Option(label, id=value) for value, label in self._options), id="list", compact=True, markup=False
                )
            else:
                yield Static("nothing to choose from yet", id="list")

    def on_mount(self) -> None:
        chosen = self.query_one("#list")
        chosen.focus()
        values = [value for value, _ in self._options]
        if isinstance(chosen, OptionList) and self._current and self._current[0] in values:
            chosen.highlighted = values.index(self._current[0])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if not self._several:
            self.dismiss((str(event.option_id),))

    def action_take(self) -> None:
        chosen = self.query_one("#list")
        if isinstance(chosen, SelectionList):
            marked = set(chosen.selected)
            self.dismiss(tuple(value for value, _ in self._options if value in marked))
        elif isinstance(chosen, OptionList) and chosen.highlighted is not None:
            self.dismiss((self._options[chosen.highlighted][0],))
        else:
            self.dismiss(None)

    def action_down(self) -> None:
        if isinstance(chosen := self.query_one("#list"), OptionList):
            chosen.action_cursor_down()

    def action_up(self) -> None:
        if isinstance(chosen := self.query_one("#list"), OptionList):
            chosen.action_cursor_up()
