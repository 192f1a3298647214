"""Drawing and arithmetic that need no terminal."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from knscope.store.view import View
from knscope.tui.panes.likn import matrix_text, mean_of, overlaps
from knscope.tui.panes.queries import COLUMNS, SEARCHED, prepared
from knscope.tui.selection import Selection
from knscope.tui.thresholds import changed, reset, thresholds, value_of, with_value
from knscope.tui.widgets.bars import bar, spark
from knscope.tui.widgets.cells import Column, power, prob
from knscope.tui.widgets.fitting import align, clauses, fit, holding, leading_parts, wrapped

VIEW = View("m@1", "amig", ("en", "zh"))


@given(st.floats(0, 1), st.integers(1, 40))
def test_bar_fills_its_width_and_is_exact_to_an_eighth_of_a_cell(share: float, width: int) -> None:
    drawn = bar(share, width)
    assert cell_len(drawn) == width
    eighths = 8 * drawn.count("█") + (" ▏▎▍▌▋▊▉".index(drawn.strip("█ ")) if drawn.strip("█ ") else 0)
    assert abs(eighths - share * width * 8) <= (1 if share else 0)


def test_bar_shows_at_least_an_eighth_for_a_positive_share() -> None:
    assert bar(1e-9, 10).strip() and not bar(0, 10).strip()
    assert spark([0, 1, 8]) == " ▁█"


@given(st.text("aé多→", max_size=20), st.integers(1, 12), st.booleans())
def test_align_gives_every_cell_the_width_of_its_column(text: str, width: int, right: bool) -> None:
    assert cell_len(align(text, width, right)) == width


def test_fit_drops_optional_columns_first_and_lets_the_growing_one_take_the_rest() -> None:
    columns = (Column("a", "a"), Column("text", "text", grow=True), Column("b", "bb", drop=1), Column("c", "c", drop=2))
    natural = {"a": 3, "text": 30, "b": 5, "c": 5}
    assert [column.name for column, _ in fit(columns, natural, 60)] == ["a", "text", "b", "c"]
    narrow = fit(columns, natural, 14)
    assert [column.name for column, _ in narrow] == ["a", "text", "b"]
    assert sum(width + 1 for _, width in narrow) - 1 == 14


def test_sentence_loses_whole_clauses_and_a_border_whole_parts_where_there_is_no_room() -> None:
    said = "7 of 9 pairs (0.1%) do so; so do 2 others (rough)."
    assert clauses(said, 80, 1) == said and clauses(said, 48, 1) == "7 of 9 pairs (0.1%) do so; so do 2 others."
    assert clauses(said, 30, 1) == "7 of 9 pairs (0.1%) do so." and clauses(said, 30, 2) == said
    assert clauses(said, 5, 1) == said, "not even the first clause fits"
    assert (wrapped("", 9), wrapped("one two", 7), wrapped("one two", 6), wrapped("东京 东京", 9)) == (0, 1, 2, 1)
    assert leading_parts("8 facts · 2 languages · more", 21) == "8 facts · 2 languages"
    assert leading_parts("8 facts · 2 languages", 3) == "8 facts"


def test_every_threshold_is_explained_in_few_cells() -> None:
    assert all(cell_len(one.brief) <= 24 < cell_len(one.help) + 10 for one in thresholds(VIEW))


def test_fit_drops_columns_of_one_rank_together() -> None:
    ranks = tuple(Column(name, name, drop=3) for name in ("rank", "suppressed", "enhanced"))
    columns = (Column("text", "text", grow=True), *ranks, Column("p", "p", drop=1))
    natural = {"text": 10, "rank": 3, "suppressed": 3, "enhanced": 3, "p": 5}
    assert [column.name for column, _ in fit(columns, natural, 30)] == ["text", "p"]


def test_cells_format_numbers() -> None:
    assert (prob(None), prob(0.98249), prob(2e-7), prob(0.0)) == ("–", "0.982", "2e-07", "0.000")
    assert (power(None), power(0.0), power(2.4e-5)) == ("–", "0", "2e-05")


def test_thresholds_nudge_within_their_bounds_and_reset() -> None:
    for one in thresholds(VIEW):
        value = value_of(VIEW, one.name)
        for steps in (1, -1, 1000, -1000):
            moved = with_value(VIEW, one.name, one.nudged(value, steps))
            assert one.low <= value_of(moved, one.name) <= one.high
            assert changed(moved) == ((one.name,) if value_of(moved, one.name) != value else ())
            assert reset(moved, one.name) == VIEW


def test_claims_threshold_is_nudged_by_factors() -> None:
    lam = next(one for one in thresholds(VIEW) if one.name == "lam")
    assert [lam.nudged(1e-6, steps) for steps in (-1, 1, 2, 3)] == [5e-7, 2e-6, 5e-6, 1e-5]


def test_selection_narrows_the_view_to_what_it_names() -> None:
    row = {"relation": "P36", "fact": "P36-TZ", "query": "q1", "subject": "Tanzania", "object": "Dodoma"}
    selection = Selection()
    assert selection.narrow(VIEW) == VIEW
    selection = selection.deeper(row)
    assert selection.narrow(VIEW).relations == ("P36",)
    selection = selection.deeper(row)
    assert selection.narrow(VIEW).facts == ("P36-TZ",) and selection.holds(row)
    selection = selection.deeper(row).deeper(row)
    assert selection.narrow(VIEW).queries == ("q1",)
    assert selection.trail == "everything › P36 › P36-TZ › query"


SHARED = ("lang_a", "lang_b", "shared", "facts", "facts_that_share")


def test_overlap_matrix_shows_means_over_facts_with_neurons_in_both_languages() -> None:
    rows = [("en", "en", 3, 2, 2), ("zh", "zh", 2, 2, 2), ("en", "zh", 1, 2, 1), ("LIKN", "LIKN", 1, 2, 1)]
    shared = pl.DataFrame(rows, schema=SHARED, orient="row")
    found = overlaps(shared, ("en", "zh"))
    assert found.matrix == ((1.5, 0.5), (0.5, 1.0))
    assert (found.shared, found.covered, found.facts, found.neurons) == (1, 1, 2, None)
    of_one = [("f", "en", 0, 1, 0.5), ("f", "en", 0, 2, 0.5), ("f", "zh", 0, 2, 0.5)]
    kn = pl.DataFrame(of_one, schema=["fact", "lang", "layer", "neuron", "rel"], orient="row")
    one = overlaps(shared, ("en", "zh"), kn)
    assert one.neurons is not None and one.neurons.rows()[0] == (0, 2, 0.5, 0.5, 2, "en zh")


def test_a_question_that_was_asked_does_not_widen_the_column_of_facts() -> None:
    (column,) = (column for column in COLUMNS if column.name == "fact")
    assert (column.text("asked: Poland → Warsaw"), column.text("P37-US")) == ("asked", "P37-US")


@pytest.mark.parametrize(
    ("text", "left"), [("", 2), ("tanzania", 1), ("TAN dod", 1), ("!tan", 1), ("日本", 0), ("(", 0)]
)
def test_query_filter_takes_words_literally(text: str, left: int) -> None:
    row = {
        "fact": "a",
        "relation": "r",
        "lang": "en",
        "subject": "Tanzania",
        "object": "Dodoma",
        "template": "[X]",
        "stays": 0.5,
    }
    frame = prepared(pl.DataFrame([row, {**row, "subject": "Peru", "object": "Lima"}]))
    assert holding(frame, SEARCHED, text).height == left


@pytest.mark.parametrize(
    ("text", "left"), [("=en+zh", [1]), ("=zh+en", [1]), ("en", [1, 2, 3]), ("en !fr", [1, 3]), ("=en", [3])]
)
def test_filter_finds_what_is_in_exactly_these_languages(text: str, left: list[int]) -> None:
    frame = pl.DataFrame(
        {"neuron": [1, 2, 3, 4], "langs": ["en zh", "en fr zh", "en", "fr"], "rel": [0.1, 0.2, 0.3, 0.4]}
    )
    assert holding(frame, ("neuron", "langs", "rel"), text)["neuron"].to_list() == left


@pytest.mark.parametrize(
    ("text", "left"),
    [("facts>5", [3]), ("facts>=5", [2, 3]), ("hub<.1 facts<5", [1]), ("hub<=0", []), ("paris", [2]), ("x>1", [])],
)
def test_filter_compares_numbers_by_a_columns_name_or_title_and_finds_tokens_of_lists(
    text: str, left: list[int]
) -> None:
    frame = pl.DataFrame(
        {
            "neuron": [1, 2, 3],
            "facts": [1, 5, 6],
            "other_relation": [0.05, 0.2, None],
            "promotes": [[" a"], [" Paris", " Rome"], None],
        }
    )
    assert holding(frame, ("neuron", "promotes"), text, {"hub": "other_relation"})["neuron"].to_list() == left


def test_overlap_matrix_separates_large_means() -> None:
    assert [mean_of(value) for value in (None, 0, 0.001, 9.5, 99.99, 722.47, 12345.0)] == [
        "–", "0.00", "<.01", "9.50", "99.99", "722.5", "12345",
    ]  # fmt: skip
    langs = ("en", "zh")
    rows = [("en", "en", 1441, 2, 2), ("zh", "zh", 1441, 2, 2), ("en", "zh", 1441, 2, 2)]
    shared = pl.DataFrame(rows, schema=SHARED, orient="row")
    lines = matrix_text(overlaps(shared, langs)).plain.split("\n")
    assert [line.split() for line in lines[1:]] == [["en", "720.5", "720.5"], ["zh", "720.5", "720.5"]]
