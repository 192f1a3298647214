"""A reader that starts from results.duckdb: the same answers as from shards, no lock, and no way to the file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store import schema, snapshot
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.sandbox import Sandbox
from knscope.store.shards import list_shards, verify
from knscope.store.view import View
from tests.store import synthetic
from tests.store.made import make

VIEW = View(synthetic.MODELS[0], "amig", synthetic.LANGS, taus=(("en", 0.1),))
NAMES = ("queries", "kn", "likn", "layer_hist", "overlap", "dkn", "dkn_rate", "dkn_layers", "dkn_service")


@pytest.fixture(scope="module")
def partly(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose snapshot lacks the last shard."""
    path = shutil.copytree(made, tmp_path_factory.mktemp("base") / "a.knstore")
    *_, last = list_shards(path)
    aside = last.rename(path.parent / last.name)
    snapshot.publish(path)
    aside.rename(last)
    return path


@pytest.fixture
def based(partly: Path) -> Iterator[Reader]:
    with store.open(partly) as opened:
        assert starts_from_snapshot(opened)
        yield opened


def starts_from_snapshot(reader: Reader) -> bool:
    return "base" in reader.sql("SELECT database_name AS name FROM duckdb_databases()")["name"]


def same(one: Reader, other: Reader, view: View, name: str) -> None:
    left, right = getattr(one, name)(view), getattr(other, name)(view)
    order = [column for column, kind in left.schema.items() if not kind.is_float()]
    assert left.height
    assert_frame_equal(left.sort(order), right.sort(order), rel_tol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_one_that_reads_every_shard(reader: Reader, based: Reader, name: str) -> None:
    same(reader, based, VIEW, name)


def test_it_knows_the_same_keys_and_dense_scores_and_goes_below_the_floor_alike(made: Path, based: Reader) -> None:
    with store.open(made) as reader:
        for table in ("prediction", "attribution", "scan", "edit", "claim"):
            assert based.keys(table) == reader.keys(table)
        for key in reader.keys("attribution"):
            assert np.array_equal(based.dense(key), reader.dense(key))
        same(reader, based, VIEW.with_tau("en", 0.01), "kn")
        same(reader, based, VIEW.with_tau("en", 0.01), "layer_hist")


def test_it_holds_no_lock_and_a_newer_snapshot_changes_nothing(partly: Path, based: Reader) -> None:
    ask = "import fcntl, sys\nfor path in sys.argv[1:]: fcntl.lockf(open(path, 'rb+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    files = [str(path) for path in partly.rglob("*") if path.is_file()]
    assert subprocess.run([sys.executable, "-c", ask, *files], check=False).returncode == 0
    before = based.dkn(VIEW)
    kept = (partly / snapshot.SNAPSHOT).read_bytes()
    (partly / snapshot.SNAPSHOT).write_bytes(b"")
    try:
        assert_frame_equal(based.dkn(VIEW), before)
    finally:
        (partly / snapshot.SNAPSHOT).write_bytes(kept)


def test_a_snapshot_that_does_not_fit_is_passed_over(partly: Path, tmp_path: Path) -> None:
    def opened(path: Path) -> tuple[bool, int]:
        with store.open(path) as reader:
            return starts_from_snapshot(reader), len(reader.keys("attribution"))

    path = shutil.copytree(partly, tmp_path / "a.knstore")
    (began, whole), file = opened(path), path / snapshot.SNAPSHOT
    assert began
    with duckdb.connect(str(file)) as other:
        other.execute("UPDATE held SET tables = 'of another version'")
    assert opened(path) == (False, whole)
    file.write_bytes(b"no database")
    assert opened(path) == (False, whole)
    file.write_bytes((partly / snapshot.SNAPSHOT).read_bytes())
    shutil.rmtree(next(iter(list_shards(path))))
    began, left = opened(path)
    assert not began
    assert left < whole


@pytest.mark.parametrize("name", ["schema.sql", "derived.sql", "macros.sql"])
def test_a_snapshot_derived_by_other_rules_is_another_version(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    now, real = schema.fingerprint(), schema.text
    monkeypatch.setattr(schema, "text", lambda file: real(file) + "-- changed" * (file == name))
    schema.fingerprint.cache_clear()
    assert schema.fingerprint() != now
    monkeypatch.undo()
    schema.fingerprint.cache_clear()


def test_the_copy_cannot_be_reached_by_sql(based: Reader) -> None:
    place = Path(str(based.sql("SELECT path FROM duckdb_databases() WHERE database_name = 'base'").item()))
    temporary = place.parent.parent
    before = sorted(temporary.iterdir())
    sandbox = Sandbox(based)
    for file in (place, f"{place}.wal", f"{place}.tmp"):
        for way in (
            f"WITH d AS (COPY (SELECT 1) TO '{file}') SELECT 1",
            f"WITH d AS (COPY (SELECT 1 AS a, 2 AS b) TO '{file}' (FORMAT parquet, PARTITION_BY a)) SELECT 1",
            f"WITH d AS (COPY (SELECT 1) TO '{file}' (PER_THREAD_OUTPUT)) SELECT 1",
            f"ATTACH '{file}' AS again",
            "DETACH base",
            "USE base",
            "WITH d AS (DELETE FROM base.query RETURNING query) FROM d",
        ):
            with pytest.raises(UserError):
                sandbox.run(way)
    assert sorted(temporary.iterdir()) == before
    assert based.queries(VIEW).height


@pytest.mark.parametrize(
    "name", ["s[1] {a,b}*", "s?x=1", 'it\'s "so"\n50%20', "back\\slash", "md:x", "lang=en/key=2/s"]
)
def test_a_store_works_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    folder = make(Path(name), facts=1).path
    with store.open(folder) as reader:
        assert not reader.damaged
        rows = reader.sql("SELECT count(*) FROM score").item()
    snapshot.publish(folder)
    with store.open(folder) as reader:
        assert reader.generation == 1, "not started from results.duckdb"
        assert reader.sql("SELECT count(*) FROM score").item() == rows > 0
    assert set(verify(folder).values()) == {""}
