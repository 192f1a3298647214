"""Estimates come from the same kind of work on the same model, or there are none."""

from __future__ import annotations

from typing import Any

import pytest

from knscope.analysis.runs.speed import KEPT, Speed, kept, kind_of, seconds_for
from knscope.analysis.runs.units import Unit
from knscope.store.runs import RunRecord


def _record(**speed: Any) -> RunRecord:
    return RunRecord("r", provenance={KEPT: speed})


def _paced(*timed: tuple[Unit, int, float], **earlier: Any) -> Speed:
    speed = Speed(kept([_record(**earlier)]))
    for unit, results, seconds in timed:
        speed.add(unit, results, seconds)
    return speed


ATTRIBUTE, EDIT = Unit("attribute", "a", "amig"), Unit("edit", "a")


def test_speed_keeps_results_and_seconds_by_source_and_kind_and_forgets_slowly() -> None:
    speed = _paced((ATTRIBUTE, 4, 8.0), (Unit("edit", "b"), 10, 5.0), (Unit("edit", "b"), 10, 0.0))
    assert speed.to_json() == {"a": {"attribute amig": [4, 8]}, "b": {"edit": [10, 5]}}
    assert kind_of("scan", "amig") == "scan amig" and kind_of("edit", "amig") == "edit"
    speed.add(ATTRIBUTE, 4, 4.0)
    results, seconds = speed.to_json()["a"]["attribute amig"]
    assert 1.4 < seconds / results < 1.5
    for _ in range(100):
        speed.add(ATTRIBUTE, 4, 4.0)
    results, seconds = speed.to_json()["a"]["attribute amig"]
    assert seconds / results == pytest.approx(1.0, rel=0.05)


def test_time_left_is_unknown_until_more_than_predictions_was_timed() -> None:
    left = {("a", "predict", ""): 10, ("a", "attribute", "amig"): 4, ("a", "edit", ""): 100}
    loaded = (Unit("load", "a"), 1, 9.0), (Unit("predict", "a"), 10, 1.0)
    assert _paced().seconds_for(left, 1) is None
    assert _paced(*loaded).seconds_for(left, 1) is None
    assert _paced(*loaded).seconds_for({("a", "predict", ""): 10}, 1) == 1.0
    timed = _paced(*loaded, (ATTRIBUTE, 1, 5.0))
    assert timed.seconds_for(left, 1) == pytest.approx(1 + 4 * 5 + 100 * 0.01825 * 5)
    assert timed.seconds_for(left, 1, {"a": 20}) == pytest.approx(1 + 4 * 5 + 100 * 0.00525 * 5)
    assert timed.seconds_for({("a", "attribute", "bkn"): 3}, 1) == pytest.approx(3 * 5 * 20 / 30)
    assert timed.seconds_for({("b", "edit", ""): 4}, 1) == pytest.approx(4 * 0.01825 * 5)
    assert timed.seconds_for({("b", "load", ""): 1}, 1) is None


def test_kinds_not_timed_yet_go_as_in_earlier_runs_by_how_much_slower_the_others_are_now() -> None:
    earlier = {"a": {"load": [2, 20], "attribute amig": [10, 10], "edit": [100, 10], "predict": [0, 0]}}
    left = {("a", "load", ""): 1, ("a", "attribute", "amig"): 4, ("a", "edit", ""): 100}
    assert _paced(**earlier).seconds_for(left, 1) == pytest.approx(10 + 4 + 10)
    assert _paced((ATTRIBUTE, 5, 15.0), **earlier).seconds_for(left, 1) == pytest.approx(3 * (10 + 4 + 10))
    assert _paced((EDIT, 10, 2.0), **earlier).seconds_for({("a", "scan", "amig"): 10}, 1) == pytest.approx(
        10 * 3.5 / 4 * 2.0 / (10 * 0.01825)
    )


def test_what_the_other_kinds_let_expect_counts_as_one_unit_of_a_kind() -> None:
    dear = ATTRIBUTE, 100, 100.0
    expected = 0.002 + 0.065 / 4
    speed = _paced(dear, (EDIT, 256, 256 * 3 * expected))
    assert speed.seconds_for({("a", "edit", ""): 1}, 1) == pytest.approx(2 * expected)
    alone = _paced((EDIT, 256, 256.0), (Unit("predict", "a"), 9, 1.0))
    assert alone.seconds_for({("a", "edit", ""): 1}, 1) == pytest.approx(1.0)


def test_a_phase_is_shared_by_as_many_workers_as_it_has_units_and_a_load_by_none() -> None:
    speed = _paced(a={"load": [1, 9], "attribute amig": [1, 1], "edit": [1, 0.1], "neurons": [1, 1]})
    for place, results, expected in (
        (("a", "attribute", "amig"), 20, 20.0),
        (("a", "attribute", "amig"), 64, 32.0),
        (("a", "attribute", "amig"), 640, 160.0),
        (("a", "edit", ""), 300, 15.0),
        (("a", "neurons", ""), 4, 1.0),
        (("a", "load", ""), 1, 9.0),
    ):
        assert speed.seconds_for({place: results}, 4) == pytest.approx(expected), place


def test_a_unit_under_way_counts_with_what_it_has_computed() -> None:
    speed, left = Speed(), {("a", "attribute", "amig"): 10}
    assert speed.seconds_with([(ATTRIBUTE, 4, 8.0)], left, 1, {}) == 12.0
    assert speed.to_json() == {} and left == {("a", "attribute", "amig"): 10}
    assert speed.seconds_with([], left, 1, {}) is None


def test_seconds_for_adds_up_kinds_over_runs_and_knows_nothing_of_other_models_methods_and_kinds() -> None:
    records = [
        _record(a={"attribute amig": [6, 12]}),
        _record(a={"attribute amig": [2, 12], "scan amig": [10, 5]}),
        RunRecord("old"),
    ]
    assert seconds_for(records, "a", "amig", {"attributions": 4}) == 12.0
    assert seconds_for(records, "a", "amig", {"attributions": 4, "scans": 20}) == 22.0
    assert seconds_for(records, "a", "amig", {"attributions": 4, "edits": 1}) is None
    assert seconds_for(records, "a", "bkn", {"attributions": 4}) is None
    assert seconds_for(records, "b", "amig", {"attributions": 4}) is None
    assert seconds_for([_record(a={"attribute amig": [1, 0.1]})], "a", "amig", {"attributions": 4}) is None
