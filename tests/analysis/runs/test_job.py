"""A run from configuration to store, with the real core on tiny random models."""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest

from knscope import store
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.engine import models, replay
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.runs import job, protocol, truth
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import load_facts
from knscope.analysis.runs.keys import model_hash
from knscope.analysis.runs.missing import missing
from knscope.analysis.runs.status import Observer
from knscope.analysis.stored.facts import stored_facts
from knscope.store import compaction, ledger
from knscope.store import runs as run_files
from tests.analysis.runs.inline_job import execute


def config(folders: Mapping[str, Path], table: Path, **changes: object) -> RunConfig:
    plain = {"models": (ModelSource(str(folders["encoder"])),), "data": str(table), "engine": "inline"}
    return RunConfig(**{**plain, **changes})  # type: ignore[arg-type]


def small(folders: Mapping[str, Path], table: Path, **changes: object) -> RunConfig:
    """A run of one model, two facts and two methods, in as many units as there are kinds of work."""
    return config(folders, table, **{"facts": 2, "templates": "1", "methods": ("amig", "bkn"), **changes})


@pytest.fixture(scope="module")
def small_finished(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    place = tmp_path_factory.mktemp("stores") / "small.knstore"
    execute(place, small(tiny_models, tiny_facts))
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    place = tmp_path_factory.mktemp("stores") / "finished.knstore"
    both = tuple(ModelSource(str(folder)) for folder in tiny_models.values())
    execute(place, config(tiny_models, tiny_facts, models=both))
    return place


def contents(place: Path) -> dict[str, pl.DataFrame]:
    """Every stored value, in an order of its own; shards and runs do not matter."""
    with store.open(place) as reader:
        tables = ("prediction", "attribution", "score", "scan", "scan_neuron", "ablation")
        frames = {name: reader.sql(f"SELECT * FROM {name}") for name in tables}
    frames["attribution"] = frames["attribution"].drop("dense_row")
    return {
        name: frame.sort(*[c for c in frame.columns if frame[c].dtype != pl.List]) for name, frame in frames.items()
    }


def same(one: Path, other: Path) -> None:
    """The same keys and sets, values within 1e-6 of the largest."""
    a, b = contents(one), contents(other)
    for name in ("prediction", "attribution", "scan"):
        assert set(a[name]["key"]) == set(b[name]["key"])
    joined = a["score"].join(b["score"], on=["key", "layer", "neuron"], how="full")
    assert joined.filter(pl.col("rel").is_null() | pl.col("rel_right").is_null()).is_empty()
    assert joined.select((pl.col("rel") - pl.col("rel_right")).abs().max()).item() < 1e-6
    pair = ["key", "layer_a", "neuron_a", "layer_b", "neuron_b"]
    joined = a["ablation"].join(b["ablation"], on=pair, how="full", nulls_equal=True)
    assert joined.height == a["ablation"].height == b["ablation"].height
    assert joined.select((pl.col("p") - pl.col("p_right")).abs().max()).item() < 1e-6


def test_run_stores_everything_planned_and_reports_it(finished: Path) -> None:
    record = run_files.read_runs(finished)[-1]
    assert (record.status, record.failures) == ("done", ())
    assert record.done == record.total == record.computed == 2 * (24 + 24 + 12 * 3)
    with store.open(finished) as reader:
        assert reader.sql("SELECT count(*) FROM attribution").item() == 48
        assert reader.sql("SELECT count(*) FROM scan").item() == 72
        assert not reader.damaged


def test_run_records_versions_data_and_methods(finished: Path) -> None:
    where = run_files.read_runs(finished)[-1].provenance
    model = next(iter(where["models"].values()))
    assert {"weights_hash", "tokenizer_hash", "dtype", "attention", "revision", "source"} <= set(model)
    assert {"torch", "transformers", "duckdb"} <= set(where["libraries"])
    assert {"host", "device", "code", "dataset_hash", "seed", "methods", "numerics_version"} <= set(where)
    assert where["methods"]["amig"]["baseline"] == "per_word"


def test_how_dense_scores_are_stored_changes_no_key_and_no_table(
    small_finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    files = {"float16": "dense.bin", "float32": "dense.npy"}
    assert list(small_finished.rglob(files["float32"])) and not list(small_finished.rglob(files["float16"]))
    for form in ("float16", "none"):
        execute(tmp_path / form, small(tiny_models, tiny_facts, dense=form))
        if form == "float16":
            same(small_finished, tmp_path / form)
        else:  # whose scans take their neurons from the rows alone
            rows = [contents(place)["score"] for place in (small_finished, tmp_path / form)]
            assert rows[0].equals(rows[1])
        assert len(list((tmp_path / form).rglob("dense.*"))) == len(list((tmp_path / form).rglob(files.get(form, "?"))))
    execute(tmp_path / "none", small(tiny_models, tiny_facts))
    assert run_files.read_runs(tmp_path / "none")[-1].computed == 0


def test_baselines_from_other_facts_do_not_depend_on_the_facts_that_a_run_asks(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    methods = ("attribution_patching", "bkn+baseline=resample,rule=right,nodes=1")
    one = small(tiny_models, tiny_facts, methods=methods, what=("attribution",))
    execute(tmp_path / "few", one)
    execute(tmp_path / "more", replace(one, facts=4))
    rows = [contents(tmp_path / name)["score"] for name in ("few", "more")]
    keys = set(rows[0]["key"]) & set(rows[1]["key"])
    assert keys and set(rows[0]["key"]) <= set(rows[1]["key"])
    both = rows[0].join(rows[1], on=["key", "layer", "neuron"], how="full").filter(pl.col("key").is_in(keys))
    assert (both["score"] - both["score_right"]).abs().max() == 0 and both["score"].null_count() == 0


def test_stored_scores_are_the_dense_ones_down_to_the_floor(finished: Path) -> None:
    with store.open(finished) as reader:
        keys = reader.sql("SELECT key, max_score, kept FROM attribution ORDER BY key LIMIT 5")
        for key, best, kept in keys.iter_rows():
            dense = reader.dense(key)
            rows = reader.sql("SELECT * FROM score WHERE key = $key ORDER BY rel DESC", {"key": key})
            assert best == pytest.approx(float(dense.max())) and rows.height == kept
            assert kept == int((dense.astype(np.float64) / dense.max() >= 0.05).sum())
            flat = rows["layer"].cast(pl.Int64) * 48 + rows["neuron"]
            np.testing.assert_allclose(rows["score"], dense[flat.to_numpy()])


def test_scans_are_of_the_strongest_neurons_and_controls_of_others(finished: Path) -> None:
    with store.open(finished) as reader:
        neurons = reader.sql("SELECT model, query, role, layer, neuron FROM scan JOIN scan_neuron USING (key)")
    for _, group in neurons.group_by("model", "query"):
        chosen = {row[3:] for row in group.filter(role="kn").iter_rows()}
        assert len(chosen) == 20
        for role in ("layer_control", "drop_control"):
            assert chosen.isdisjoint({row[3:] for row in group.filter(role=role).iter_rows()})


def test_the_main_query_is_the_same_for_runs_filling_in_edits_claims_and_faithfulness(
    finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    """The models know nothing, so the data's first template is the main one; by text it is the second."""
    wanted = config(tiny_models, tiny_facts)
    place = tmp_path / "attributed.knstore"
    execute(place, replace(wanted, what=("attribution",)))
    with store.open(place) as reader:
        view = reader.view(langs=("en", "fr"))
        filled = {item.query for unit in missing(reader, view).units for item in unit.scans}
    with store.open(finished) as reader:
        main = set(stored_facts(reader, view.model).main.values())
        scanned = reader.sql("SELECT query FROM scan WHERE model = $model", {"model": view.model})
        edited = {
            edit.reads[0] for edit in edits_choose.wanted(reader, view) if edit.reads and "held" not in edit.group
        }
        claimed = {claim.main for claim in factcheck_choose.wanted(reader, view)}
    facts = load_facts(wanted)
    first = {(row.fact, row.lang): row for row in reversed(facts.rows)}
    assert main == filled == set(first.values()) and edited and edited <= main
    assert {query.id for query in main} == set(scanned["query"])
    assert claimed <= {query.id for query in main}
    engine = replay.Engine(models.load_model(wanted.models[0].source))
    mains, _ = truth.predicted_mains(engine, facts.rows, facts.templates)
    assert {one.query for one in mains.values()} == main


def test_a_fact_that_was_filled_in_is_not_scanned_again_by_a_run_that_prefers_another_query(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place = tmp_path / "grown.knstore"
    few = config(tiny_models, tiny_facts, methods=("bkn",), langs=("en",))
    last = tmp_path / "last.csv"
    head, *lines = tiny_facts.read_text().splitlines()
    last.write_text("\n".join([head, *lines[::-1]]))
    execute(place, replace(few, data=str(last), what=("attribution",)))
    with store.open(place) as reader:
        model = reader.models()[0]
        before = {query.id for query in stored_facts(reader, model).main.values()}
    execute(place, replace(few, data=str(last)))
    execute(place, few)
    with store.open(place) as reader:
        scanned = reader.sql("SELECT query FROM scan WHERE model = $model AND role = 'kn'", {"model": model})
        assert set(scanned["query"]) == before and scanned.height == len(before)


def test_second_run_computes_nothing(finished: Path, tiny_models: Mapping[str, Path], tiny_facts: Path) -> None:
    run = execute(finished, config(tiny_models, tiny_facts))
    record = run_files.read_run(finished, run)
    assert (record.status, record.computed, record.done) == ("done", 0, record.total)


def test_run_killed_repeatedly_ends_in_the_same_store(
    small_finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    """The process is the whole machine of the run here: SIGKILL takes planner and worker alike."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["knscope.analysis.runs.worker", "tests.analysis.runs.inline_job"])
    place, wanted = tmp_path / "killed.knstore", small(tiny_models, tiny_facts)
    for shards in (1, 3, 4, 6):  # the moments: so many shards, then a little later
        child = server.Process(target=execute, args=(place, wanted), daemon=True)
        child.start()
        until(lambda child=child, n=shards: not child.is_alive() or len(all_committed(place)) >= n)  # type: ignore[misc]
        time.sleep(0.01 * shards)
        child.kill()
        child.join()
    execute(place, wanted)
    same(place, small_finished)


def test_two_runs_at_once_that_merge_as_they_go_end_in_the_same_store(
    small_finished: Path,
    tmp_path: Path,
    tiny_models: Mapping[str, Path],
    tiny_facts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "MANY", 2)
    monkeypatch.setattr(compaction, "EVERY", 0.01)
    monkeypatch.setattr(job, "_publish", lambda *_: "")  # which would merge as well
    place, wanted = tmp_path / "two.knstore", small(tiny_models, tiny_facts)
    both = [threading.Thread(target=execute, args=(place, wanted)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    records = run_files.read_runs(place)
    assert [(record.status, record.done) for record in records] == [("done", records[0].total)] * 2
    assert any(ledger.replaced(run_files.run_folder(place, record.run)) for record in records)
    same(place, small_finished)


def test_a_worker_that_dies_is_replaced_and_a_cancelled_run_keeps_what_it_has(
    small_finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place, wanted = tmp_path / "worker.knstore", small(tiny_models, tiny_facts, engine="process", processes=1)
    run = protocol.start_job(place, wanted)
    until(lambda: bool(committed(place, run)))
    assert os.getsid(run_files.read_run(place, run).provenance["pid"]) != os.getsid(0), "a job has its own session"
    killed = children(place, run)
    for child in killed:
        os.kill(child, signal.SIGKILL)
    until(lambda: ended(place, run) or not set(children(place, run)) <= set(killed))
    until(lambda: len(committed(place, run)) > 2 or ended(place, run))
    protocol.cancel_job(place, run)
    until(lambda: ended(place, run))
    record = run_files.read_run(place, run)
    assert record.status in ("cancelled", "done") and not record.failures
    execute(place, small(tiny_models, tiny_facts))
    same(place, small_finished)


@pytest.mark.soak
def test_a_run_killed_at_random_moments_again_and_again_ends_in_the_same_store(
    finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place = tmp_path / "soaked.knstore"
    both = tuple(ModelSource(str(folder)) for folder in tiny_models.values())
    wanted = config(tiny_models, tiny_facts, models=both, engine="process", processes=2)
    moments = random.Random(0)
    for _ in range(15):
        run = protocol.start_job(place, wanted)
        until(lambda run=run: "pid" in run_files.read_run(place, run).provenance)  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 12.0))
        kill_job(place, run)
    execute(place, config(tiny_models, tiny_facts, models=both))
    same(place, finished)


@pytest.mark.soak
def test_a_worker_that_dies_is_replaced_and_nothing_is_missing(
    finished: Path, tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place = tmp_path / "worker.knstore"
    both = tuple(ModelSource(str(folder)) for folder in tiny_models.values())
    run = protocol.start_job(place, config(tiny_models, tiny_facts, models=both, engine="process", processes=1))
    until(lambda: bool(committed(place, run)))
    assert os.getsid(run_files.read_run(place, run).provenance["pid"]) != os.getsid(0), "a job has its own session"
    for child in children(place, run):
        os.kill(child, signal.SIGKILL)
    until(lambda: ended(place, run))
    assert run_files.read_run(place, run).status == "done"
    same(place, finished)


def test_missing_model_fails_with_a_reason_and_the_others_finish(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place = tmp_path / "missing.knstore"
    models = (ModelSource(str(tmp_path / "nowhere")), ModelSource(str(tiny_models["decoder"])))
    run = execute(place, config(tiny_models, tiny_facts, models=models, what=("attribution",)))
    record = run_files.read_run(place, run)
    assert record.status == "failed" and "nowhere" in record.message
    with store.open(place) as reader:
        assert reader.sql("SELECT count(*) FROM attribution").item() == 24


def test_rows_a_model_cannot_use_are_stored_with_their_reason(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    data = tmp_path / "facts.csv"
    data.write_text(tiny_facts.read_text() + "odd,P36,en,[Y] is the capital of [X],france,paris\n")
    place = tmp_path / "unusable.knstore"
    execute(place, config({"encoder": tiny_models["decoder"]}, data, what=("attribution",)))
    with store.open(place) as reader:
        assert reader.sql("SELECT reason FROM unusable").to_series().to_list() == ["answer-not-last"]


def until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def committed(place: Path, run: str) -> list[Path]:
    return [p for p in (run_files.run_folder(place, run) / "shards").iterdir() if not p.name.startswith(".")]


def all_committed(place: Path) -> list[Path]:
    return [p for p in place.glob("runs/*/shards/*") if not p.name.startswith(".")]


def ended(place: Path, run: str) -> bool:
    return all(one.status not in ("queued", "running") for one in Observer(place).settled(0.3) if one.run == run)


def children(place: Path, run: str) -> list[int]:
    pid = run_files.read_run(place, run).provenance["pid"]
    if not psutil.pid_exists(pid):
        return []
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def kill_job(place: Path, run: str) -> None:
    """SIGKILL to the job and its workers, as a machine that loses power."""
    pid = run_files.read_run(place, run).provenance.get("pid")
    if pid is None:
        return
    for process in [*children(place, run), pid] if Path(f"/proc/{pid}").exists() else []:
        os.kill(process, signal.SIGKILL)
    until(lambda: ended(place, run))
    assert json.loads((run_files.run_folder(place, run) / "run.json").read_text())


def test_a_model_is_stored_with_its_first_results_and_not_before(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    from knscope.analysis.runs.facts import load_facts
    from knscope.analysis.runs.units import Unit
    from knscope.analysis.runs.worker import Worker

    place, source = store.create(tmp_path / "loaded.knstore"), str(tiny_models["encoder"])
    rows = load_facts(config(tiny_models, tiny_facts, facts=1)).rows
    worker = Worker(place, run_files.new_name(), protocol.WorkerSettings("cpu"))
    worker.compute(Unit("load", source), lambda: False)
    assert not list(place.rglob("*.parquet"))
    for phase in ("predict", "attribute"):
        worker.compute(Unit(phase, source, "amig", queries=tuple(rows[:1])), lambda: False)
    with store.open(place) as reader:
        assert len(reader.models()) == 1 and reader.sql("SELECT count(*) FROM site").item() > 0
        assert reader.sql("SELECT count(*) FROM model").item() == 1


def test_a_unit_says_that_it_goes_on_and_stops_in_the_middle_of_a_row(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row may take minutes on a real model."""
    from knscope.analysis.attribution.method import parse_method
    from knscope.analysis.prompts.encode import encode
    from knscope.analysis.runs import portions
    from knscope.analysis.runs.units import Unit
    from knscope.analysis.runs.worker import Worker

    monkeypatch.setattr(portions, "WORD_SECONDS", -1.0)
    place, source = store.create(tmp_path / "stopped.knstore"), str(tiny_models["decoder"])
    rows = tuple(load_facts(config(tiny_models, tiny_facts, facts=1)).rows[:1])
    worker = Worker(place, run_files.new_name(), protocol.WorkerSettings("cpu"))
    for method in ("amig", "logprob_increase"):
        unit, said, begun = Unit("attribute", source, method, queries=rows), list[int](), iter([False])
        assert worker.compute(unit, lambda: next(begun, True)) == (0, None) and not worker.keys  # noqa: B023 - called here
        assert worker.compute(unit, lambda: False, said.append) == (1, None)
        assert said[0] == 0 and said[-1] == 1 and said.count(0) > 1
    held = worker.load(source)
    queries = [encode(held.loaded, rows[0])] * 3
    head = held.loaded.model.get_input_embeddings().weight.numel()
    monkeypatch.setattr(portions, "PORTION_CPU", 2.0 * head * held.loaded.n_neurons)
    found = (
        portions.portions(held.loaded, queries, parse_method(method)) for method in ("logprob_increase", "grad_x_act")
    )
    assert [[len(part) for part in each] for each in found] == [[1, 1, 1], [3]]


def test_a_unit_that_goes_on_with_a_stored_model_is_refused_by_another_one_and_leaves_nothing(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    """Another precision, or other weights in the same place: the results would be filed under a model that never gave them."""
    from knscope.analysis.errors import ModelError
    from knscope.analysis.runs.facts import load_facts
    from knscope.analysis.runs.units import Unit
    from knscope.analysis.runs.worker import Worker

    place, source = store.create(tmp_path / "moved.knstore"), str(tiny_models["encoder"])
    rows = tuple(load_facts(config(tiny_models, tiny_facts, facts=1)).rows[:1])
    worker = Worker(place, run_files.new_name(), protocol.WorkerSettings("cpu"))
    _, row = worker.compute(Unit("load", source), lambda: False)
    assert row is not None
    half = Worker(place, run_files.new_name(), protocol.WorkerSettings("cpu", "bfloat16"))
    for phase in ("load", "predict"):
        unit = Unit(phase, source, queries=rows if phase == "predict" else (), model=model_hash(row))
        with pytest.raises(ModelError, match="holds another model now"):
            half.compute(unit, lambda: False)
        assert not list(place.rglob("*.parquet"))
        worker.compute(unit, lambda: False)
    assert list(place.rglob("*.parquet"))
