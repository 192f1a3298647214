"""Every threshold with its value: keys nudge the marked one, digits type a value, the wheel turns it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.widget import Widget

from knscope.store.view import View
from knscope.tui.messages import Complaint, ThresholdMarked, ThresholdSet
from knscope.tui.thresholds import Threshold, changed, thresholds, value_of

GAP = 2
CHANGED = "*"
"""Follows a value that is not its default; stands in the gap."""
EXPLAINED = 40
"""Cells of what the marked threshold means: where they are not left beside all values, the values take two lines."""
TYPED = "0123456789.-e"


class ThresholdBar(Widget, can_focus=True):
    """One line or a few, as the width asks. A changed value is followed by `*`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar--symbol", "bar--value", "bar--marked", "bar--changed"}

    view: reactive[View | None] = reactive(None, repaint=False)
    marked: reactive[str] = reactive("")
    typed: reactive[str] = reactive("")
    explains: reactive[bool] = reactive(False)
    """Whether what the marked threshold means, and how drops are measured, stand behind the values: where there is no box around."""

    _drawn: Sequence[Text] = ()
    """The lines drawn last."""
    _came_from: Widget | None = None
    """What had the focus before: it gets it back when a value is typed or given up, so that keys mean there what they did."""

    def type_here(self, came_from: Widget | None) -> None:
        """Take the focus until a value is typed."""
        self.focus()
        self._came_from = came_from if came_from is not self else self._came_from

    def _go_back(self) -> None:
        if self._came_from is not None:
            self.screen.set_focus(self._came_from)

    def watch_view(self, old: View | None, new: View | None) -> None:
        """Other languages may take another number of lines; of the same ones, only lines that read otherwise are drawn again."""
        if old is None or new is None or old.langs != new.langs:
            self.refresh(layout=True)
            return
        for row, (was, now) in enumerate(zip_longest(self._drawn, drawn := self._lines())):
            if was != now:
                self.refresh(Region(0, row, self.size.width, 1))
        self._drawn = drawn

    def current(self) -> Threshold | None:
        """The threshold that keys nudge."""
        if self.view is None:
            return None
        every = thresholds(self.view)
        return next((one for one in every if one.name == self.marked), every[0])

    def step(self, by: int) -> None:
        """Mark another threshold."""
        if self.view is None or (now := self.current()) is None:
            return
        every = thresholds(self.view)
        self.marked = every[(every.index(now) + by) % len(every)].name
        self.typed = ""
        self.post_message(ThresholdMarked(self.marked))

    def on_key(self, event: events.Key) -> None:
        character = event.character or ""
        if character in TYPED and character and (character not in "-e" or self.typed):
            self.typed += character
        elif self.typed and event.key in ("backspace", "escape", "enter"):
            self._edit(event.key)
        elif self._came_from is not None and event.key in ("enter", "escape"):
            self._go_back()
        elif event.key in ("left", "h", "right", "l"):
            self.step(-1 if event.key in ("left", "h") else 1)
        else:
            return
        event.stop()
        event.prevent_default()

    def _edit(self, key: str) -> None:
        """Delete a character of the value being typed, give it up, or take it."""
        if key == "enter":
            self._finish()
        else:
            self.typed = self.typed[:-1] if key == "backspace" else ""

    def _finish(self) -> None:
        threshold, text = self.current(), self.typed
        self.typed = ""
        try:
            value = float(text)
        except ValueError:
            self.post_message(Complaint(f"{text} is no number"))
            return
        if threshold is None:
            return
        if not threshold.low <= value <= threshold.high:
            self.post_message(Complaint(f"{threshold.symbol} lies between {threshold.low:g} and {threshold.high:g}"))
            return
        self.post_message(ThresholdSet(threshold.name, value))
        self._go_back()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        if not has_focus:
            self.typed, self._came_from = "", None

    # --- drawing

    def _items(self) -> list[tuple[Threshold, str, str]]:
        """Threshold, its symbol and its value as text."""
        if self.view is None:
            return []
        different = changed(self.view)
        marked = self.current()
        items = []
        for one in thresholds(self.view):
            value = one.show(value_of(self.view, one.name)) + (CHANGED if one.name in different else "")
            if self.typed and one is not None and marked is not None and one.name == marked.name:
                value = self.typed + "▏"
            items.append((one, one.symbol, value))
        return items

    def _places(self, width: int) -> list[tuple[int, int, int, Threshold, str, str]]:
        """Row, column, width of every item; a τ and what follows it may break to the next line."""
        places = []
        row = column = 0
        items = [(*item, cell_len(item[1]) + 1 + max(cell_len(item[2].rstrip(CHANGED)), 4)) for item in self._items()]
        together = sum(wide + GAP for *_, wide in items) - GAP <= width - (EXPLAINED if self.explains else 0)
        for threshold, symbol, value, wide in items:
            first_other = threshold.name == "template_share" and not together
            if column and (first_other or column + wide > width):
                row, column = row + 1, 0
            places.append((row, column, wide, threshold, symbol, value))
            column += wide + GAP
        return places

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        places = self._places(width)
        return places[-1][0] + 1 if places else 1

    def render(self) -> Text:
        if self.view is None:
            return Text("no results yet", style=self._style("bar--symbol"))
        self._drawn = self._lines()
        return Text("\n").join(self._drawn)

    def _lines(self) -> list[Text]:
        current = self.current()
        lines: list[Text] = []
        for row, column, _, threshold, symbol, value in self._places(self.content_size.width):
            while len(lines) <= row:
                lines.append(Text(no_wrap=True))
            line = lines[row]
            line.append(" " * (column - line.cell_len))
            marked = current is not None and threshold.name == current.name
            item = Text(f"{symbol} ", style=self._style("bar--symbol"))
            item.append(value, style=self._style("bar--changed" if value.endswith(CHANGED) else "bar--value"))
            if marked:
                item = Text(item.plain, style=self._style("bar--marked"))
            line.append_text(item)
        if self.explains and lines:
            self._explain(lines, current)
        return lines

    def _explain(self, lines: list[Text], current: Threshold | None) -> None:
        """Into the room that the lines leave: at the end of the first what the marked threshold means, of the last how drops are
        measured."""
        meant = (f"{current.symbol}: {current.help}", current.help, current.brief) if current else ()
        for line, said in (
            (lines[-1], (f"drops {self.view.drop}",) if self.view is not None else ()),
            (lines[0], meant),
        ):
            room = self.content_size.width - line.cell_len - GAP
            if text := next((each for each in said if cell_len(each) <= room), ""):
                line.append(" " * (room - cell_len(text) + GAP)).append(text, style=self._style("bar--symbol"))

    def _style(self, component: str) -> Style:
        return self.get_component_rich_style(component, partial=True)

    # --- mouse

    def _at(self, x: int, y: int) -> Threshold | None:
        for row, column, wide, threshold, _, _ in self._places(self.content_size.width):
            if row == y and column <= x < column + wide + GAP:
                return threshold
        return None

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and (threshold := self._at(offset.x, offset.y)) is not None:
            self.marked = threshold.name
            self.post_message(ThresholdMarked(self.marked))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._turn(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._turn(event, -1)

    def _turn(self, event: events.MouseEvent, steps: int) -> None:
        offset = event.get_content_offset(self)
        threshold = self._at(offset.x, offset.y) if offset is not None else None
        if threshold is None or self.view is None:
            return
        event.stop()
        self.marked = threshold.name
        self.post_message(ThresholdSet(threshold.name, threshold.nudged(value_of(self.view, threshold.name), steps)))
