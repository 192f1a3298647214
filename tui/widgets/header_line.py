"""One line at the top: which store, which model and method, the sample, and what is waited for or whether a run is going on."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from knscope.tui.printing.format import one_line


class HeaderLine(Widget):
    """Left to right by importance; what does not fit goes from the middle, never the run."""

    store: reactive[str] = reactive("")
    what: reactive[str] = reactive("")
    sample: reactive[str] = reactive("")
    short: reactive[str] = reactive("")
    """The sample where there is little room."""
    run: reactive[str] = reactive("")
    wait: reactive[str] = reactive("")
    """What a person waits for here; it stands in the place of the run."""

    def render(self) -> RenderResult:
        width = self.content_size.width
        said = self.wait or self.run
        right = Text(one_line(said), style="bold" if said.startswith("▶") else "")
        right.truncate(width, overflow="ellipsis")
        parts = [("bold", one_line(self.store)), ("", one_line(self.what)), ("dim", self.sample), ("dim", self.short)]
        left = Text(no_wrap=True)
        for style, text in parts:
            if text and left.cell_len + cell_len(text) + 3 + right.cell_len <= width:
                left.append(("  " if left else "") + text, style=style)
                if text == self.sample:
                    break
        left.append(" " * max(1, width - left.cell_len - right.cell_len))
        return left + right
