"""What a View lacks, counted on a made-up store; and the desk that has it computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from knscope import store
from knscope.analysis.attribution.method import NUMERICS_VERSION
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs import desk as room
from knscope.analysis.runs.desk import Desk, DeskState, Task
from knscope.analysis.runs.keys import model_hash, scan_key
from knscope.analysis.runs.missing import SCAN_PASSES, missing, model_row, source_of
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.slots import Outcome
from knscope.analysis.runs.units import Unit
from knscope.store import runs as run_files
from knscope.store.reader import Reader
from knscope.store.shards import write_shard
from knscope.store.view import View
from tests.tui.made_store import LANGS, make


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Twelve facts in three languages, all attributed with amig, none scanned with all its controls."""
    return store.open(make(tmp_path_factory.mktemp("missing") / "made.knstore", models=("bert-made",)))


@pytest.fixture
def view(reader: Reader) -> View:
    return View(reader.models()[0], "amig", tuple(reader.langs()))


def test_a_scan_lacks_every_role_that_is_not_stored_under_its_key(reader: Reader, view: View) -> None:
    found = missing(reader, view)
    assert found.counts == {"scans": 12 * len(LANGS) * 3}
    assert found.passes == 12 * len(LANGS) * SCAN_PASSES
    assert {unit.phase for unit in found.units} == {"scan"}
    assert sum(unit.size for unit in found.units) == found.results
    best = reader.kn(view.with_(facts=("P36-00",), langs=("en",)))["rel"].max()
    assert best == 1.0 and all(len(item.chosen) == 20 for unit in found.units for item in unit.scans)


def stored_scans(path: Path, view: View, drawn: int, **config: int) -> None:
    """A scan of every role that `missing` asks for, under the key a worker would give it; of the neurons, nothing."""
    with store.open(path) as reader:
        found = missing(reader, view, seed=drawn)
        name = model_hash(model_row(reader, view.model))
    rows = []
    for item in (item for unit in found.units for item in unit.scans):
        for role in item.roles:
            key = scan_key(name, item.query.id, view.method, role, drawn, item.chosen)
            about = {"model": view.model, "method": view.method, "query": item.query.id, "role": role}
            rows.append({"key": key, **about, "operation": "zero", "n": 20, "p": 0.5, "p_root": 0.5})
    write_shard(path, run_files.new_run(path, config), {"scan": pl.DataFrame(rows)})


def test_a_scan_under_another_key_leaves_it_missing_but_for_a_control_of_a_runs_own_seed(tmp_path: Path) -> None:
    path = make(tmp_path / "made.knstore", models=("bert-made",))
    with store.open(path) as reader:
        view = View(reader.models()[0], "amig", ("en",), facts=("P36-00",))
        assert missing(reader, view).counts == {"scans": 3}
        stored_scans(path, view, drawn=1)
        reader.poll()
        assert missing(reader, view, seed=1).counts == {}
        assert missing(reader, view).counts == {"scans": 1}, "no run says that it drew the same layers with seed 1"
        stored_scans(path, view, drawn=2, seed=2)
        assert missing(reader, view).counts == {}


def test_units_name_the_model_that_their_results_belong_to(reader: Reader, view: View) -> None:
    expected = model_hash(model_row(reader, view.model))
    for one in (view, view.with_(method="bkn")):
        units = missing(reader, one).units
        assert units and {unit.model for unit in units} == {expected}
        assert {half.model for half in units[0].halves()} == {expected}
        assert Unit.from_json(units[0].to_json()) == units[0]


def test_missing_counts_only_what_the_view_shows(reader: Reader, view: View) -> None:
    assert missing(reader, view.with_(facts=("P36-00",))).counts == {"scans": 9}
    assert missing(reader, view.with_(relations=("P30",), langs=("en",))).counts == {"scans": 18}
    known = missing(reader, view.with_(known=True)).counts["scans"]
    assert 0 < known < 108


def test_another_method_lacks_attributions_first_and_then_their_scans(reader: Reader, view: View) -> None:
    found = missing(reader, view.with_(method="bkn"))
    assert found.counts == {"attributions": 36, "scans": 108} and len(found.facts) == 12
    assert {unit.phase for unit in found.units} == {"attribute"}
    asked = {query.id for unit in found.units for query in unit.queries}
    assert asked == set(reader.sql("SELECT query FROM query")["query"])
    assert not missing(reader, view.with_(method="bkn"), ()).counts.get("scans")


