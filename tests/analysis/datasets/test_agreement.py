"""The bundled control without knowledge."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from knscope.analysis.datasets.load import load
from knscope.analysis.datasets.sampling import ends_in_answer
from knscope.analysis.runs.facts import absolute_data
from knscope.store import UserError


def test_every_fact_is_asked_on_three_templates_that_end_in_the_answer_in_each_language():
    frame = load("agreement").frame
    assert frame.height == 3 * 3 * 48 and frame.select(ends_in_answer()).to_series().all()
    assert set(frame.group_by("fact_id", "lang").len()["len"]) == {3}
    assert set(frame.group_by("fact_id").agg(pl.col("lang").n_unique())["lang"]) == {3}


def test_a_relation_has_two_answers_and_as_many_facts_of_each():
    frame = load("agreement").frame.unique(["fact_id", "lang"])
    counts = frame.group_by("relation", "lang", "object").len()
    assert counts.group_by("relation", "lang").len()["len"].unique().to_list() == [2]
    assert counts["len"].unique().to_list() == [8]


def test_demo_facts_are_named_demo(tmp_path: Path):
    assert absolute_data("agreement", tmp_path) == "agreement"
    with pytest.raises(UserError, match="layout that is known"):
        load("agreement", columns=("subject=s",))
