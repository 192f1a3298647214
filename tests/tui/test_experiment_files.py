"""`knscope status STORE RUN --config` prints what `knscope run STORE FILE` takes; options beside the file replace what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.report import chapters
from knscope.analysis.runs import protocol
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.status import RunStatus
from knscope.store import runs as run_files
from knscope.tui.cli import run_app
from knscope.tui.commands import run
from knscope.tui.printing.report_page import Report


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What runs were asked for; none is begun."""
    asked: list[RunConfig] = []
    begun = RunStatus(run_files.RunRecord("run"), "running", None, None)
    monkeypatch.setattr(protocol, "start_job", lambda path, config: asked.append(config) or "run")
    monkeypatch.setattr(run, "_begun", lambda *_: begun)
    return asked


CONFIG = RunConfig((ModelSource(str(BUNDLED / "gpt2-en")),), "demo", langs=("en",), facts=3, known="any", seed=4)


def printed(place: Path, capsys: pytest.CaptureFixture[str], *names: str) -> str:
    assert run_app(["status", str(place), *names, "--config"]) == 0
    return capsys.readouterr().out


def test_what_status_prints_is_run_again_as_it_was(
    tmp_path: Path, started: list[RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    place = store.create(tmp_path / "a.knstore")
    first = run_files.new_run(place, CONFIG.to_json(), "20260101-000000-aaaaaa")
    run_files.new_run(place, {}, "20260101-000001-bbbbbb")  # the workbench's own, which names no models
    file = tmp_path / "exp.toml"
    file.write_text(printed(place, capsys))
    assert printed(place, capsys, first) == file.read_text()
    assert run_app(["run", str(tmp_path / "b.knstore"), str(file)]) == 0
    assert started == [CONFIG]


def test_a_report_holds_the_file_of_every_run_that_can_be_run_again(tmp_path: Path) -> None:
    place = store.create(tmp_path / "a.knstore")
    first = run_files.new_run(place, CONFIG.to_json())
    run_files.new_run(place, {**CONFIG.to_json(), "seed": -1})
    with store.open(place) as reader:
        found = chapters.experiments(reader)
    assert list(found) == [first]
    Report(tmp_path / "report", "title").write([], [], found)
    assert (tmp_path / "report" / "experiments" / f"{first}.toml").read_text() == found[first]
    page = (tmp_path / "report" / "report.html").read_text()
    assert f'href="experiments/{first}.toml"' in page
    assert "data = &quot;demo&quot;" in page


def test_config_of_several_runs_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = store.create(tmp_path / "a.knstore")
    assert run_app(["status", str(place), "--config"]) == 2
    names = [run_files.new_run(place, CONFIG.to_json(), f"2026010{n}-000000-aaaaaa") for n in (1, 2)]
    assert run_app(["status", str(place), "--config"]) == 2
    assert run_app(["status", str(place), "nope"]) == 2
    said = capsys.readouterr().err
    assert "the store has: none that names models" in said
    assert said.count(", ".join(names)) == 2


def test_options_beside_a_file_replace_what_it_says(tmp_path: Path, started: list[RunConfig]) -> None:
    file = tmp_path / "exp.toml"
    file.write_text('data = "demo"\nfacts = 3\nknown = "any"\nseed = 4\n[[models]]\nsource = "gpt2-en"\n')
    options = ["--seed", "0", "--method", "bkn", "--model", "bert-en", "--facts", "all", "--device", "cpu"]
    assert run_app(["run", str(tmp_path / "b.knstore"), str(file), *options]) == 0
    (found,) = started
    assert (found.seed, found.facts, found.known, found.methods) == (0, None, "any", ("bkn",))
    assert [Path(model.source).name for model in found.models] == ["bert-en"]


def test_data_of_another_hash_are_refused_unless_they_are_asked_for(
    tmp_path: Path, started: list[RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "exp.toml"
    file.write_text(f'data = "demo"\nfacts = 3\ndataset_hash = "{"ab" * 32}"\n[[models]]\nsource = "gpt2-en"\n')
    asked = ["run", str(tmp_path / "b.knstore"), str(file)]
    assert run_app(asked) == 2
    assert "the experiment was written for abababababab" in capsys.readouterr().err
    assert run_app([*asked, "--langs", "en"]) == 0
    assert len(started) == 1


def test_a_run_without_facts_or_a_file_says_what_to_add(
    tmp_path: Path, tiny_models: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["run", str(tmp_path / "b.knstore"), "--model", str(tiny_models["decoder"])]) == 2
    assert run_app(["run", str(tmp_path / "b.knstore"), "--data", "demo"]) == 2
    said = capsys.readouterr().err
    assert "no facts named; add --data D" in said
    assert "no model named; add --model" in said
