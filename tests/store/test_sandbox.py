"""Ad-hoc SQL: everything stored can be read, there is no way out, and every statement ends when it should."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

import knscope.store as store
from knscope.store import runs, snapshot
from knscope.store.errors import UserError
from knscope.store.sandbox import Sandbox
from knscope.store.shards import write_shard
from tests.store import statements, synthetic

ENDLESS = "SELECT count(*) FROM range(100_000_000) a, range(100_000_000) b WHERE a.range + b.range = 7"
WITHIN_ONE_ROW = "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))"
COUNTS = "SELECT (SELECT count(*) FROM query) AS queries, (SELECT count(*) FROM method) AS methods"
secret_rows = pl.DataFrame({"secret": ["seen"]})


@pytest.fixture(scope="module")
def published(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose results.duckdb holds everything."""
    path = shutil.copytree(made, tmp_path_factory.mktemp("published") / "a.knstore")
    snapshot.publish(path)
    return path


@pytest.fixture(scope="module", params=["results.duckdb", "shards"])
def sandbox(request: pytest.FixtureRequest, made: Path, published: Path) -> Iterator[Sandbox]:
    """SQL over a store, with and without results.duckdb: the process opens one or the other."""
    with Sandbox(published if request.param == "results.duckdb" else made, memory_limit="300MB") as opened:
        yield opened


def process_of(sandbox: Sandbox) -> psutil.Process:
    assert sandbox._process is not None
    return psutil.Process(sandbox._process.pid)


def test_lists_of_hostile_statements_are_complete() -> None:
    assert len({statement for group in statements.WAYS_OUT.values() for statement in group}) >= 250
    assert len({statement for group in statements.BOMBS.values() for statement in group}) >= 80


