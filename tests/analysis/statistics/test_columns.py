"""Intervals as columns: what is told in text and what in numbers."""

from dataclasses import replace

import polars as pl

from knscope.analysis.statistics.bootstrap import TOO_FEW, UNBOUNDED, UNKNOWN, Interval
from knscope.analysis.statistics.columns import span, span_columns, spread, spread_columns, told_in_text

KNOWN = Interval(0.5, -0.25, 1.5)


def test_a_figure_has_its_ends_as_numbers_and_its_interval_as_text() -> None:
    assert spread("d", KNOWN, ".2g") == {"d": 0.5, "d_low": -0.25, "d_high": 1.5, "d_interval": "-0.25…1.5"}
    assert spread("area", KNOWN, prefix="") == {"area": 0.5, "low": -0.25, "high": 1.5, "interval": "-0.25…1.50"}
    assert spread("d", replace(KNOWN, rough=True))["d_interval"] == "~-0.25…1.50"
    assert span("vs_first", KNOWN) == {"vs_first": "-0.25…1.50", "vs_first_low": -0.25, "vs_first_high": 1.5}


def test_an_interval_that_is_not_given_says_why_and_one_that_is_unknown_says_nothing() -> None:
    for why in (UNBOUNDED, TOO_FEW):
        assert spread("sr", Interval(2.0, None, None, why)) == {
            "sr": 2.0, "sr_low": None, "sr_high": None, "sr_interval": why,
        }  # fmt: skip
    assert spread("sr", UNKNOWN) == {"sr": None, "sr_low": None, "sr_high": None, "sr_interval": None}


def test_the_columns_take_the_rows_and_only_ends_with_a_text_beside_them_are_left_out() -> None:
    schema = {"name": pl.String, **spread_columns("d"), **span_columns("vs_first"), "strict_low": pl.Float64}
    row = {"name": "a", **spread("d", KNOWN), **span("vs_first", UNKNOWN), "strict_low": 0.1}
    assert pl.DataFrame([row], schema=schema).columns == list(row)
    assert told_in_text(schema) == ("d_low", "d_high", "vs_first_low", "vs_first_high")
    assert told_in_text({"observed": pl.Float64, "low": pl.Float64, "high": pl.Float64}) == ()
    assert told_in_text(spread_columns("jaccard", prefix="")) == ("low", "high")
