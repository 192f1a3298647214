"""The histogram of layers shows every layer of a deep model at every size."""

from __future__ import annotations

import itertools

import pytest
from textual.app import App, ComposeResult

from knscope.tui.messages import BinEntered
from knscope.tui.widgets.bars import two_bars
from knscope.tui.widgets.layer_grid import LayerBins, LayerGrid


class GridApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.entered: list[BinEntered] = []

    def compose(self) -> ComposeResult:
        yield LayerGrid()

    def on_bin_entered(self, message: BinEntered) -> None:
        self.entered.append(message)


def _bins(layers: int) -> LayerBins:
    """Layer i has i + 1 of all neurons."""
    total = layers * (layers + 1) / 2
    return LayerBins(
        ("en", "LIKN"),
        layers,
        {(name, layer): layer + 1 for name in ("en", "LIKN") for layer in range(layers)},
        {(name, layer): (layer + 1) / total for name in ("en", "LIKN") for layer in range(layers)},
    )


async def test_narrow_columns_stand_under_their_titles() -> None:
    app = GridApp()
    async with app.run_test(size=(46, 6)) as pilot:
        grid = app.query_one(LayerGrid)
        names = ("en", "de", "es", "fr", "zh", "LIKN", "DKN")
        share = {(name, layer): 0.0 if layer == 1 else 0.5 for name in names for layer in range(4)}
        grid.show(LayerBins(names, 4, {place: int(2 * value) for place, value in share.items()}, share))
        await pilot.pause()
        title, first, second = (grid.render_line(y).text for y in range(3))
        assert not grid.hidden_columns() and "DKN" in title
        assert first.index("50%") + 2 == title.index("en") + 1 == second.index("·")
        assert first.rindex("50%") + 2 == title.index("DKN") + 2 == second.rindex("·")


async def test_layer_grid_shows_every_layer_once_and_all_of_the_mass_at_every_size() -> None:
    app = GridApp()
    async with app.run_test(size=(80, 24)) as pilot:
        grid = app.query_one(LayerGrid)
        grid.unit = "count"
        for (width, height), layers in itertools.product(((38, 7), (54, 16), (116, 37)), (12, 18, 30, 80, 126)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            grid.show(_bins(layers))
            lines = [grid.render_line(y).text for y in range(1, height)]
            shown = [line.split() for line in lines if line.startswith("L")]
            spans = [[int(end) for end in words[0].removeprefix("L").split("-")] for words in shown]
            assert [layer for span in spans for layer in range(span[0], span[-1] + 1)] == list(range(layers))
            assert sum(int(words[1]) for words in shown) == layers * (layers + 1) / 2
            assert grid.together == -(-layers // (height - 1)), "no more to a line than must be"
            assert all(line[: grid._label].endswith(" ") for line in lines)


async def test_layer_grid_opens_all_layers_of_the_marked_line() -> None:
    app = GridApp()
    async with app.run_test(size=(54, 16)) as pilot:
        grid = app.query_one(LayerGrid)
        grid.show(_bins(30))
        grid.focus()
        await pilot.press("down", "down", "right")
        grid.enter()
        await pilot.pause()
        (entered,) = app.entered
        assert (entered.layer, entered.last, entered.column) == (4, 5, "LIKN")
        assert grid.fullest("en") == (range(28, 30), pytest.approx((29 + 30) / 465))
        await pilot.press("G")
        assert grid.at_layer == 29


def test_two_bars_share_a_line_in_halves() -> None:
    assert two_bars(1.0, 0.5, 4) == "██▀▀" and two_bars(0.25, 1.0, 4) == "█▄▄▄" and two_bars(0, 1e-9, 3) == "╷  "
    assert two_bars(0.01, 0.01, 3) == "│  " and two_bars(0, 0, 2) == "  " and two_bars(1e-9, 1.0, 2) == "▄▄"
