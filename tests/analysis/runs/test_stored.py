"""What a run sees of the store while it runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knscope import store
from knscope.analysis.runs import stored as runs_stored
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import Facts, check_store
from knscope.store import runs as run_files
from knscope.store import shards
from knscope.store.errors import UserError
from tests.store import made, synthetic, writer

NONE = Facts((), "", "")


def test_before_a_unit_is_handed_out_a_run_looks_for_what_others_have_committed(tmp_path: Path) -> None:
    place = store.create(tmp_path / "two.knstore")
    mine, theirs = (run_files.new_run(place, {}) for _ in range(2))
    made = [synthetic.made_frames(writer.SIZE, range(number, number + 1)) for number in range(2)]
    keys = [set(frames["attribution"]["key"]) for frames, _ in made]
    with store.open(place) as reader:
        stored = runs_stored.RunStored(reader, RunConfig((ModelSource("m"),), "demo"), NONE, run=mine)
        shards.write_shard(place, mine, *made[0])
        assert not stored.keys("attribution", keys[0], fresh=False), "its own results need no look"
        assert not stored.company
        shards.write_shard(place, theirs, *made[1])
        assert stored.keys("attribution", keys[1], fresh=False) == keys[1]
        assert stored.company
        assert stored.keys("attribution", keys[0]) == keys[0]


def test_mean_rel_is_the_mean_over_templates_of_each_ones_share_of_its_maximum(tmp_path: Path) -> None:
    one = made.make(tmp_path / "made.knstore", facts=1)
    keys = [f"a-{made.MODEL}-q-0-en-{template}" for template in made.TEMPLATES]
    with store.open(one.path) as reader:
        stored = runs_stored.RunStored(reader, RunConfig((ModelSource("m"),), "demo"), NONE)
        expected = np.mean([one.dense[key].astype(np.float64) / one.dense[key].max() for key in keys], axis=0)
        np.testing.assert_allclose(stored.mean_rel([*keys, "not stored"]), expected)
        assert stored.mean_rel(["not stored"]).size == 0


def test_scores_from_the_facts_of_other_data_are_refused_beside_those_of_a_store(tmp_path: Path) -> None:
    config = RunConfig((ModelSource("m"),), "facts.csv", methods=("attribution_patching",))
    check_store(tmp_path / "none yet", config, "theirs")
    place = store.create(tmp_path / "one.knstore")
    run = run_files.new_run(place, config.to_json())
    about = {"computed": 3, "provenance": {"dataset_hash": "mine"}}
    run_files.write_run(place, replace(run_files.read_run(place, run), **about))
    unnamed = {**config.to_json(), "models": [{}]}  # somebody else's run.json may lack what ours has
    run_files.write_run(place, replace(run_files.read_run(place, run_files.new_run(place, unnamed)), **about))
    check_store(place, config, "mine")
    for other in ({"methods": ("bkn",)}, {"models": (ModelSource("another"),)}):
        check_store(place, replace(config, **other), "theirs")
    with pytest.raises(UserError, match=rf"attribution_patching starts from other facts.*facts.csv \(run {run}\)"):
        check_store(place, config, "theirs")