class FakeExecutor:
    """Answers at once; units that hold `bad` fail."""

    bad = ""
    handed: ClassVar[list[Unit]] = []
    gate: threading.Event | None = None

    dtypes: ClassVar[list[str]] = []
    """Of the workers that were started."""

    def __init__(self, store_path: Path, run: str, settings: Sequence[WorkerSettings], logs: Path) -> None:
        self._outcomes: list[Outcome] = []
        self.dtypes += [one.dtype for one in settings]

    def submit(self, slot: int, unit: Unit) -> None:
        type(self).handed.append(unit)
        broken = bool(self.bad) and any(query.fact == self.bad for query in unit.queries)
        self._outcomes.append(Outcome(unit, "it broke" if broken else None, stored=0 if broken else unit.size))

    def outcomes(self, timeout: float) -> list[Outcome]:
        if self.gate is not None:
            self.gate.wait(5)
        found, self._outcomes = self._outcomes, []
        return found

    def cancel(self) -> None:
        if self.gate is not None:
            self.gate.set()

    def silence(self) -> float:
        return 0.0

    def partly(self) -> list[tuple[Unit, int, float]]:
        return []

    def under_way(self) -> int:
        return 0

    def doing(self) -> str:
        return "computing" if self._outcomes else ""

    def close(self) -> None: ...


def unit(*facts: str) -> Unit:
    return Unit("attribute", "m", "amig", queries=tuple(Query(f, "r", "en", "[X] [Y]", f, "o") for f in facts))


@pytest.fixture
def at_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[Sequence[Unit]], int], list[DeskState]]:
    """Runs one task whose stages are given, and returns what the desk said."""
    monkeypatch.setattr(room, "ProcessExecutor", FakeExecutor)
    monkeypatch.setattr(FakeExecutor, "handed", [])
    monkeypatch.setattr(FakeExecutor, "dtypes", [])
    place = store.create(tmp_path / "desk.knstore")

    def run(stages: Sequence[Sequence[Unit]], total: int) -> list[DeskState]:
        said: list[DeskState] = []
        ended = threading.Event()

        def hear(state: DeskState) -> None:
            said.append(state)
            if state.outcome:
                ended.set()

        waiting = iter(stages)
        desk = Desk(place, hear)
        desk.ask(Task("a task", lambda: next(waiting, ()), total))
        if FakeExecutor.gate is not None:
            desk.cancel()
        assert ended.wait(10)
        desk.close()
        said.append(DeskState(outcome=run_files.read_run(place, desk.run).status))
        return said

    return run


def test_stages_follow_each_other_and_a_unit_never_comes_twice(at_desk: Callable[..., list[DeskState]]) -> None:
    said = at_desk([[unit("a", "b")], [unit("a", "b"), unit("c")], [unit("c")], [unit("d")]], 3)
    assert [[query.fact for query in one.queries] for one in FakeExecutor.handed] == [["a", "b"], ["c"]]
    assert (said[-2].done, said[-2].outcome, said[-1].outcome) == (3, "done", "done")


