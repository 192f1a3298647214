"""Where the neurons are: one bar a language and layer, LIKN and DKN beside them. All layers are seen, several to a line if need be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from knscope.analysis.figures.palette import places
from knscope.tui import keymap
from knscope.tui.messages import BinEntered
from knscope.tui.printing.format import one_line
from knscope.tui.widgets.bars import bar, two_bars

NUMBER = 4
HALVES = 10
"""Cells of a bar from which on the halves of a line say more than one bar in eighths."""
LEAST = 6
"""Narrowest column: its number and a bar of one cell."""
HUES = 6
"""Colours that languages take in turn; the title says which it is."""


@dataclass(frozen=True)
class LayerBins:
    """What the histogram shows. `n` and `share` are keyed by (column, layer); a missing bin holds nothing."""

    columns: tuple[str, ...]
    layers: int
    n: Mapping[tuple[str, int], int]
    share: Mapping[tuple[str, int], float]


def to_a_line(layers: int, lines: int) -> int:
    """How many layers share a line, so that all are seen in so many lines."""
    return max(1, -(-layers // max(1, lines)))


class LayerGrid(Widget, can_focus=True):
    """Own drawing in eighths of a cell; two layers to a line have its upper and its lower half where there is room, else they are
    one bin, as more of them are. Arrow keys walk over the bins; Enter opens one."""

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
        self.resized: Callable[[], None] = lambda: None
        """Called when other lines fit."""
        self._fullest: dict[tuple[str, int], tuple[range, float]] = {}
        """By column and layers to a line, where the column has the most."""
        self._first = 0
        """The first column that is drawn; moves so that the cursor's is."""

    def show(self, bins: LayerBins) -> None:
        if bins == self.bins:
            return
        before = self._lines()
        self.bins = bins
        self._fullest.clear()
        self.at_layer, self.at_column = self.at_layer, self.at_column  # clamp
        for line, (one, other) in enumerate(zip(before, self._lines(), strict=True)):
            if one != other:
                self.refresh(Region(0, line, self.size.width, 1))

    def on_resize(self) -> None:
        self.resized()

    def _lines(self) -> list[Strip]:
        return [self.render_line(y) for y in range(self.size.height)]

    def validate_at_layer(self, value: int) -> int:
        return max(0, min(value, self.bins.layers - 1)) if self.bins else 0

    def validate_at_column(self, value: int) -> int:
        return max(0, min(value, len(self.bins.columns) - 1)) if self.bins else 0

    @property
    def together(self) -> int:
        """Layers to a line."""
        return to_a_line(self.bins.layers, self.size.height - 1) if self.bins else 1

    def layers_of(self, layer: int) -> range:
        """The layers of the line that a layer is on."""
        first = layer - layer % self.together
        return range(first, min(first + self.together, self.bins.layers if self.bins else 0))

    def name_of(self, layers: range) -> str:
        """`L3`, or `L4-7` for several."""
        return f"L{layers[0]}" if len(layers) == 1 else f"L{layers[0]}-{layers[-1]}"

    def fullest(self, column: str) -> tuple[range, float]:
        """The line with the largest share of a column, and that share. There are bins."""
        place = column, self.together
        if place not in self._fullest:
            self._fullest[place] = self._find_fullest(column)
        return self._fullest[place]

    def _find_fullest(self, column: str) -> tuple[range, float]:
        assert self.bins is not None
        share = self.bins.share
        lines = [self.layers_of(first) for first in range(0, self.bins.layers, self.together)]
        found = [(sum(share.get((column, layer), 0.0) for layer in line), line) for line in lines]
        most = max(value for value, _ in found)
        return next((line, value) for value, line in found if value == most)

    @property
    def _label(self) -> int:
        """Cells of the layers' names."""
        last = self.bins.layers - 1 if self.bins else 0
        return max(
            4, len(self.name_of(range(last - 1, last + 1) if self.together > 1 and last else range(last, last + 1))) + 1
        )

    def _columns(self) -> tuple[list[int], int]:
        """Indices of the columns that fit, with the cursor's among them, and their width."""
        if self.bins is None or not self.bins.columns:
            return [], LEAST
        room = max(LEAST, self.size.width - self._label)
        fitting = max(1, min(len(self.bins.columns), room // LEAST))
        self._first = max(min(self._first, self.at_column), self.at_column - fitting + 1, 0)
        self._first = min(self._first, len(self.bins.columns) - fitting)
        return list(range(self._first, self._first + fitting)), room // fitting

    def hidden_columns(self) -> int:
        return len(self.bins.columns) - len(self._columns()[0]) if self.bins else 0

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"grid--{name}", partial=True)

    def render_line(self, y: int) -> Strip:
        first = (y - 1) * self.together
        if self.bins is None or (y and first >= self.bins.layers):
            return Strip.blank(self.size.width, self.rich_style)
        return self._layer_line(self.bins, self.layers_of(first)) if y else self._title_line(self.bins)

    def _title_line(self, bins: LayerBins) -> Strip:
        title = self.rich_style + self._style("title")
        indices, wide = self._columns()
        names = [f"{one_line(bins.columns[i])[: wide - 1]:>{NUMBER}}".ljust(wide) for i in indices]
        segments = [Segment(text, title) for text in ("".ljust(self._label), *names)]
        return Strip(segments).extend_cell_length(self.size.width, title)

    def _top(self, bins: LayerBins, *, halves: bool) -> float:
        """What a whole bar stands for: the largest layer, or the largest bin."""
        values, together = (bins.share if self.unit == "share" else bins.n), self.together
        if halves or together == 1:
            return max(values.values(), default=0) or 1
        binned: dict[tuple[str, int], float] = {}
        for (column, layer), value in values.items():
            place = column, layer // together
            binned[place] = binned.get(place, 0) + value
        return max(binned.values(), default=0) or 1

    def _layer_line(self, bins: LayerBins, layers: range) -> Strip:
        base, width = self.rich_style, self.size.width
        found = bins.share if self.unit == "share" else bins.n
        indices, wide = self._columns()
        room = max(1, wide - NUMBER - 2)
        halves = self.together == 2 and room >= HALVES
        top = self._top(bins, halves=halves)
        segments = [Segment(self.name_of(layers).ljust(self._label), base + self._style("label"))]
        hues = places(name for name in bins.columns if name not in ("LIKN", "DKN"))
        for i in indices:
            name = bins.columns[i]
            values = [found.get((name, layer), 0) for layer in layers]
            here = self.at_layer in layers and i == self.at_column
            over = self._style("cursor" if self.has_focus else "blurred") if here else Style.null()
            hue = self._style("shared" if name not in hues else f"hue{hues[name] % HUES}")
            most = Style(bold=self.fullest(name)[0] == layers)
            parts = [value / top for value in values]
            drawn = two_bars(parts[0], parts[1], room) if halves and len(parts) == 2 else bar(sum(parts), room)
            segments.append(Segment(f"{self._text(sum(values)):>{NUMBER}}", base + self._style("number") + most + over))
            segments.append(Segment(f" {drawn}".ljust(wide - NUMBER), base + hue))
        return Strip(segments).extend_cell_length(width, base).crop(0, width)

    def _text(self, value: float) -> str:
        if not value:
            return "·"
        if self.unit != "share":
            return f"{value}"
        return "<1%" if value < 0.005 else f"{100 * value:.0f}%"

    # --- moving

    def action_cursor(self, step: int) -> None:
        self.at_layer = self.layers_of(self.at_layer)[0] + step * self.together

    def action_across(self, step: int) -> None:
        self.at_column += step

    def action_page(self, step: int) -> None:
        self.action_cursor(step * max(1, self.size.height - 2))

    def action_edge(self, step: int) -> None:
        self.at_layer = 0 if step < 0 else 10**6

    def action_sort(self, step: int) -> None:
        """Bins stand in the order of the layers."""

    def enter(self) -> None:
        if self.bins is not None and self.bins.columns:
            layers = self.layers_of(self.at_layer)
            self.post_message(BinEntered(layers[0], self.bins.columns[self.at_column], layers[-1]))

    def on_click(self, event: events.Click) -> None:
        indices, wide = self._columns()
        place = (event.x - self._label) // wide
        if self.bins is None or event.y == 0 or not 0 <= place < len(indices):
            return
        self.at_layer, self.at_column = (event.y - 1) * self.together, indices[place]
        if event.chain == 2:
            self.enter()
