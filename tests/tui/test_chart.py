"""Pictures of a result: which one, and that its bars say the numbers."""

from __future__ import annotations

import polars as pl

from knscope.analysis.statistics.charted import BINS, charted, kind_of
from knscope.tui.widgets.chart import chart


def test_kind_of_goes_by_the_columns() -> None:
    assert kind_of(pl.DataFrame({"lang": ["en"], "n": [1]})) == "bar"
    assert (
        kind_of(pl.DataFrame({"x": [1.0], "y": [2]})) == "line" and kind_of(pl.DataFrame({"x": [1.0]})) == "histogram"
    )
    counted = pl.DataFrame({"layer": [0, 0, 1], "neuron": [5, 6, 5], "facts": [9, 8, 7], "langs": [1, 2, 3]})
    drawn = charted(counted)
    assert (drawn.kind, drawn.along, drawn.value, drawn.labels) == (
        "bar",
        "layer, neuron",
        "facts",
        ["0 5", "0 6", "1 5"],
    )
    by_lang = charted(pl.DataFrame({"lang": ["en", "en"], "layer": [0, 1], "share": [0.2, 0.8]}))
    assert (by_lang.along, by_lang.value) == ("lang, layer", "share"), "a layer names a row; it is not what is drawn"
    assert charted(counted.select("facts", "langs")).kind == "line"
    assert charted(pl.DataFrame({"lang": ["en", "en"], "p": [0.1, 0.2]})).value == "p"
    assert kind_of(pl.DataFrame({"lang": ["en"]})) == "" and kind_of(pl.DataFrame({"x": [1.0]}).clear()) == ""


def test_bars_are_as_long_as_their_numbers() -> None:
    lines = chart(pl.DataFrame({"lang": ["en", "zh", "\x1bfr"], "n": [8, 4, None]}), 40).plain.splitlines()
    assert lines[0] == "n by lang" and [line.count("█") for line in lines[1:]] == [24, 12, 0]
    assert lines[3].startswith("·fr") and "–" in lines[3]


def test_histogram_counts_every_value_once_and_a_line_is_sorted() -> None:
    values = [float(value * value) for value in range(100)]
    text = chart(pl.DataFrame({"x": values}), 60).plain.splitlines()
    assert len(text) == BINS + 1 and sum(int(line.split(" … ")[1].split()[1]) for line in text[1:]) == 100
    assert len(chart(pl.DataFrame({"x": [3.0, 3.0]}), 60).plain.splitlines()) == 2
    line = chart(pl.DataFrame({"x": [2, 1], "y": [5, 10]}), 60).plain.splitlines()
    assert line[0] == "y over x" and [one.split()[:2] for one in line[1:]] == [["1", "10"], ["2", "5"]]