def test_a_unit_that_fails_is_cut_until_its_bad_row_stands_alone(
    at_desk: Callable[..., list[DeskState]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeExecutor, "bad", "c")
    said = at_desk([[unit("a", "b", "c", "d")]], 4)
    assert said[-2].done == 3 and said[-2].failures == ("it broke",) and said[-1].outcome == "failed"


def test_cancelling_keeps_what_is_done_and_says_so(
    at_desk: Callable[..., list[DeskState]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeExecutor, "gate", threading.Event())
    said = at_desk([[unit("a")], [unit("b")]], 2)
    assert said[-2].outcome == "cancelled" and len(FakeExecutor.handed) <= 1


class Told:
    """What a desk says, and waiting for it."""

    def __init__(self) -> None:
        self.ended = list[DeskState]()
        self._more = threading.Semaphore(0)

    def __call__(self, state: DeskState) -> None:
        if state.outcome:
            self.ended.append(state)
            self._more.release()

    def wait(self, many: int) -> list[str]:
        for _ in range(many):
            assert self._more.acquire(timeout=10)
        return [state.outcome for state in self.ended]


def task(fact: str, dtype: str = "float32") -> Task:
    stages = iter([[unit(fact)]])
    return Task(fact, lambda: next(stages, ()), 1, dtype=dtype)


def test_a_task_asked_after_cancelling_is_done_and_those_before_are_not(
    at_desk: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeExecutor, "gate", threading.Event())
    told = Told()
    desk = Desk(tmp_path / "desk.knstore", told)
    desk.ask(task("a"))
    desk.ask(task("b"))
    desk.cancel()
    desk.ask(task("c"))
    assert told.wait(3) == ["cancelled", "cancelled", "done"] and told.ended[-1].done == 1
    desk.close()
    assert "b" not in {query.fact for one in FakeExecutor.handed for query in one.queries} and not desk.busy


def test_desk_stops_a_task_that_is_cancelled_from_elsewhere_and_does_the_next(
    at_desk: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FakeExecutor):
        stopped = threading.Event()

        def outcomes(self, timeout: float) -> list[Outcome]:
            return super().outcomes(timeout) if self.stopped.wait(0.05) else []

        def cancel(self) -> None:
            self.stopped.set()

    monkeypatch.setattr(room, "ProcessExecutor", Slow)
    place, told = tmp_path / "desk.knstore", Told()
    desk = Desk(place, told)
    desk.ask(task("a"))
    run_files.request_cancel(place, desk.run)
    assert told.wait(1) == ["cancelled"]
    desk.ask(task("b"))
    assert told.wait(1) == ["cancelled", "done"]
    desk.close()


def test_a_task_of_another_precision_gets_a_worker_of_that_precision(at_desk: object, tmp_path: Path) -> None:
    told = Told()
    desk = Desk(tmp_path / "desk.knstore", told)
    for dtype in ("bfloat16", "bfloat16", "float32"):
        desk.ask(task(dtype, dtype))
    told.wait(3)
    desk.close()
    assert FakeExecutor.dtypes == ["bfloat16", "float32"]
    assert run_files.read_run(tmp_path / "desk.knstore", desk.run).provenance["numerics_version"] == NUMERICS_VERSION


def test_desk_reports_an_unwritable_store_and_goes_on(
    at_desk: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    desk = Desk(tmp_path / "desk.knstore", told)
    desk.ask(task("a"))
    told.wait(1)
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(room.RunFile, "flush", lambda self: (_ for _ in ()).throw(full))
        desk.ask(task("b"))
        assert told.wait(1) == ["done", "failed"] and "No space left" in told.ended[-1].failures[0]
    assert not desk.busy
    desk.ask(task("c"))
    assert told.wait(1) == ["done", "failed", "done"]
    desk.close()


def test_a_model_loaded_for_a_question_that_is_never_asked_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ProcessExecutor", FakeExecutor)
    place = store.create(tmp_path / "asked.knstore")
    before = sorted(place.rglob("*"))
    said: list[DeskState] = []
    ended = threading.Semaphore(0)

    def hear(state: DeskState) -> None:
        said.append(state)
        if state.outcome:
            ended.release()

    desk = Desk(place, hear)
    load = iter([[Unit("load", "m")]])
    desk.ask(Task("load the model", lambda: next(load, ()), 0))
    assert ended.acquire(timeout=10) and said[-1].outcome == "done" and said[-1].warm
    assert sorted(place.rglob("*")) == before
    answer = iter([[unit("a")]])
    desk.ask(Task("a question", lambda: next(answer, ()), 1))
    assert ended.acquire(timeout=10)
    desk.close()
    assert [(one.run, one.status, one.computed) for one in run_files.read_runs(place)] == [(desk.run, "done", 1)]


def test_model_is_loaded_from_its_present_folder(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {**model_row(reader, reader.models()[0]), "source": str(tmp_path / "moved"), "name": "nobody"}
    moved, later = tmp_path / "moved", tmp_path / "later"
    seen = run_files.RunRecord(
        "r", provenance={"models": {str(later): {"model": row["model"]}, "/other": {"model": "x"}}}
    )
    monkeypatch.setattr(run_files, "read_runs", lambda path: [seen])
    assert source_of(reader, row) == str(moved), "nothing is there: the first place is named in the error"
    assert source_of(reader, {**row, "name": "bert-multi"}) == str(BUNDLED / "bert-multi")
    for place in (later, moved):
        place.mkdir()
        (place / "config.json").write_text("{}")
        assert source_of(reader, {**row, "name": "bert-multi"}) == str(place)
    assert source_of(reader, {**row, "source": "org/name"}) == "org/name"