def test_sandbox_refuses_statements_that_leave_the_store(
    made: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_frame = secret_rows  # noqa: F841 - a variable that DuckDB could see
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    file = out / "secret.csv"
    for folder in (out, temporary):
        folder.mkdir()
    file.write_text("secret\nseen\n")
    monkeypatch.setenv("KNSCOPE_SECRET", "seen")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(out)
    for path in (published, made):
        with Sandbox(path, memory_limit="300MB") as sandbox:
            before, settings = sandbox.run(COUNTS).frame, sandbox.run("FROM duckdb_settings() ORDER BY name").frame
            bases = sandbox.run("SELECT path FROM duckdb_databases() WHERE database_name = 'base'").frame["path"]
            places = {"{file}": str(file), "{out}": str(out), "{scratch}": bases[0] if len(bases) else f"{temporary}/x"}
            process = process_of(sandbox)
            opened = {}
            for way in (way for group in statements.WAYS_OUT.values() for way in group):
                statement = way
                for name, place in places.items():
                    statement = statement.replace(name, place)
                try:
                    opened[way] = sandbox.run(statement, seconds=20).frame.rows()
                except UserError as refused:
                    text = str(refused)
                    assert text and "seen" not in text and "Traceback" not in text
            assert not opened
            assert process.is_running() and process_of(sandbox) == process, "one of them ended the process"
            assert sandbox.run(COUNTS).frame.equals(before)
            assert sandbox.run("FROM duckdb_settings() ORDER BY name").frame.equals(settings)
            for pointer in statements.POINTERS:
                with pytest.raises(UserError):
                    sandbox.run(pointer)
            assert sandbox.run(COUNTS).frame.equals(before)
    assert [path.name for path in out.iterdir()] == ["secret.csv"]
    assert not [path for path in temporary.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", statements.BOMBS)
def test_sandbox_ends_every_bomb(published: Path, kind: str) -> None:
    limit = 0.1
    with Sandbox(published, memory_limit="200MB") as sandbox:
        for bomb in statements.BOMBS[kind]:
            started = time.monotonic()
            with pytest.raises(UserError, match=r"stopped after|memory|[Dd]epth|nested|syntax|Malformed") as ended:
                sandbox.run(bomb, limit=100_000, seconds=limit)
            took = time.monotonic() - started
            assert took < 10, f"{bomb[:80]} took {took:.1f} s: {ended.value}"
        assert sandbox.run(COUNTS).frame["queries"].item() > 0


def test_sandbox_keeps_a_statement_within_its_memory(published: Path) -> None:
    with Sandbox(published, memory_limit="200MB") as sandbox:
        sandbox.run("SELECT 1")
        process, peak = process_of(sandbox), []

        def watch() -> None:
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                peak.append(process.memory_info().rss)
                time.sleep(0.005)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        with pytest.raises(UserError, match=r"memory|stopped"):
            sandbox.run("SELECT damerau_levenshtein(repeat('a', 22000), repeat('b', 22000))", seconds=20)
        sandbox.close()
        watching.join(10)
    assert max(peak) < 900 << 20  # what Python and DuckDB take themselves, 200 MB, and the slack


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM query", "DELETE is not allowed: what is stored is only read here; write one SELECT"),
        ("EXPLAIN ANALYZE DELETE FROM query", "DELETE is not allowed"),
        ("WITH d AS (DELETE FROM query RETURNING query) FROM d", "what is stored is only read here; this statement writes"),
        ("FROM read_text('/etc/hostname')", "files, network and settings are out of reach here"),
        ("SET threads = 4", "SET is not allowed"),
        ("SELECT 1; SELECT 2", "2 statements at once; run them one by one"),
        ("", "nothing to run; write one SELECT"),
        ("SELECT '\udc80'", "the statement is not UTF-8"),
        ("SELECT fact FROM nowhere", "there is no table nowhere"),
        ("SELECT error('why')", "why"),
        ("SELECT range, error('why') FROM range(100_000) WHERE range = 50_000", "why"),
    ],
)  # fmt: skip
def test_sandbox_says_why_it_refuses(sandbox: Sandbox, statement: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        sandbox.run(statement)
    assert sentence in str(refused.value)


def test_sandbox_refuses_a_result_that_is_too_large(published: Path) -> None:
    with (
        Sandbox(published) as sandbox,
        pytest.raises(UserError, match="larger than 256 MB; ask for fewer rows or columns"),
    ):
        sandbox.run("SELECT repeat('x', 10_000) FROM range(100_000)", limit=100_000)


@pytest.mark.parametrize(
    "statement",
    [
        "SHOW TABLES", "DESCRIBE query", "SUMMARIZE query", "FROM query", "VALUES (1)", "TABLE query", "(SELECT 1)", "SELECT 1 -- one",
        "EXPLAIN FROM query", "EXPLAIN ANALYZE FROM query", "EXPLAIN (ANALYZE, FORMAT json) SELECT 1", "-- a plan\nEXPLAIN SELECT 1",
        "PIVOT query ON lang USING count(*)", "PIVOT query ON lang IN ('en', 'zh') USING count(*)", "UNPIVOT query ON fact",
        "FROM (PIVOT query ON lang USING count(*))", "WITH a AS (PIVOT query ON lang USING count(*)) FROM a",
        "EXPLAIN ANALYZE PIVOT query ON lang USING count(*)", "SELECT comment FROM duckdb_columns() WHERE comment IS NOT NULL",
        "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal", "SELECT 1 WHERE false", "SELECT log_odds(0.5)",
        "FROM kn('m', 'a', ['en'], [], [], [], true, MAP {'en': 0.3}, 0.5)",
    ],
)  # fmt: skip
def test_sandbox_runs_statements_that_only_read(sandbox: Sandbox, statement: str) -> None:
    sandbox.run(statement)


def test_sql_results_keep_their_types_or_become_text(sandbox: Sandbox) -> None:
    kept = sandbox.run(
        "SELECT 1 AS a, 2 AS a, sum(range) AS sum, 1.5 AS d, 2.5::FLOAT AS f, [1, 2] AS list, {'x': 1} AS struct, 'a'::BLOB AS blob, "
        "true AS b, NULL AS nothing, 170141183460469231731687303715884105727 AS large FROM range(10)"
    ).frame.row(0, named=True)
    assert kept.pop("nothing") is None and float(kept.pop("large")) > 1e38
    expected = {
        "a": 1,
        "a_2": 2,
        "sum": 45,
        "d": 1.5,
        "f": 2.5,
        "list": [1, 2],
        "struct": {"x": 1},
        "blob": b"a",
        "b": True,
    }
    assert {name: float(value) if name == "d" else value for name, value in kept.items()} == expected
    text = sandbox.run(
        "SELECT INTERVAL 1 DAY, DATE '290000-01-01', TIMESTAMPTZ '2020-01-01 00:00:00+00', TIME '24:00:00', '101'::BIT, 12::BIGNUM, "
        "union_value(k := 1), 'x'::ENUM ('x'), 1.5::VARIANT, [INTERVAL 1 DAY], uuid(), '{}'::JSON, {'d': DATE '2020-01-01'}, "
        "MAP {[1]: 'a'}"
    ).frame
    assert set(text.dtypes) == {pl.String}
    assert text.row(0)[:2] == ("1 day", "290000-01-01")
    sandbox.run("FROM test_all_types()").frame.write_parquet(io.BytesIO())


def test_sandbox_says_that_there_are_more_rows_without_fetching_them(sandbox: Sandbox) -> None:
    answer = sandbox.run("FROM range(10_000_000_000)", limit=100)
    assert (answer.frame.height, answer.more) == (100, True)
    assert not sandbox.run("FROM range(100)", limit=100).more
    assert sandbox.run("FROM range(10_000)", limit=sys.maxsize).frame.height == 10_000


@pytest.mark.parametrize(
    ("statement", "delay"), [(ENDLESS, 0.0), (ENDLESS, 0.01), (ENDLESS, 0.3), (WITHIN_ONE_ROW, 0.3)]
)
def test_cancel_stops_a_statement_at_any_moment(published: Path, statement: str, delay: float) -> None:
    """Also before the process has opened the store."""
    with Sandbox(published) as sandbox:
        ended = []

        def run() -> None:
            try:
                sandbox.run(statement)
            except UserError as error:
                ended.append((str(error), time.monotonic()))

        thread = threading.Thread(target=run)
        thread.start()
        while not sandbox.busy:
            time.sleep(0.0005)
        time.sleep(delay)
        asked = time.monotonic()
        sandbox.cancel()
        thread.join(10)
        assert ended[0][0] == "cancelled"
        assert ended[0][1] - asked < 0.2
        assert sandbox.run("SELECT 1").frame.item() == 1


def test_cancel_without_a_statement_changes_nothing(sandbox: Sandbox) -> None:
    sandbox.cancel()
    assert sandbox.run("SELECT 1").frame.item() == 1


def test_statement_ends_at_its_time_limit(published: Path) -> None:
    with Sandbox(published) as sandbox:
        sandbox.run("SELECT 1")
        started = time.monotonic()
        with pytest.raises(UserError, match=r"stopped after 0\.2 s; ask for less"):
            sandbox.run(WITHIN_ONE_ROW, seconds=0.2)
        assert time.monotonic() - started < 1


def test_close_ends_the_process_while_a_statement_runs(published: Path) -> None:
    sandbox = Sandbox(published)
    sandbox.run("SELECT 1")
    process = process_of(sandbox)

    def run() -> None:
        with pytest.raises(UserError):
            sandbox.run(ENDLESS)

    thread = threading.Thread(target=run)
    thread.start()
    while not sandbox.busy:
        time.sleep(0.001)
    started = time.monotonic()
    sandbox.close()
    assert time.monotonic() - started < 0.2
    assert process.wait(5) in (None, -9)
    thread.join(5)
    assert not thread.is_alive()


def test_sql_process_ends_with_its_killed_caller(published: Path) -> None:
    code = (
        "import sys, threading, time\n"
        "from knscope.store.sandbox import Sandbox\n"
        "sandbox = Sandbox(sys.argv[1])\n"
        "sandbox.run('SELECT 1')\n"
        "threading.Thread(target=sandbox.run, args=(sys.argv[2],), daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "print(sandbox._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(published), ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        process = psutil.Process(int(caller.stdout.readline()))
        assert process.is_running()
        caller.kill()
    process.wait(5)


def test_sandbox_takes_the_memory_limit_of_a_reader(published: Path) -> None:
    with store.open(published, memory_limit="123MB") as reader, Sandbox(reader) as sandbox:
        limit = sandbox.run("SELECT parse_formatted_bytes(current_setting('memory_limit'))").frame.item()
        assert limit == pytest.approx(123_000_000, rel=0.01)


def test_statements_see_results_that_arrive(tmp_path: Path) -> None:
    """First from results.duckdb, then from shards, then from shards that the same process takes in."""
    size = synthetic.Size(facts=3, models=synthetic.MODELS[:1], methods=("amig",))
    path = synthetic.build(tmp_path / "a.knstore", size)
    snapshot.publish(path)
    seen = []
    with Sandbox(path) as sandbox:
        for first in (3, 5, 7):
            seen.append((sandbox.run("SELECT count(DISTINCT fact) FROM query").frame.item(), process_of(sandbox).pid))
            write_shard(path, runs.new_run(path, {}), *synthetic.made_frames(size, range(first, first + 2)))
        seen.append((sandbox.run("SELECT count(DISTINCT fact) FROM query").frame.item(), process_of(sandbox).pid))
    assert [facts for facts, _ in seen] == [3, 5, 7, 9]
    assert seen[0][1] != seen[1][1] == seen[2][1] == seen[3][1]


def test_sandbox_says_why_a_store_cannot_be_opened(tmp_path: Path) -> None:
    with Sandbox(tmp_path) as sandbox, pytest.raises(UserError, match="no store of results"):
        sandbox.run("SELECT 1")


def test_a_warm_sandbox_answers_a_small_query_at_once(published: Path) -> None:
    with Sandbox(published) as sandbox:
        sandbox.run("SELECT 1")
        took = []
        for _ in range(20):
            before = os.times().elapsed
            sandbox.run("SELECT lang, count(*) FROM query GROUP BY ALL")
            took.append(os.times().elapsed - before)
    assert min(took) <= 0.03


def test_sql_command_imports_neither_polars_nor_numpy(published: Path) -> None:
    code = (
        "import sys\n"
        "from knscope.tui.cli import run_app\n"
        "assert run_app(['sql', sys.argv[1], 'SELECT 42 AS a']) == 0\n"
        "print([name for name in ('polars', 'numpy', 'typer', 'duckdb') if name in sys.modules])\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(published)], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["a", "42", "[]"]
