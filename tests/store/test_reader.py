"""The reader beside writers, on folders that cannot be written or vanish, within its memory; Views against what is stored."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from knscope import store
from knscope.store import runs
from knscope.store.errors import UserError
from knscope.store.shards import list_shards, write_shard
from knscope.store.view import View
from tests.store import synthetic

SIZE = synthetic.Size(facts=6, models=synthetic.MODELS[:1], methods=("amig",), langs=("en", "zh"), shard_facts=3)
COUNTS = """SELECT (SELECT count(*) FROM attribution), (SELECT count(*) FROM attribution_row),
    (SELECT count(*) FROM attribution a WHERE EXISTS (FROM score s WHERE s.key = a.key) OR a.kept = 0)"""
VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.build(tmp_path_factory.mktemp("built") / "a.knstore", SIZE)


@pytest.fixture
def path(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "a.knstore")


def test_reader_sees_what_another_process_commits_within_half_a_second(path: Path) -> None:
    text = (
        "import sys, time; from pathlib import Path; from knscope.store.shards import write_shard\n"
        "from tests.store import synthetic, test_reader as t\n"
        "path, run = Path(sys.argv[1]), sys.argv[2]\n"
        "for n in range(6, 9):\n"
        "    frames = synthetic.made_frames(t.SIZE, range(n, n + 1)); write_shard(path, run, *frames); print(time.time(), flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    run = runs.new_run(path, {})
    command = [sys.executable, "-c", text, str(path), run]
    with (
        store.open(path) as reader,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        for facts in (7, 8, 9):
            child.stdout.readline()
            before = time.process_time()
            assert reader.poll()
            # Of processor time, since tests may share theirs; the workbench looks four times a second.
            assert time.process_time() - before < 0.25
            assert reader.queries(VIEW)["fact"].n_unique() == facts
            child.stdin.write("\n")
            child.stdin.flush()
        child.stdin.close()


def test_poll_without_new_shards_is_cheap(path: Path) -> None:
    with store.open(path) as reader:
        before = time.process_time()
        assert not any(reader.poll() for _ in range(20))
        assert (time.process_time() - before) / 20 < 0.01


def test_reader_gives_whole_results_while_they_arrive(path: Path) -> None:
    wrong: list[object] = []
    stop = threading.Event()
    with store.open(path) as reader:

        def ask() -> None:
            while not stop.is_set():
                counts = reader.sql(COUNTS).row(0)
                if len(set(counts)) != 1:
                    wrong.append(counts)

        thread = threading.Thread(target=ask)
        thread.start()
        run = runs.new_run(path, {})
        for n in range(6, 10):
            write_shard(path, run, *synthetic.made_frames(SIZE, range(n, n + 1)))
            reader.poll()
        stop.set()
        thread.join()
    assert not wrong


def test_reader_reads_a_read_only_store(path: Path) -> None:
    for place in [path, *path.rglob("*")]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = sorted((str(p), p.stat().st_mtime_ns) for p in path.rglob("*"))
    with store.open(path) as reader:
        assert reader.queries(VIEW)["fact"].n_unique() == 6
        assert not reader.poll()
    assert sorted((str(p), p.stat().st_mtime_ns) for p in path.rglob("*")) == before


def test_reader_keeps_what_it_read_when_the_folder_vanishes(path: Path) -> None:
    with store.open(path) as reader:
        expected = reader.kn(VIEW)
        key = reader.sql("SELECT key FROM attribution LIMIT 1").item()
        shutil.rmtree(path)
        assert not reader.poll()
        assert reader.kn(VIEW).sort(pl.all()).equals(expected.sort(pl.all()))
        with pytest.raises(UserError, match=r"dense.npy is gone.*run the analysis again"):
            reader.dense(key)
        with pytest.raises(UserError, match="is gone"):
            reader.kn(VIEW.with_tau("en", 0.01))


def test_results_beyond_the_memory_limit_go_to_a_temporary_folder(tmp_path: Path) -> None:
    path = store.create(tmp_path / "a.knstore")
    run = runs.new_run(path, {})
    frames, dense = synthetic.made_frames(SIZE, range(1))
    rows = 2_000_000
    key = frames["score"]["key"][0]
    random = np.random.default_rng(0).random(rows)
    frames["score"] = pl.DataFrame(
        {
            "key": pl.repeat(key, rows, eager=True), "layer": np.zeros(rows, np.int16), "neuron": np.arange(rows, dtype=np.int32) % 40,
            "score": random.astype(np.float32), "rel": random,
        }
    )  # fmt: skip
    write_shard(path, run, frames, dense)
    with store.open(path, memory_limit="40MB") as reader:
        spilled = sum(file.stat().st_size for file in Path(reader._spill.name).rglob("*"))
        assert reader.sql("SELECT count(*) FROM score").item() == rows
        assert spilled > 0
        folder = Path(reader._spill.name)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "bort"}, r"model 'bort' is not in this store; it has bert-small@0000aaaa"),
        ({"method": "amiga"}, r"method 'amiga' is not in this store; it has amig"),
        ({"langs": ("en", "xx")}, r"language xx is not stored for bert-small@0000aaaa; there is en, zh"),
        ({"relations": ("P36", "P99")}, r"relation P99 is not stored .*; there is P1376, P30, P36"),
        ({"facts": ("fact-00000", "fact-99999")}, r"fact fact-99999 is not stored; there are 6, such as fact-00000"),
    ],
)
@pytest.mark.parametrize("name", ["kn", "likn", "layer_hist", "dkn", "dkn_rate", "queries"])
def test_unknown_names_are_errors_that_list_the_stored_ones(
    built_reader: store.Reader, name: str, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        getattr(built_reader, name)(VIEW.with_(**changes))


def test_store_without_attributions_says_that_a_run_computes_them(tmp_path: Path) -> None:
    path = store.create(tmp_path / "young.knstore")
    frames, _ = synthetic.made_frames(SIZE, range(1))
    predicted = {name: frames[name] for name in ("model", "site", "query", "prediction") if name in frames}
    write_shard(path, runs.new_run(path, {}), predicted)
    with store.open(path) as reader, pytest.raises(UserError, match=r"no attribution with .* is stored yet"):
        reader.kn(VIEW)


@pytest.fixture(scope="module")
def built_reader(built: Path) -> store.Reader:
    return store.open(built)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"taus": (("en", 1.0),)}, r"τ en = 1 is out of range; give a number from 0 up to, but not, 1"),
        ({"taus": (("en", -0.1),)}, r"τ en = -0.1 is out of range"),
        ({"taus": (("en", float("nan")),)}, r"τ en = nan is out of range"),
        ({"taus": (("xx", 0.1),)}, r"τ is given for xx, but the languages are en, zh"),
        ({"langs": ()}, r"no language chosen"),
        ({"langs": ("en", "en")}, r"language en is named twice"),
        ({"template_share": 1.1}, r"template_share = 1.1 is out of range; give a number from 0 to 1"),
        ({"t_low": 2.0}, r"t_low = 2 is out of range"),
        ({"t_high": float("nan")}, r"t_high = nan is out of range"),
        ({"delta": -1.0}, r"delta = -1 is out of range"),
        ({"dkn_share": 1.5}, r"dkn_share = 1.5 is out of range"),
        ({"lam": float("inf")}, r"lam = inf is out of range"),
        ({"drop": "both"}, r"drop = 'both' is unknown; choose relative or absolute"),
    ],
)
def test_thresholds_out_of_range_are_errors_that_name_the_range(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        VIEW.with_(**changes)


def test_view_needs_only_names_that_are_ambiguous(built_reader: store.Reader, made: Path) -> None:
    view = built_reader.view(taus={"en": 0.4})
    assert (view.model, view.method, view.langs) == (VIEW.model, VIEW.method, ("en", "zh"))
    assert view.tau == {"en": 0.4, "zh": 0.2}
    assert built_reader.view(taus=0.1).tau == {"en": 0.1, "zh": 0.1}
    assert isinstance(built_reader.kn(view), pl.DataFrame)
    key = built_reader.sql("SELECT key FROM attribution LIMIT 1").item()
    scores = built_reader.dense(key)
    assert scores.dtype == np.float32
    assert not scores.flags.writeable
    with store.open(made) as several, pytest.raises(UserError, match=r"name a model; there is bert-small.*, gpt-small"):
        several.view()


@pytest.mark.parametrize("content", ['{"format": 1}', '{"format": 3}', '{"format": "x"}', "{}"])
def test_store_of_another_format_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(
        UserError, match="reads format 2; open it with the version that wrote it, or run the analysis again"
    ):
        store.open(tmp_path)


def test_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; make a store with"):
        store.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no store\.json"):
        store.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        store.open(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no store of results; name another folder"):
        store.create(tmp_path / "other")


def test_unwritable_folder_is_named_and_left_unchanged(path: Path) -> None:
    run = runs.new_run(path, {})
    folder = path / "runs" / run / "shards"
    frames = synthetic.made_frames(SIZE, range(1))
    shutil.rmtree(folder)
    folder.write_text("in the way")
    with pytest.raises(UserError, match=r"results cannot be written .*what is stored is kept"):
        write_shard(path, run, *frames)
    assert len(list(list_shards(path))) == 2
