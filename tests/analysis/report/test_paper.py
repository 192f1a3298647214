"""What the paper's own figures can and cannot be."""

from __future__ import annotations

import pytest

from knscope.analysis.report.paper import TABLE_3


def test_eight_rows_of_table_3_are_impossible_as_printed_and_all_are_possible_with_columns_swapped():
    assert sum(not row.possible for row in TABLE_3) == 8
    assert all(row.swapped.possible for row in TABLE_3)


def test_printed_f1_follows_from_either_order_of_the_columns():
    for row in TABLE_3:
        for one in (row, row.swapped):
            assert one.f1 == pytest.approx(2 * one.precision * one.recall / (one.precision + one.recall), abs=0.0025)


@pytest.mark.parametrize(
    ("lang", "model", "without", "with_dkn"),
    [
        ("en", "m-BERT", 0.609, 0.581),
        ("en", "m-GPT", 0.505, 0.592),
        ("zh", "m-BERT", 0.505, 0.540),
        ("zh", "m-GPT", 0.500, 0.521),
        ("en", "BERT", 0.648, 0.563),
        ("en", "GPT-2", 0.505, 0.556),
    ],
)
def test_accuracy_with_columns_swapped(lang, model, without, with_dkn):
    rows = {row.with_dkn: row.swapped for row in TABLE_3 if (row.lang, row.model) == (lang, model)}
    assert rows[False].accuracy == pytest.approx(without, abs=0.001)
    assert rows[True].accuracy == pytest.approx(with_dkn, abs=0.001)


def test_calling_everything_true_is_at_least_as_good_as_nearly_every_row():
    """0.667 for F1; the one row above it is so by its last printed digits."""
    assert sum(row.f1 > 2 / 3 + 0.003 for row in TABLE_3) == 0
