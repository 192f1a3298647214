"""Ad-hoc SQL: everything stored can be read, and there is no way out. The ways tried are all of those found in DuckDB's own lists of
statements and functions that write, reach files, network or settings, or see the program that runs it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from knscope import store
from knscope.store import snapshot
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.sandbox import Sandbox

WRITES = (
    "DELETE FROM query",
    "INSERT INTO method VALUES ('a', '{}', 1)",
    "UPDATE query SET fact = 'x'",
    "TRUNCATE query",
    "MERGE INTO method USING (SELECT 'a' AS m) s ON false WHEN NOT MATCHED THEN INSERT VALUES (m, '{}', 1)",
    "DROP TABLE query",
    "DROP MACRO TABLE kn",
    "ALTER TABLE query ADD COLUMN x INTEGER",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE MACRO log_odds(p) AS 1",
    "CREATE TEMP MACRO f(a) AS a",
    "CREATE VIEW x AS SELECT 1",
    "CREATE SEQUENCE x",
    "CREATE INDEX x ON query (fact)",
    "CREATE SCHEMA x",
    "CREATE TYPE x AS ENUM ('a')",
    "CREATE SECRET (TYPE http, BEARER_TOKEN 'a')",
    "COMMENT ON TABLE query IS 'x'",
    "WITH d AS (DELETE FROM query RETURNING query) SELECT count(*) FROM d",
    "WITH d AS (INSERT INTO method VALUES ('a', '{}', 1) RETURNING method) FROM d",
    "WITH d AS (UPDATE query SET fact = 'x' RETURNING query) SELECT count(*) FROM d",
    "EXPLAIN ANALYZE DELETE FROM query",
    "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
    "FROM query('DELETE FROM query')",
    "FROM query('SELECT 1; DELETE FROM query')",
    "PREPARE x AS DELETE FROM query",
    "EXECUTE x",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "VACUUM",
    "ANALYZE",
    "CHECKPOINT",
    "FROM force_checkpoint()",
)
FILES = (
    "COPY query TO '{out}/out.csv'",
    "COPY (SELECT 1) TO '{out}/out.parquet'",
    "COPY query FROM '{file}'",
    "WITH d AS (COPY query TO '{out}/out.csv') SELECT 1",
    "EXPLAIN ANALYZE COPY query TO '{out}/out.csv'",
    "EXPORT DATABASE '{out}/all'",
    "IMPORT DATABASE '{out}/all'",
    "ATTACH '{out}/other.duckdb'",
    "ATTACH '{out}/other.duckdb' AS o (READ_ONLY)",
    "USE memory",
    "DETACH memory",
    "FROM '{file}'",
    "FROM read_csv('{file}')",
    "FROM read_text('{file}')",
    "FROM read_blob('{file}')",
    "FROM read_json('{file}')",
    "FROM read_parquet('{file}')",
    "FROM read_duckdb('{file}')",
    "FROM sniff_csv('{file}')",
    "FROM parquet_metadata('{file}')",
    "FROM parquet_schema('{file}')",
    "FROM glob('{out}/*')",
    "SELECT (SELECT count(*) FROM read_text('{file}'))",
    "SELECT 1 WHERE EXISTS (FROM glob('{out}/*'))",
    "FROM query('FROM read_text(''{file}'')')",
    "FROM query_table('{file}')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{file}'')'))",
    "FROM 'http://127.0.0.1:9/x.parquet'",
    "FROM read_csv('https://127.0.0.1:9/x.csv')",
    "FROM 's3://bucket/x.parquet'",
    "ATTACH 'quack:127.0.0.1'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL '{out}/x.duckdb_extension'",
    "UPDATE EXTENSIONS",
    "FROM duckdb_secrets()",
    "FROM which_secret('a', 'b')",
)
SETTINGS = (
    "SET memory_limit = '100GB'",
    "SET GLOBAL enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET allowed_directories = ['/']",
    "SET threads = 64",
    "SET temp_directory = '{out}'",
    "SET VARIABLE x = 1",
    "SET schema = 'main'",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit = '100GB'",
    "CALL enable_logging()",
    "FROM enable_logging(storage := 'file', storage_config := {'path': '{out}/log'})",
    "FROM enable_logging()",
    "FROM disable_logging()",
    "FROM enable_profiling()",
    "FROM disable_profiling()",
    "SELECT set_config('threads', '64')",
)
OUTSIDE = (
    "FROM secret_frame",
    "FROM secret_rows",
    "SELECT * FROM frame",
    "SELECT getenv('KNSCOPE_SECRET')",
    "FROM python_map_function((SELECT 1))",
    "FROM pandas_scan(140000000)",
    "FROM arrow_scan(140000000, 140000000, 140000000)",
    "FROM arrow_scan_dumb(140000000, 140000000, 140000000)",
    "FROM python_arrow_scan(140000000)",
    "FROM register_external_resource_type('x')",
    "SELECT system('true')",
    "SELECT shell('true')",
)
SEVERAL = ("SELECT 1; SELECT 2", "SELECT 1; DROP TABLE query", ";;", "")
secret_rows = pl.DataFrame({"secret": ["seen"]})


@pytest.fixture(scope="module")
def mine(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader that has a snapshot's copy attached: one more thing that must be out of reach."""
    path = shutil.copytree(made, tmp_path_factory.mktemp("mine") / "a.knstore")
    snapshot.publish(path)
    with store.open(path, memory_limit="200MB") as opened:
        yield opened


