"""The names of the panes that share one place, each with the digit that shows it."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

TABS = ("layers", "LIKN", "DKN", "edits", "checks", "neuron", "SQL", "runs")


class TabLine(Widget):
    """`1 layers  2 LIKN …`; the open one is in reverse. Clickable."""

    auto_links = False
    active: reactive[str] = reactive("layers")
    narrow: reactive[bool] = reactive(False)
    """Whether the layers share the place too; where there is room they stand above."""

    def render(self) -> RenderResult:
        shown = [(number, name) for number, name in enumerate(TABS, 1) if self.narrow or number > 1]
        room = self.content_size.width - sum(len(name) for _, name in shown)
        wide, dense = room >= 4 * len(shown), room < 3 * len(shown) - 1
        items = []
        for number, name in shown:
            style = (
                "bold $block-cursor-foreground on $block-cursor-background"
                if name.lower() == self.active
                else "$text-muted"
            )
            text = f" {number} {name} " if wide else f"{number}{'' if dense else ' '}{name}"
            item = Content.from_markup(f"[{style}]$text[/]", text=text)
            items.append(item.stylize(f"@click=screen.tab('{name.lower()}')"))
        return Content("" if wide else " ").join(items)
