"""One of a long list, by any words of it: what a store has for SQL, and statements run before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from knscope.tui.printing.format import one_line
from knscope.tui.widgets.line import Line

LONG = 280
"""Characters of a label at most."""
MOST = 300
"""Options that are listed at once."""


class FindScreen(ModalScreen[str | None]):
    """Answers with the value of the option taken; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "leave", show=False),
        Binding("down,ctrl+n", "step(1)", show=False, priority=True),
        Binding("up,ctrl+p", "step(-1)", show=False, priority=True),
        Binding("pagedown", "step(10)", show=False, priority=True),
        Binding("pageup", "step(-10)", show=False, priority=True),
    ]

    def __init__(self, title: str, options: Sequence[tuple[str, str]], *, whole: bool = False) -> None:
        """
        :param options: value and label of each
        :param whole: labels take as many lines as they need, where it is their ends that tell them apart
        """
        super().__init__()
        self._whole = whole
        self._title, self._options = title, tuple(options)
        self._found = self._options

    def compose(self) -> ComposeResult:
        with Vertical(id="box", classes="wide") as box:
            box.border_title = self._title
            yield Line("", "words to look for", self._take, id="words")
            yield OptionList(id="list", classes="" if self._whole else "one-line", compact=True, markup=False)

    def on_mount(self) -> None:
        self._list("")
        self.query_one("#words").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._list(event.value)

    def _list(self, text: str) -> None:
        words = text.lower().split()
        self._found = tuple(one for one in self._options if all(word in one[1].lower() for word in words))
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(Option(one_line(label)[:LONG]) for _, label in self._found[:MOST])
        listed.highlighted = 0 if self._found else None
        self.query_one("#box").border_subtitle = f"{len(self._found):,} · enter takes, esc leaves"

    def action_step(self, step: int) -> None:
        listed = self.query_one(OptionList)
        if listed.highlighted is not None:
            listed.highlighted = max(0, min(listed.highlighted + step, listed.option_count - 1))

    def _take(self, _: Line) -> None:
        place = self.query_one(OptionList).highlighted
        self.dismiss(None if place is None else self._found[place][0])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index][0])
