"""The names of the panes that share one place, each with the digit that shows it."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

TABS = ("layers", "LIKN", "DKN", "edits", "checks", "neuron", "SQL", "runs")


class TabLine(Widget):
    """`1 layers  2 LIKN …`; the open one is in reverse. Clickable."""

    active: reactive[str] = reactive("layers")

    def render(self) -> RenderResult:
        wide = self.content_size.width >= sum(len(name) + 4 for name in TABS)
        items = []
        for number, name in enumerate(TABS, 1):
            style = "reverse bold" if name.lower() == self.active else "$text-muted"
            text = f" {number} {name} " if wide else f"{number} {name}"
            item = Content.from_markup(f"[{style}]$text[/]", text=text)
            items.append(item.stylize(f"@click=screen.tab('{name.lower()}')"))
        return Content("" if wide else " ").join(items)
