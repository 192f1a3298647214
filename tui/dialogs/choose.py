"""One of a list, or several of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from knscope.tui.printing.format import one_line
from knscope.tui.widgets.line import PlainText

RESTED = 0.12
"""Seconds after which keys are taken to rest, and what is marked is shown."""


class ChooseScreen(ModalScreen[tuple[str, ...] | None]):
    """Answers with the chosen values; None when it was left. Stands at the side, so that the workbench is seen, which shows what is
    marked as one moves where `preview` is given."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave", show=False),
        Binding("enter", "take", "take", show=False, priority=True),
        Binding("space", "mark", "mark", show=False, priority=True),
        Binding("j", "step(1)", "down", show=False),
        Binding("k", "step(-1)", "up", show=False),
    ]

    def __init__(
        self,
        title: str,
        options: Sequence[tuple[str, str]],
        current: Sequence[str],
        *,
        several: bool = False,
        preview: Callable[[tuple[str, ...]], object] | None = None,
    ) -> None:
        super().__init__()
        self._preview = preview
        self._timer: Timer | None = None
        self._shown = tuple(current)
        self._title, self._options, self._several = title, options, several
        self._marked = {value for value in current if value in [one for one, _ in options]}

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = self._title
            box.border_subtitle = "space marks, enter takes, esc leaves" if self._several else "enter takes, esc leaves"
            if self._options:
                options = (Option(self._label(value, label)) for value, label in self._options)
                yield OptionList(*options, id="list", compact=True, markup=False)
            else:
                yield PlainText("nothing to choose from yet", id="list")
            yield PlainText("", id="told")

    def tell(self, text: str) -> None:
        """Say something of the choice below the list; nothing once the list was left."""
        for line in self.query("#told").results(PlainText):
            line.update(one_line(text))

    def _label(self, value: str, label: str) -> str:
        """Marked or not is a sign, never a colour alone; of a list to choose one from, the current choice is marked."""
        label = one_line(label)
        if self._several:
            return f"[{'x' if value in self._marked else ' '}] {label}"
        return f"{'•' if value in self._marked else ' '} {label}"

    def _show_soon(self, chosen: tuple[str, ...]) -> None:
        """Let the workbench show this when the keys rest."""
        if self._preview is None or not chosen:
            return
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(RESTED, partial(self._show, chosen))

    def _show(self, chosen: tuple[str, ...]) -> None:
        if self._preview is not None and chosen != self._shown:
            self._shown = chosen
            self._preview(chosen)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if not self._several:
            self._show_soon((self._options[event.option_index][0],))

    def on_mount(self) -> None:
        chosen = self.query_one("#list")
        self.set_focus(chosen)
        if isinstance(chosen, OptionList) and self._options:
            values = [value for value, _ in self._options]
            chosen.highlighted = min((values.index(one) for one in self._marked), default=0) if not self._several else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click: takes the one, or marks it."""
        if self._several:
            self.action_mark()
        else:
            self.dismiss((self._options[event.option_index][0],))

    def action_mark(self) -> None:
        chosen = self.query_one("#list")
        if not self._several or not isinstance(chosen, OptionList) or chosen.highlighted is None:
            return
        value, label = self._options[chosen.highlighted]
        self._marked ^= {value}
        chosen.replace_option_prompt_at_index(chosen.highlighted, self._label(value, label))
        self._show_soon(tuple(value for value, _ in self._options if value in self._marked))

    def action_take(self) -> None:
        chosen = self.query_one("#list")
        if self._several:
            self.dismiss(tuple(value for value, _ in self._options if value in self._marked))
        elif isinstance(chosen, OptionList) and chosen.highlighted is not None:
            self.dismiss((self._options[chosen.highlighted][0],))
        else:
            self.dismiss(None)

    def action_step(self, step: int) -> None:
        if isinstance(chosen := self.query_one("#list"), OptionList):
            (chosen.action_cursor_down if step > 0 else chosen.action_cursor_up)()
