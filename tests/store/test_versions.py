"""Two numerics versions in one store: the newer counts, whatever the order they come in, and nothing counts twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store import runs, snapshot
from knscope.store.reader import Reader
from knscope.store.shards import Shard, list_shards, read_shard, write_shard
from knscope.store.view import View
from tests.store import synthetic

MODEL, OTHER = synthetic.MODELS[:2]
VIEW = View(MODEL, "amig", synthetic.LANGS)
NAMES = ("queries", "kn", "layer_hist", "dkn", "dkn_rate")


def of_version(shard: Shard, version: int, model: str) -> dict[str, pa.Table]:
    """The shard's results of a model as that version would store them: under other keys, with other values."""
    tables = {}
    for name, rows in shard.tables.items():
        if "model" in rows.column_names:
            rows = rows.filter(pa.compute.equal(rows["model"], model))
        if name == "method":
            rows = rows.set_column(2, "numerics_version", pa.array([version] * rows.num_rows, pa.int32()))
        if name == "prediction":
            place = rows.column_names.index("p")
            rows = rows.set_column(place, "p", pa.compute.divide(rows["p"], 2.0))
        if "key" in rows.column_names:
            keys = [f"{version}-{key}" for key in rows["key"].to_pylist()]
            rows = rows.set_column(0, "key", pa.array(keys, pa.string()))
        tables[name] = rows
    own = set(tables["attribution"]["key"].to_pylist()) | set(tables["scan"]["key"].to_pylist())
    for name in ("score", "path", "scan_neuron", "ablation"):
        if name in tables:
            tables[name] = tables[name].filter(pa.compute.is_in(tables[name]["key"], pa.array(own, pa.string())))
    return tables


def commit(path: Path, shard: Shard, version: int) -> None:
    assert shard.dense is not None
    write_shard(
        path, runs.new_run(path, {}), of_version(shard, version, MODEL), shard.dense.block(range(shard.dense.rows))
    )


def check(got: Reader, first: Shard) -> None:
    """Of MODEL only what the first shard held, once; of the other model everything."""
    keys = {key for key in got.keys("attribution") if key.startswith("2-")}
    assert keys
    assert set(got.sql("SELECT key FROM attribution WHERE model = ?", [MODEL])["key"]) == keys
    queries = got.queries(VIEW)
    assert queries["query"].is_unique().all()
    assert set(queries["query"]) == set(of_version(first, 2, MODEL)["prediction"]["query"].to_pylist())
    assert got.sql("SELECT count(*) FROM score s ANTI JOIN attribution USING (key)").item() == 0


@pytest.fixture
def mixed(made: Path, tmp_path: Path) -> tuple[Path, Shard]:
    path = shutil.copytree(made, tmp_path / "a.knstore")
    return path, read_shard(next(iter(list_shards(path))))


def test_the_newer_version_of_a_model_counts_also_when_it_comes_while_the_store_is_open(
    reader: Reader, mixed: tuple[Path, Shard]
) -> None:
    path, first = mixed
    with store.open(path) as before:
        assert_frame_equal(before.queries(VIEW), reader.queries(VIEW))
        commit(path, first, 2)
        assert before.poll()
        check(before, first)
        assert_frame_equal(before.queries(VIEW.with_(model=OTHER)), reader.queries(VIEW.with_(model=OTHER)))
        with store.open(path) as after:
            check(after, first)
            for name in NAMES:
                left, right = getattr(before, name)(VIEW), getattr(after, name)(VIEW)
                order = [column for column, kind in left.schema.items() if not kind.is_float()]
                assert_frame_equal(left.sort(order), right.sort(order), rel_tol=1e-12)
        snapshot.publish(path)
        with store.open(path) as based:
            check(based, first)
            assert based.dense(next(key for key in based.keys("attribution") if key.startswith("2-"))).size
            commit(path, first, 1)
            based.poll()
            check(based, first)


def test_snapshot_of_an_older_model_version_is_replaced(mixed: tuple[Path, Shard]) -> None:
    path, first = mixed
    snapshot.publish(path)
    commit(path, first, 2)
    with store.open(path) as based:
        check(based, first)
        assert based.extend(VIEW.with_tau("en", 0.01))
