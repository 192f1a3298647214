"""A run as a file: what is written is read again as the same run, and computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import knscope
from knscope import store
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.runs import experiment
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.store import runs as run_files
from knscope.store.errors import UserError
from knscope.store.runs import RunRecord
from tests.analysis.runs.inline_job import execute

DEMO = RunConfig((ModelSource(str(BUNDLED / "gpt2-en")),), "demo")
ODD = 'say "hi", it\'s\n\ta back\\slash, \x00\x1b[2J\x7f\x9b, 秘鲁 # no comment'


def written(tmp_path: Path, config: RunConfig, **provenance: Any) -> Path:
    path = tmp_path / "exp.toml"
    path.write_text(experiment.write(RunRecord("r1", config=config.to_json(), provenance=provenance)), encoding="utf-8")
    return path


def test_every_setting_of_a_run_is_written_with_what_it_means() -> None:
    assert set(experiment.NOTES) - {experiment.HASH} == {one.name for one in fields(RunConfig)} - {"models"}
    assert all(note.endswith(".") for note in experiment.NOTES.values())


@pytest.mark.parametrize(
    "config",
    [
        DEMO,
        replace(DEMO, models=(*DEMO.models, ModelSource(str(BUNDLED / "bert-en"), ("en", "zh")))),
        replace(DEMO, prefix=ODD, fact_ids=(ODD, "a"), columns=("subject=s",), relations=("P36",)),
        replace(DEMO, facts=7, memory=2**33, seed=3, processes=2, device="cuda:0,cuda:1", dtype="bfloat16"),
        replace(DEMO, methods=("amig+nodes=10", "bkn"), suppress=("zero", "mean"), signs=("negative",), known="any"),
    ],
)
def test_a_run_is_read_as_it_was_written(tmp_path: Path, config: RunConfig) -> None:
    assert experiment.read(written(tmp_path, config)) == experiment.Experiment(config)


def test_a_file_of_three_lines_is_an_experiment_and_its_paths_begin_at_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_models: Mapping[str, Path]
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "tiny").symlink_to(tiny_models["decoder"])
    (folder / "exp.toml").write_text('data = "mlama:facts"\n[[models]]\nsource = "tiny"\n')
    monkeypatch.chdir(tmp_path)
    found = experiment.read(Path("study/exp.toml")).config
    assert found == RunConfig((ModelSource(str(tiny_models["decoder"].resolve())),), f"mlama:{folder / 'facts'}")


def test_a_bundled_model_goes_by_its_name_and_one_of_the_hub_by_its_commit(tmp_path: Path) -> None:
    config = replace(DEMO, models=(*DEMO.models, ModelSource("org/name@main"), ModelSource("org/other")))
    ran = {"org/name@main": {"model": "name@1234abcd", "revision": "0" * 40}}
    text = written(tmp_path, config, models=ran).read_text()
    sources = [line.partition(" = ")[2] for line in text.splitlines() if line.startswith("source")]
    assert sources == ['"gpt2-en"', f'"org/name@{"0" * 40}"', '"org/other"']
    assert "# results of name@1234abcd" in text


def test_other_data_than_those_of_the_experiment_are_refused(tmp_path: Path) -> None:
    asked = experiment.read(written(tmp_path, DEMO, dataset_hash="ab" * 32))
    experiment.check_dataset(asked, "ab" * 32)
    with pytest.raises(UserError, match="demo has the hash cdcdcdcdcdcd, the experiment was written for abababababab"):
        experiment.check_dataset(asked, "cd" * 32)
    experiment.check_dataset(experiment.Experiment(DEMO), "cd" * 32)


MODEL = '[[models]]\nsource = "gpt2-en"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data = \n", r"exp\.toml is no TOML: .*line 1"),
        ("\xff", "is no TOML"),
        (f'data = "demo"\nlang = ["en"]\n{MODEL}', r"'lang' is no key of an experiment; did you mean langs\?"),
        (f'data = "demo"\nlangs = "en"\n{MODEL}', "langs must be a list of texts, 'en' is there"),
        (f'data = "demo"\nlangs = [1]\n{MODEL}', "langs must be a list of texts"),
        (f'data = "demo"\nfacts = "some"\n{MODEL}', 'facts must be a whole number or "all"'),
        (f'data = "demo"\nseed = true\n{MODEL}', "seed must be a whole number"),
        (f'data = "demo"\nseed = -1\n{MODEL}', "seed must be a whole number"),
        (f'data = ["demo"]\n{MODEL}', "data must be a text"),
        (f'data = "demo"\nmethods = ["nothing"]\n{MODEL}', r"exp\.toml: .*nothing"),
        (f'data = "demo"\ndevice = "tpu"\n{MODEL}', r"exp\.toml: --device tpu"),
        (MODEL, "data is missing"),
        ('data = "demo"\n', "no model named"),
        ('data = "demo"\nmodels = ["gpt2-en"]\n', r"each as \[\[models\]\]"),
        ('data = "demo"\n[[models]]\nname = "gpt2-en"\n', "a model has a source"),
        ('data = "demo"\n[[models]]\nsource = "gpt2-en"\nlangs = "en"\n', "langs must be a list of texts"),
        ('data = "demo"\n[[models]]\nsource = "./nowhere"\n', "no such folder"),
    ],
)
def test_a_file_that_is_no_experiment_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "exp.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(Exception, match=message) as raised:
        experiment.read(path)
    assert type(raised.value).__name__ in ("UserError", "ModelError")


def test_python_runs_a_file_as_the_command_line_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[RunConfig] = []
    monkeypatch.setattr("knscope.analysis.api.runs.start_job", lambda place, config: started.append(config) or "run")
    monkeypatch.setattr("knscope.analysis.api.runs.open_store", lambda place: place)
    path = written(tmp_path, replace(DEMO, facts=3))
    for named in (path, str(path)):
        knscope.run(tmp_path / "my.knstore", named, wait=False)
    assert started == [replace(DEMO, facts=3)] * 2
    path = written(tmp_path, DEMO, dataset_hash="ab" * 32)
    with pytest.raises(UserError, match="the experiment was written for abab"):
        knscope.run(tmp_path / "my.knstore", path, wait=False)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.toml: No such file"):
        experiment.read(tmp_path / "nowhere.toml")


def test_the_file_of_a_run_computes_the_same_results_in_another_store(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    config = RunConfig(
        (ModelSource(str(tiny_models["decoder"])),), str(tiny_facts), langs=("en",), facts=2, seed=5, engine="inline"
    )
    first, second = tmp_path / "first.knstore", tmp_path / "second.knstore"
    record = run_files.read_run(first, execute(first, config))
    path = tmp_path / "exp.toml"
    path.write_text(experiment.write(record))
    asked = experiment.read(path)
    assert asked.dataset_hash == record.provenance["dataset_hash"]
    execute(second, asked.config)
    frames: list[pl.DataFrame] = []
    for place in (first, second):
        with store.open(place) as reader:
            keys = reader.sql("SELECT key FROM attribution ORDER BY key")["key"]
            frames.append(pl.DataFrame({"key": keys, "scores": [reader.dense(key).tolist() for key in keys]}))
    assert frames[0].height > 0
    assert frames[0].equals(frames[1])
