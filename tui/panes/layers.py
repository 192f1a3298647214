"""The distribution of neurons over layers, language by language, with LIKN and DKN beside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.app import ComposeResult

from knscope.tui.panes.pane import Pane, side_by_side
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.layer_grid import LayerBins, LayerGrid, to_a_line

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader


AROUND = 3
"""Lines of the box and of the titles."""
BELOW = 24
"""Lines that the panes below it need to be read well."""


def where_most(grid: LayerGrid, room: int) -> str:
    """In words, on which line each column has the most; without the shares where the room in cells is too small for them."""
    bins = grid.bins
    if bins is None or not bins.columns:
        return ""
    found: dict[str, list[str]] = {}
    bare: dict[str, list[str]] = {}
    for column in bins.columns:
        layers, share = grid.fullest(column)
        if share:
            found.setdefault(grid.name_of(layers), []).append(f"{column} {100 * share:.0f}%")
            bare.setdefault(grid.name_of(layers), []).append(column)
    told = [
        "most in " + "; ".join(f"{line}: {', '.join(names)}" for line, names in each.items()) for each in (found, bare)
    ]
    return "" if not found else told[0] if cell_len(told[0]) <= room else told[1]


class LayersPane(Pane):
    """Share of the neurons by layer, or their number."""

    TITLE = "layers"
    CONTEXT = "layers"
    DRAWS = True
    HELP = (
        "Layer 0 at the top, one to a line; where there are more layers than lines, several stand together and the number is their sum "
        "(two in the upper and the lower half of a line, where there is room), so that all are seen; z gives them the whole screen. One "
        "column a language, then LIKN (neurons found in every chosen language of a fact) and DKN (members of degenerate pairs). Share: "
        "each fact's share of its neurons in the layer, averaged over facts. Bold: where a column has the most. Enter on a bin lists its "
        "neurons. As LIKN and DKN are subsets of the knowledge neurons, likeness between the columns is expected."
    )

    def __init__(self) -> None:
        super().__init__(id="layers")
        self._depth = 0

    def compose(self) -> ComposeResult:
        yield self.note
        yield LayerGrid()

    def load(self, reader: Reader, shown: Shown) -> LayerBins:
        import polars as pl

        view = shown.narrowed
        asked = (reader.live.layer_hist, reader.live.dkn_layers) if reader.keys("scan") else (reader.live.layer_hist,)
        frame, *degenerate = side_by_side(*(partial(ask, view) for ask in asked))
        for found in degenerate:
            members = found.select(pl.lit("DKN").alias("kind"), "layer", "n", "share")
            frame = pl.concat([frame, members], how="vertical_relaxed")
        stored = frame["kind"].unique().to_list()
        columns = [lang for lang in shown.view.langs if lang in stored]
        columns += [name for name in ("LIKN", "DKN") if name in stored]
        rows = list(frame.select("kind", "layer", "n", "share").iter_rows())
        return LayerBins(
            tuple(columns),
            reader.depth(shown.view.model),
            {(kind, layer): n for kind, layer, n, _ in rows},
            {(kind, layer): share or 0.0 for kind, layer, _, share in rows},
        )

    def sql(self, reader: Reader, shown: Shown) -> str:
        return reader.macro_sql("layer_hist", shown.narrowed)

    def result(self, reader: Reader, shown: Shown) -> Table:
        """With intervals, which the pane has no room for."""
        from knscope.analysis.layers import enrichment as layers_enrichment

        return layers_enrichment.build(reader, shown.narrowed)

    def focus_target(self) -> Any:
        return self.query_one(LayerGrid)

    def paint(self, result: Any, shown: Shown) -> None:
        grid = self.query_one(LayerGrid)
        grid.show(result)
        self._depth = result.layers
        self.place()
        self.retitle(shown)
        if not result.columns:
            self.say("No neuron is above the thresholds here, or nothing is stored yet.")

    def on_mount(self) -> None:
        self.query_one(LayerGrid).resized = self._fit  # other lines and columns fit then
        self.watch(self.screen, "maximized", self.place, init=False)

    def _fit(self) -> None:
        if self.painted is not None:
            self.retitle(self.painted)

    def place(self) -> None:
        """As high as its lines, where the pane stands above others: up to half of the screen, or all of a high one but BELOW; the whole
        screen when maximised."""
        alone = self.screen.maximized is self
        if alone or self.screen.has_class("-narrow") or not self._depth:
            self.styles.height = "1fr" if alone else None
            return
        high = self.screen.size.height
        most = max(high // 2, high - BELOW) - AROUND
        self.styles.height = -(-self._depth // to_a_line(self._depth, most)) + AROUND

    def retitle(self, shown: Shown) -> None:
        grid = self.query_one(LayerGrid)
        hidden = grid.hidden_columns()
        self.entitle(f"layers · {grid.unit} · {shown.subject}")
        more = f"{cells.several(hidden, 'more column')}: ← →" if hidden else ""
        room = self.size.width - len(more) - 4  # of the border
        self.entitle(below=" · ".join(filter(None, (where_most(grid, room), more))))

    def turn_unit(self) -> None:
        grid = self.query_one(LayerGrid)
        grid.unit = "count" if grid.unit == "share" else "share"
        if self.painted is not None:
            self.retitle(self.painted)