def test_there_are_at_least_sixty_ways_to_try() -> None:
    assert len({*WRITES, *FILES, *SETTINGS, *OUTSIDE, *SEVERAL}) >= 100


@pytest.mark.parametrize(
    "ways", [WRITES, FILES, SETTINGS, OUTSIDE, SEVERAL], ids=["write", "files", "settings", "outside", "several"]
)
def test_no_way_out(mine: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: tuple[str, ...]) -> None:
    secret_frame = secret_rows  # noqa: F841 - a variable that DuckDB could see
    monkeypatch.setenv("KNSCOPE_SECRET", "seen")
    file = tmp_path / "secret.csv"
    file.write_text("secret\nseen\n")
    before = mine.sql("SELECT (SELECT count(*) FROM query), (SELECT count(*) FROM method)").row(0)
    settings = mine.sql("FROM duckdb_settings()").sort("name")
    sandbox, opened = Sandbox(mine), []
    for way in ways:
        statement = way.replace("{out}", str(tmp_path)).replace("{file}", str(file))
        try:
            opened.append((way, sandbox.run(statement, seconds=5).frame))
        except UserError as refused:
            text = str(refused)
            assert text and "seen" not in text
            assert "Traceback" not in text
    assert not opened
    assert mine.sql("SELECT (SELECT count(*) FROM query), (SELECT count(*) FROM method)").row(0) == before
    assert mine.sql("FROM duckdb_settings()").sort("name").equals(settings)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM query", "DELETE is not allowed: what is stored is only read here; write one SELECT"),
        (
            "WITH d AS (DELETE FROM query RETURNING query) FROM d",
            "what is stored is only read here; this statement writes",
        ),
        ("FROM read_text('/etc/hostname')", "files, network and settings are out of reach here"),
        ("SET threads = 4", "SET is not allowed"),
        ("SELECT 1; SELECT 2", "2 statements at once; run them one by one"),
        ("", "nothing to run; write one SELECT"),
        ("SELECT fact FROM nowhere", "nowhere does not exist"),
    ],
)
def test_refusals_are_sentences(mine: Reader, statement: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Sandbox(mine).run(statement)
    assert sentence in str(refused.value)


def test_what_is_stored_can_be_read_in_every_way(mine: Reader) -> None:
    sandbox = Sandbox(mine)
    for statement in (
        "SHOW TABLES", "DESCRIBE query", "SUMMARIZE query", "FROM query", "VALUES (1)", "EXPLAIN FROM query",
        "SELECT comment FROM duckdb_columns()",
        "PIVOT query ON lang IN ('en', 'zh') USING count(*)", "SELECT 1 AS a, 2 AS a", "SELECT INTERVAL 1 DAY, uuid(), '{}'::JSON",
        "SELECT [1, 2], {'a': 1}, MAP {'a': 1}", "SELECT 1 WHERE false", "SELECT 1.5::DECIMAL(4, 2), 'a'::BLOB",
    ):  # fmt: skip
        sandbox.run(statement)


def test_more_rows_than_asked_for_are_said_and_not_fetched(mine: Reader) -> None:
    started = time.perf_counter()
    answer = Sandbox(mine).run("FROM range(10_000_000_000)", limit=100)
    assert (answer.frame.height, answer.more) == (100, True)
    assert time.perf_counter() - started < 5
    assert not Sandbox(mine).run("FROM range(100)", limit=100).more


ENDLESS = "SELECT count(*) FROM range(100_000_000) a, range(100_000_000) b WHERE a.range + b.range = 7"


TRICKLING = "SELECT a.range FROM range(10_000_000) a, range(100_000) b WHERE hash(a.range + b.range) % 10_000_000 = 7"
WIDE = "SELECT range(1_000) FROM range(100_000_000)"


@pytest.mark.parametrize(
    ("statement", "delay"), [(ENDLESS, 0.0), (ENDLESS, 0.001), (ENDLESS, 0.3), (TRICKLING, 0.1), (WIDE, 0.2)]
)
def test_cancelling_stops_a_statement_at_any_moment(mine: Reader, statement: str, delay: float) -> None:
    sandbox, ended = Sandbox(mine), []

    def run() -> None:
        try:
            sandbox.run(statement, limit=10_000_000)
        except UserError as error:
            ended.append((str(error), time.perf_counter()))

    thread = threading.Thread(target=run)
    thread.start()
    while not sandbox.busy:
        time.sleep(0.0005)
    time.sleep(delay)
    asked, spent = time.perf_counter(), os.times()
    sandbox.cancel()
    thread.join(10)
    after = os.times()
    assert ended[0][0] == "cancelled"
    # Of processor time, since tests may share theirs: 100 ms on two cores.
    assert (after.user - spent.user) + (after.system - spent.system) < 0.2 or ended[0][1] - asked < 0.1
    assert sandbox.run("SELECT 1").frame.item() == 1


def test_cancelling_nothing_does_not_harm_what_comes_next(mine: Reader) -> None:
    sandbox = Sandbox(mine)
    sandbox.cancel()
    assert sandbox.run("SELECT 1").frame.item() == 1


def test_a_statement_ends_when_its_time_is_up(mine: Reader) -> None:
    with pytest.raises(UserError, match=r"stopped after 0\.2 s; ask for less"):
        Sandbox(mine).run(ENDLESS, seconds=0.2)


def test_a_statement_that_needs_too_much_memory_ends_and_the_reader_lives(mine: Reader) -> None:
    with pytest.raises(UserError, match="not enough memory"):
        Sandbox(mine).run("SELECT list(range) FROM range(100_000_000)", seconds=60)
    assert Sandbox(mine).run("SELECT count(*) FROM query").frame.item() > 0


def test_results_that_arrive_are_seen_by_the_next_statement(tmp_path: Path) -> None:
    from knscope.store import runs
    from knscope.store.shards import write_shard
    from tests.store import synthetic

    size = synthetic.Size(facts=3, models=synthetic.MODELS[:1], methods=("amig",))
    path = synthetic.build(tmp_path / "a.knstore", size)
    with store.open(path) as reader:
        sandbox = Sandbox(reader)
        count = "SELECT count(DISTINCT fact) FROM query"
        assert sandbox.run(count).frame.item() == 3
        write_shard(path, runs.new_run(path, {}), *synthetic.made_frames(size, range(3, 5)))
        reader.poll()
        assert sandbox.run(count).frame.item() == 5
