"""Shards: all of one or none, every kind of damage detected and named, many made few without anybody noticing."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store import arrivals, compaction, ledger, parquet, runs, shards
from knscope.store.dense import DamagedShardError
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.shards import list_shards
from knscope.store.view import View
from tests.store import synthetic, writer

SIZE = synthetic.Size(facts=12, models=synthetic.MODELS[:1], methods=("amig",), langs=("en", "zh"), shard_facts=3)
VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.build(tmp_path_factory.mktemp("built") / "a.knstore", SIZE)


@pytest.fixture
def path(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "a.knstore")


def answers(reader: Reader) -> list[pl.DataFrame]:
    asked = [getattr(reader, name)(VIEW) for name in ("queries", "kn", "likn", "dkn")]
    return [frame.sort(frame.columns) for frame in asked]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("score.parquet", flip, id="bit-flipped rows"),
        pytest.param("score.parquet", cut, id="truncated rows"),
        pytest.param("query.parquet", Path.unlink, id="deleted rows"),
        pytest.param("dense.npy", flip, id="bit-flipped scores"),
        pytest.param("dense.npy", cut, id="truncated scores"),
        pytest.param("dense.npy", Path.unlink, id="deleted scores"),
        pytest.param("manifest.json", cut, id="truncated manifest"),
    ],
)
def test_damaged_file_is_named_and_the_other_shards_are_read(
    path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    hurt = next(iter(shards.list_shards(path)))
    damage(hurt / name)
    report = shards.verify(path)
    bad = {shard: why for shard, why in report.items() if why}
    assert list(bad) == [str(hurt.relative_to(path / "runs"))]
    assert name in bad[next(iter(bad))]
    with Reader(path, dense="rows") as reader:
        assert [str(hurt)] == list(reader.damaged)
        assert reader.queries(VIEW)["fact"].n_unique() == 9


def test_unreadable_results_are_reported_as_missing(path: Path) -> None:
    with store.open(path) as reader:
        assert reader.unreadable() == ""
    for shard in shards.list_shards(path):
        cut(shard / "manifest.json")
    with store.open(path) as reader, pytest.raises(UserError, match=r"shards cannot be read.*knscope store verify"):
        reader.kn(VIEW)


def test_shard_is_read_once_all_its_files_are_visible(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "EVERY", 0.0)
    here, *_ = list_shards(path)
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        aside = here.rename(tmp_path / "aside")
        with store.open(path) as reader:
            before = reader.keys("attribution")
            here.mkdir()
            for file in order(list(aside.iterdir())):
                assert not reader.poll()
                assert reader.keys("attribution") == before
                shutil.copy(file, here)
            assert str(here) in reader.damaged
            assert reader.poll()
            assert reader.keys("attribution") > before
            assert str(here) not in reader.damaged
        shutil.rmtree(aside)


def test_deleted_shard_is_named(path: Path) -> None:
    gone = list(shards.list_shards(path))[1]
    shutil.rmtree(gone)
    assert [name for name, why in shards.verify(path).items() if why] == [str(gone.relative_to(path / "runs"))]
    with store.open(path) as reader:
        assert "deleted" in reader.damaged[str(gone)]


def test_scores_that_changed_on_disk_are_refused_when_they_are_read(path: Path) -> None:
    hurt = next(iter(shards.list_shards(path)))
    key = pl.read_parquet(hurt / "attribution.parquet")["key"][0]
    with store.open(path) as reader:
        before = reader.dense(key).copy()
        matrix = np.load(hurt / "dense.npy")
        matrix[0, 7] += 1
        np.save(hurt / "dense.npy", matrix)
        with pytest.raises(UserError, match=r"dense.npy: row 0 is not what was written.*run the analysis again"):
            reader.dense(key)
        assert str(hurt) in reader.damaged
        # computed again by somebody: the good copy is found
        whole = synthetic.made_frames(SIZE, range(SIZE.facts))
        shards.write_shard(path, runs.new_run(path, {}), *whole)
        reader.poll()
        assert (reader.dense(key) == before).all()


def test_shards_set_aside_are_kept_and_not_read(path: Path) -> None:
    hurt = next(iter(shards.list_shards(path)))
    flip(hurt / "score.parquet")
    with store.open(path) as reader:
        assert shards.set_aside(reader.damaged) == 1
    assert not any(shards.verify(path).values())
    assert hurt.with_name(f".damaged-{hurt.name}").is_dir()
    with store.open(path) as reader:
        assert not reader.damaged


def test_half_written_shards_are_not_read(path: Path) -> None:
    whole = next(iter(shards.list_shards(path)))
    shutil.copytree(whole, whole.with_name(f".tmp-{whole.name}1"))
    assert len(shards.verify(path)) == 4


def test_clock_that_goes_backwards_loses_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**15, 0, -(10**13)))
    monkeypatch.setattr(shards.time, "time_ns", lambda: next(now))
    monkeypatch.setattr(runs.time, "time", lambda: next(now) / 1e6)
    path = synthetic.build(tmp_path / "a.knstore", SIZE)
    with store.open(path) as reader:
        assert reader.queries(VIEW)["fact"].n_unique() == 12
    assert not any(shards.verify(path).values())


def test_second_copy_of_a_shard_changes_nothing(path: Path) -> None:
    with store.open(path) as reader:
        expected = answers(reader)
        copies = synthetic.made_frames(SIZE, range(3, 9))
        shards.write_shard(path, runs.new_run(path, {}), *copies)
        reader.poll()
        for before, after in zip(expected, answers(reader), strict=True):
            assert_frame_equal(before, after)
    with store.open(path) as both:
        for before, after in zip(expected, answers(both), strict=True):
            assert_frame_equal(before, after)


def test_frames_of_another_schema_are_refused_before_writing(path: Path) -> None:
    run = runs.new_run(path, {})
    with pytest.raises(ValueError, match="no table of the store"):
        shards.write_shard(path, run, {"nonsense": pl.DataFrame({"a": [1]})})
    with pytest.raises(ValueError, match="columns"):
        shards.write_shard(path, run, {"method": pl.DataFrame({"method": ["a"], "colour": ["red"]})})
    assert not list((path / "runs" / run / "shards").iterdir())


def test_writer_does_not_recreate_a_deleted_store(path: Path, tmp_path: Path) -> None:
    run = runs.new_run(path, {})
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="No such file"):
        shards.write_shard(path, run, *synthetic.made_frames(SIZE, range(1)))
    assert not path.exists()


def rewritten(shard: Path, table: str, rows: pa.Table) -> None:
    """Put other rows into a shard, with the checksum they have."""
    pq.write_table(rows, shard / f"{table}.parquet")
    manifest = json.loads((shard / "manifest.json").read_text())
    manifest["sha256"][f"{table}.parquet"] = hashlib.sha256((shard / f"{table}.parquet").read_bytes()).hexdigest()
    (shard / "manifest.json").write_text(json.dumps(manifest))


def test_a_column_that_older_shards_lack_is_null_in_them(path: Path) -> None:
    irrelevant = {"model": "m", "fact": "f", "other": "g", "same_relation": True, "kind": "same answer"}
    edit = {"model": "m", "set": "s", "query": "q", "operation": "suppress", "rerouted": True}
    given = {"irrelevant": irrelevant, "edit": edit}
    frames = {name: synthetic.frame(name, [row]) for name, row in given.items()}
    shards.write_shard(path, runs.new_run(path, {}), frames)
    for table, columns in parquet.LATER.items():
        old = next(each for each in shards.list_shards(path) if (each / f"{table}.parquet").exists())
        before = shards.read_shard(old).tables[table]
        rewritten(old, table, before.drop_columns(list(columns)))
        found = shards.read_shard(old).tables[table]
        assert found.schema == before.schema and found.drop_columns(list(columns)) == before.drop_columns(list(columns))
        assert all(found[name].null_count == found.num_rows for name in columns)


def test_shards_of_another_version_are_named_and_not_read(path: Path) -> None:
    hurt = next(iter(shards.list_shards(path)))
    rewritten(hurt, "method", pl.read_parquet(hurt / "method.parquet").with_columns(colour=pl.lit("red")).to_arrow())
    with pytest.raises(DamagedShardError, match="other columns than this version"):
        shards.read_shard(hurt)


def test_compaction_changes_no_answer_of_old_or_new_readers(path: Path) -> None:
    with store.open(path) as old:
        expected = answers(old)
        key = old.sql("SELECT key FROM attribution LIMIT 1").item()
        dense = old.dense(key).copy()
        before, after = compaction.compact(path)
        assert (before, after) == (4, 2)  # the finished run's three are one
        assert not any(shards.verify(path).values())
        assert (old.dense(key) == dense).all()
        old.poll()
        with store.open(path) as new:
            for reader in (old, new):
                assert not reader.damaged
                assert (reader.dense(key) == dense).all()
                for one, other in zip(expected, answers(reader), strict=True):
                    assert_frame_equal(one, other)
    assert compaction.compact(path) == (2, 2)


def test_merging_run_leaves_few_shards_and_rewrites_results_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MANY", 4)
    written, write = list[int](), compaction.write_shard

    def counted(place: Path, run: str, tables: Any, *given: Any, **named: Any) -> str:
        written.append(tables["attribution"].num_rows)
        return write(place, run, tables, *given, **named)

    monkeypatch.setattr(compaction, "write_shard", counted)
    path = store.create(tmp_path / "long.knstore")
    run = runs.new_run(path, {})
    merging = compaction.Merging(path, run)
    most = results = 0
    for fact in range(32):
        frames, dense = synthetic.made_frames(SIZE, range(fact, fact + 1))
        results += frames["attribution"].height
        shards.write_shard(path, run, frames, dense)
        merging.look()
        most = max(most, len(list(shards.list_shards(path))))
    assert most <= 4 + 3  # those that are new, and one of each size: 4, 8 and 16 facts
    assert results <= sum(written) <= 4 * results  # 4 and 8, 16 and 32 facts together
    with store.open(path) as reader:
        assert reader.sql("SELECT count(*) FROM attribution").item() == results and not reader.damaged


def test_compaction_leaves_damaged_shards_alone(path: Path) -> None:
    hurt = next(iter(shards.list_shards(path)))
    flip(hurt / "score.parquet")
    compaction.compact(path)
    assert hurt.is_dir()
    assert [name for name, why in shards.verify(path).items() if why] == [str(hurt.relative_to(path / "runs"))]


def test_compaction_finishes_what_a_killed_one_began(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "_remove", lambda shard: None)
        compaction.compact(path)
    assert len(list(shards.list_shards(path))) == 5
    with store.open(path) as reader:
        assert reader.queries(VIEW)["fact"].n_unique() == 12
        assert reader.sql("SELECT count(*) - count(DISTINCT key) FROM attribution").item() == 0
    compaction.compact(path)
    assert len(list(shards.list_shards(path))) == 2


def test_compaction_removes_old_leftovers_of_killed_writers(path: Path) -> None:
    import os

    folder = next(iter(shards.list_shards(path))).parent
    for name, age in (("old", 2 * compaction.ABANDONED), ("new", 0.0)):
        (folder / f".tmp-{name}").mkdir()
        os.utime(folder / f".tmp-{name}", (time.time() - age, time.time() - age))
    compaction.compact(path)
    assert [entry.name for entry in folder.glob(".tmp-*")] == [".tmp-new"]


def test_compaction_leaves_large_shards_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "BYTES", 1)
    assert compaction.compact(path) == (4, 4)
    assert not ledger.deleted(path)


def test_shards_without_site_rows_are_whole_and_merge(tmp_path: Path) -> None:
    """A worker writes its model's sites once, with its first results."""
    place = store.create(tmp_path / "two.knstore")
    run = runs.new_run(place, {})
    for number in range(3):
        frames, dense = synthetic.made_frames(writer.SIZE, range(number, number + 1))
        shards.write_shard(
            place, run, {n: f for n, f in frames.items() if not number or n not in ("model", "site")}, dense
        )
    assert not any(shards.verify(place).values())
    assert compaction.compact(place) == (3, 1)
    assert not any(shards.verify(place).values())
