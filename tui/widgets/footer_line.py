"""The footer: the most useful keys of the pane that has the focus, then help and quit. Each can be clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from knscope.tui import keymap

GAP = 2
"""Cells between two keys."""


def letters(titles: Sequence[str]) -> list[str]:
    """For each title its first letter that no title before it took."""
    taken: list[str] = []
    for title in titles:
        taken.append(next(letter for letter in title.lower() if letter not in taken))
    return taken


class Target(Protocol):
    """A pane that a letter jumps to."""

    TITLE: ClassVar[str]

    def focus_target(self) -> Any:
        """The widget that takes the focus."""

    def label(self, letter: str) -> None:
        """Show the letter that jumps here; empty: none."""


class FooterLine(Widget):
    """Shows the keys of keymap.CONTEXTS; while jumping, a letter for every pane."""

    auto_links = False
    context: reactive[str] = reactive("")
    targets: reactive[Mapping[str, Target]] = reactive({})
    """While jumping: the pane of each letter."""

    def __init__(self, remap: Mapping[str, str]) -> None:
        super().__init__()
        self._remap = remap
        self._came_from: Widget | None = None

    # --- jumping

    def jump(self, panes: Sequence[Target]) -> None:
        """Show a letter for every pane, and go where the next key says."""
        self._came_from = self.screen.focused
        self.targets = dict(zip(letters([pane.TITLE for pane in panes]), panes, strict=True))
        for letter, pane in self.targets.items():
            pane.label(letter)
        self.can_focus = True
        self.focus()

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        pane = self.targets.get(event.character or "")
        target = pane.focus_target() if pane is not None else self._came_from
        self._forget()
        self.can_focus = False
        if target is not None:
            target.focus()

    def on_blur(self) -> None:
        self._forget()

    def _forget(self) -> None:
        for pane in self.targets.values():
            pane.label("")
        self.targets = {}

    # --- drawing

    def render(self) -> RenderResult:
        wanted = keymap.CONTEXTS.get(self.context, keymap.CONTEXTS[""])
        if self.targets:
            parts = [
                Content.from_markup("[bold $accent]$key[/] $name", key=key, name=pane.TITLE)
                for key, pane in self.targets.items()
            ]
            return Content.assemble("jump to  ", Content("  ").join(parts))
        alone = self.screen.maximized is not None
        items = [self._item(name) for name in (dict.fromkeys(("pane.zoom", *wanted)) if alone else wanted)]
        last = [self._item(name) for name in ("help", "quit")]
        while items and sum(item.cell_length + GAP for item in (*items, *last)) - GAP > self.content_size.width:
            items.pop()
        return Content(" " * GAP).join([*items, *last])

    def _item(self, name: str) -> Content:
        """A key and what it does, to be clicked."""
        action = keymap.find(name)
        keys = keymap.keys_of(action, self._remap)
        free = [key for key in keys if self.context != "sql" or not keymap.typeable(key)]
        key = keymap.glyph((free or keys)[0])
        call = action.call if action.call.startswith("app.") else f"screen.do('{action.id}')"
        label = "all panes" if name == "pane.zoom" and self.screen.maximized is not None else action.label
        item = Content.from_markup("[bold $accent]$key[/] [$text-muted]$label[/]", key=key, label=label)
        return item.stylize(f"@click={call}")
