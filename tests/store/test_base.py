"""A reader that starts from results.duckdb: the same answers as from shards, no lock, and no way to the file."""

from __future__ import annotations

import os
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
from knscope.store import attached, base, schema, snapshot
from knscope.store.database import LARGE, NUMBERED, prepare
from knscope.store.ingest import KEYED
from knscope.store.reader import Reader
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
def test_reader_from_a_snapshot_answers_as_one_that_reads_every_shard(reader: Reader, based: Reader, name: str) -> None:
    same(reader, based, VIEW, name)


def test_reader_from_a_snapshot_has_the_same_keys_and_dense_scores(made: Path, based: Reader) -> None:
    with store.open(made) as reader:
        for table in ("prediction", "attribution", "scan", "edit", "claim"):
            assert based.keys(table) == reader.keys(table)
        for key in reader.keys("attribution"):
            assert np.array_equal(based.dense(key), reader.dense(key))
        same(reader, based, VIEW.with_tau("en", 0.01), "kn")
        same(reader, based, VIEW.with_tau("en", 0.01), "layer_hist")


def test_reader_locks_no_snapshot_and_ignores_a_newer_one(partly: Path, based: Reader) -> None:
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a few facts with its snapshot."""
    size = synthetic.Size(facts=2, models=synthetic.MODELS[:1], methods=("amig",), langs=("en",), scanned=2)
    path = synthetic.build(tmp_path_factory.mktemp("small") / "a.knstore", size)
    snapshot.publish(path)
    return path


def changed(small: Path, place: Path, *statements: str) -> Path:
    """A copy of the store whose results.duckdb somebody changed who knows how to seal it."""
    path = shutil.copytree(small, place / "a.knstore")
    file = path / snapshot.SNAPSHOT
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{file}' AS base; USE base")
        for statement in statements:
            connection.execute(statement)
        connection.execute("USE memory; DETACH base")
    attached.seal(file)
    return path


def began(path: Path) -> tuple[bool, str]:
    """Whether a reader of the store starts from its snapshot, and why it cannot."""
    with store.open(path) as reader:
        assert reader.queries(VIEW.with_(langs=("en",))).height
        return starts_from_snapshot(reader), reader.passed_over


BESIDE = (
    "ALTER TABLE numerics RENAME TO kept; CREATE VIEW numerics AS SELECT kept.* FROM kept, (SELECT count(*) FROM {})"
)
FOREIGN = {
    "a view that reads a file": (BESIDE.format("read_text('{secret}')"), "tables"),
    "a view that writes a log": (
        BESIDE.format("enable_logging(storage := 'file', storage_config := {{'path': '{loot}'}})"),
        "tables",
    ),
    "a view that never ends": (BESIDE.format("range(100000000000) a, range(1000000) b WHERE hash(a.range + b.range) = 7"), "tables"),
    "a view in place of a large table": (
        "ALTER TABLE pair RENAME TO kept; CREATE VIEW pair AS SELECT kept.* FROM kept, range(1000000000000000) a, range(1000000) b",
        "tables",
    ),
    "a view whose binding never ends": (
        "CREATE MACRO slow() AS 5; CREATE VIEW another AS FROM range(slow()); "
        "CREATE OR REPLACE MACRO slow() AS list_sum(range(100000000000))::BIGINT",
        "tables",
    ),
    "a column that is computed": (
        "ALTER TABLE numerics RENAME TO kept; CREATE TABLE numerics (model VARCHAR, version INTEGER AS (length(model)))",
        "tables",
    ),
    "a table of another shape": ("ALTER TABLE model ADD COLUMN another INTEGER", "tables"),
    "a table too many": ("CREATE TABLE another (a INTEGER)", "tables"),
    "a type": ("CREATE TYPE another AS ENUM ('a')", "tables"),
    "a schema": ("CREATE SCHEMA another", "tables"),
    "an index": ("CREATE INDEX another ON model (model)", "tables"),
    "another macro": ("CREATE OR REPLACE MACRO drop_of(before, after) AS before", "macros"),
    "a macro too many": ("CREATE MACRO another() AS 5", "macros"),
    "another version": ("UPDATE held SET tables = 'of another version'", "made by another version"),
    "rows without end": ("INSERT INTO numerics SELECT 'm', 1 FROM range(8_000_000)", "tables"),
    "neurons that no model has": ("UPDATE score_row SET neuron = 1000000", "cannot be used"),
    "layers that no model has": ("UPDATE ablation_row SET layer_b = -1", "cannot be used"),
    "layers without end": ("UPDATE site SET width = 2147483647", "cannot be used"),
    "numbers without end": ("UPDATE attribution_row SET aq = 2147483647", ""),
    "dense rows that are none": ("UPDATE dense_place SET dense_row = NULL", ""),
    "shards elsewhere": ("UPDATE held SET shard = '../../../etc'", ""),
    "dense scores elsewhere": ("UPDATE dense_place SET shard = '../../../etc'", ""),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "why"), FOREIGN.values(), ids=FOREIGN)
def test_snapshot_of_another_version_is_ignored(small: Path, tmp_path: Path, statements: str, why: str) -> None:
    secret, loot = tmp_path / "secret", tmp_path / "loot"
    secret.write_text("words of the reader's own")
    path = changed(small, tmp_path, *statements.format(secret=secret, loot=loot).split("; "))
    with duckdb.connect(config=dict(attached.CONFIG)) as instance:
        prepare(instance)
        start = base.start(instance, path, tmp_path)
        assert not start.seen and why in start.passed_over and bool(why) == bool(start.passed_over)
        assert instance.execute("SELECT count(*) FROM duckdb_databases() WHERE NOT internal").fetchall() == [(1,)]
        assert instance.execute("SELECT count(*) FROM model").fetchall() == [(0,)]
    assert not loot.exists()


def test_snapshot_with_a_wrong_checksum_is_named_and_ignored(small: Path, tmp_path: Path) -> None:
    path = shutil.copytree(small, tmp_path / "a.knstore")
    file = path / snapshot.SNAPSHOT
    content = file.read_bytes()
    for place in (5_000, len(content) // 2, len(content) - 5):
        flipped = bytearray(content)
        flipped[place] ^= 1
        file.write_bytes(flipped)
        assert "checksum" in base.damage(path) and "store compact" in base.damage(path)
    assert began(path) == (False, base.damage(path))
    snapshot.publish(path)
    assert began(path) == (True, base.damage(path)) == (True, "")


def test_snapshot_that_knscope_did_not_write_is_named_and_ignored(small: Path, tmp_path: Path) -> None:
    path = shutil.copytree(small, tmp_path / "a.knstore")
    file = path / snapshot.SNAPSHOT
    for put in (
        Path.touch,
        lambda file: file.write_bytes(b"no database"),
        os.mkfifo,
        lambda file: file.symlink_to(small / snapshot.SNAPSHOT),
    ):
        file.unlink()
        put(file)
        assert "store compact" in base.damage(path)
    assert began(path) == (False, base.damage(path))


def test_snapshot_of_a_missing_shard_is_ignored(partly: Path, tmp_path: Path) -> None:
    path = shutil.copytree(partly, tmp_path / "a.knstore")
    shutil.rmtree(next(iter(list_shards(path))))
    assert began(path) == (False, "")


def test_snapshot_that_takes_too_long_to_open_is_ignored(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 7"
    monkeypatch.setattr(base, "SECONDS", 1)
    monkeypatch.setattr(base, "_NUMERICS", slow)
    begins, why = began(small)
    assert not begins and "cannot be used" in why


@pytest.mark.parametrize("name", ["schema.sql", "derived.sql", "macros.sql"])
def test_snapshot_version_includes_the_rules_of_derived_tables(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    now, real = schema.fingerprint(), schema.text
    monkeypatch.setattr(schema, "text", lambda file: real(file) + "-- changed" * (file == name))
    schema.fingerprint.cache_clear()
    assert schema.fingerprint() != now
    monkeypatch.undo()
    schema.fingerprint.cache_clear()


@pytest.mark.parametrize(
    "name", ["s[1] {a,b}*", "s?x=1", 'it\'s "so"\n50%20', "back\\slash", "md:x", "lang=en/key=2/s"]
)
def test_store_opens_under_any_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
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


def test_snapshot_keeps_every_child_table() -> None:
    children = {child for some in KEYED.values() for child in some}
    assert {f"{child}_row" if child in NUMBERED else child for child in children} <= set(LARGE)
