"""Where the neurons are: one row a layer, one bar a language, LIKN and DKN beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from knscope.tui import keymap
from knscope.tui.messages import BinEntered
from knscope.tui.printing.format import one_line
from knscope.tui.widgets.bars import bar

LABEL = 4
NUMBER = 4
LEAST = 7
"""Narrowest column: its number and a bar of a few cells."""
HUES = 6
"""Colours that languages take in turn; the title says which it is."""


@dataclass(frozen=True)
class LayerBins:
    """What the histogram shows. `n` and `share` are keyed by (column, layer); a missing bin holds nothing."""

    columns: tuple[str, ...]
    layers: int
    n: Mapping[tuple[str, int], int]
    share: Mapping[tuple[str, int], float]


class LayerGrid(ScrollView, can_focus=True):
    """Own drawing in eighths of a cell. Arrow keys walk over the bins; Enter opens one."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.bindings("table"))
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "grid--title", "grid--label", "grid--number", "grid--cursor", "grid--blurred", "grid--shared",
        *(f"grid--hue{i}" for i in range(HUES)),
    }  # fmt: skip

    at_layer: reactive[int] = reactive(0)
    at_column: reactive[int] = reactive(0)
    unit: reactive[str] = reactive("share")

    def __init__(self) -> None:
        super().__init__()
        self.bins: LayerBins | None = None
        self._first = 0
        """The first column that is drawn; moves so that the cursor's is."""

    def show(self, bins: LayerBins) -> None:
        if bins == self.bins:
            return
        before = self._lines()
        self.bins = bins
        self.at_layer, self.at_column = self.at_layer, self.at_column  # clamp
        self.virtual_size = Size(1, bins.layers + 1)
        for line, (one, other) in enumerate(zip(before, self._lines(), strict=True)):
            if one != other:
                self.refresh(Region(0, line, self.size.width, 1))

    def _lines(self) -> list[Strip]:
        return [self.render_line(y) for y in range(self.size.height)]

    def validate_at_layer(self, value: int) -> int:
        return max(0, min(value, self.bins.layers - 1)) if self.bins else 0

    def validate_at_column(self, value: int) -> int:
        return max(0, min(value, len(self.bins.columns) - 1)) if self.bins else 0

    def watch_at_layer(self) -> None:
        visible = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if self.at_layer < top or self.at_layer >= top + visible:
            self.scroll_to(
                y=self.at_layer if self.at_layer < top else self.at_layer - visible + 1, animate=False, immediate=True
            )

    def _columns(self) -> tuple[list[int], int]:
        """Indices of the columns that fit, with the cursor's among them, and their width."""
        if self.bins is None or not self.bins.columns:
            return [], LEAST
        room = max(LEAST, self.scrollable_content_region.width - LABEL)
        fitting = max(1, min(len(self.bins.columns), room // LEAST))
        self._first = max(min(self._first, self.at_column), self.at_column - fitting + 1, 0)
        self._first = min(self._first, len(self.bins.columns) - fitting)
        return list(range(self._first, self._first + fitting)), room // fitting

    def hidden_columns(self) -> int:
        return len(self.bins.columns) - len(self._columns()[0]) if self.bins else 0

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"grid--{name}", partial=True)

    def render_line(self, y: int) -> Strip:
        layer = self.scroll_offset.y + y - 1
        if self.bins is None or (y and layer >= self.bins.layers):
            return Strip.blank(self.size.width, self.rich_style)
        return self._layer_line(self.bins, layer) if y else self._title_line(self.bins)

    def _title_line(self, bins: LayerBins) -> Strip:
        title = self.rich_style + self._style("title")
        indices, wide = self._columns()
        names = [f"{one_line(bins.columns[i])[: wide - 1]:>{NUMBER}}".ljust(wide) for i in indices]
        segments = [Segment(text, title) for text in ("".ljust(LABEL), *names)]
        return Strip(segments).extend_cell_length(self.size.width, title)

    def _layer_line(self, bins: LayerBins, layer: int) -> Strip:
        base, width = self.rich_style, self.size.width
        values = bins.share if self.unit == "share" else bins.n
        top = max(values.values(), default=0) or 1
        indices, wide = self._columns()
        segments = [Segment(f"L{layer}".ljust(LABEL), base + self._style("label"))]
        for i in indices:
            name = bins.columns[i]
            value = values.get((name, layer), 0)
            here = layer == self.at_layer and i == self.at_column
            over = self._style("cursor" if self.has_focus else "blurred") if here else Style.null()
            hue = self._style("shared" if name in ("LIKN", "DKN") else f"hue{i % HUES}")
            segments.append(Segment(f"{self._text(value):>{NUMBER}}", base + self._style("number") + over))
            segments.append(Segment(f" {bar(value / top, wide - NUMBER - 2)} ", base + hue))
        return Strip(segments).extend_cell_length(width, base).crop(0, width)

    def _text(self, value: float) -> str:
        if not value:
            return "·"
        if self.unit != "share":
            return f"{value}"
        return "<1%" if value < 0.005 else f"{100 * value:.0f}%"

    # --- moving

    def action_cursor(self, step: int) -> None:
        self.at_layer += step

    def action_across(self, step: int) -> None:
        self.at_column += step

    def action_page(self, step: int) -> None:
        self.at_layer += step * max(1, self.size.height - 2)

    def action_edge(self, step: int) -> None:
        self.at_layer = 0 if step < 0 else 10**6

    def action_sort(self, step: int) -> None:
        """Bins stand in the order of the layers."""

    def enter(self) -> None:
        if self.bins is not None and self.bins.columns:
            self.post_message(BinEntered(self.at_layer, self.bins.columns[self.at_column]))

    def on_click(self, event: events.Click) -> None:
        indices, wide = self._columns()
        place = (event.x - LABEL) // wide
        if self.bins is None or event.y == 0 or not 0 <= place < len(indices):
            return
        self.at_layer, self.at_column = self.scroll_offset.y + event.y - 1, indices[place]
        if event.chain == 2:
            self.enter()
