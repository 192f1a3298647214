"""Estimates come from the same kind of work on the same model, or there are none."""

from __future__ import annotations

from typing import Any

import pytest

from knscope.analysis.runs.speed import KEPT, Speed, kind_of, seconds_for
from knscope.analysis.runs.units import Unit
from knscope.store.runs import RunRecord


def _record(**speed: Any) -> RunRecord:
    return RunRecord("r", provenance={KEPT: speed})


def test_speed_sums_results_and_seconds_by_source_and_kind() -> None:
    speed = Speed()
    speed.add(Unit("attribute", "a", "amig"), 4, 8.0)
    speed.add(Unit("attribute", "a", "amig"), 2, 4.0)
    speed.add(Unit("attribute", "a", "bkn"), 1, 1.0)
    speed.add(Unit("edit", "b"), 10, 5.0)
    speed.add(Unit("edit", "b"), 10, 0.0)
    speed.add(Unit("load", "c"), 1, 0.01)
    assert speed.to_json() == {"a": {"attribute amig": [6, 12], "attribute bkn": [1, 1]}, "b": {"edit": [10, 5]}}
    assert kind_of("scan", "amig") == "scan amig" and kind_of("edit", "amig") == "edit"


def test_time_left_is_unknown_until_more_than_predictions_was_timed() -> None:
    speed, left = Speed(), {("a", "predict", ""): 10, ("a", "attribute", "amig"): 4, ("a", "edit", ""): 100}
    assert speed.seconds_for(left, 1) is None
    speed.add(Unit("predict", "a"), 10, 1.0)
    assert speed.seconds_for(left, 1) is None
    assert speed.seconds_for({("a", "predict", ""): 10}, 1) == 1.0
    speed.add(Unit("attribute", "a", "amig"), 1, 5.0)
    assert speed.seconds_for(left, 1) == pytest.approx(1 + 4 * 5 + 100 * 0.05 / 4 * 6 / 1.2)
    assert speed.seconds_for(left, 1, {"a": 20}) == pytest.approx(1 + 4 * 5 + 100 * 0.05 / 20 * 6 / 1.2)


def test_a_unit_under_way_counts_with_what_it_has_computed() -> None:
    speed, left = Speed(), {("a", "attribute", "amig"): 10}
    under_way = [(Unit("attribute", "a", "amig"), 4, 8.0)]
    assert speed.seconds_with(under_way, left, 1, {}) == 12.0
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
