"""results.duckdb: whole or not there, explained, with the macros inside, and open to old clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest

from knscope import store
from knscope.store import schema, snapshot
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.store import synthetic

VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))
NAMES = ("kn", "likn", "layer_hist", "dkn", "dkn_rate", "queries", "factcheck")


@pytest.fixture(scope="module")
def published(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(made, tmp_path_factory.mktemp("published") / "a.knstore")
    return snapshot.publish(copy)


@pytest.fixture(scope="module")
def client(published: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(published), read_only=True)


@pytest.mark.parametrize("name", NAMES)
def test_snapshot_macros_answer_as_the_reader(reader: Reader, client: duckdb.DuckDBPyConnection, name: str) -> None:
    here = sorted(map(repr, rounded(reader.sql(reader.macro_sql(name, VIEW)).rows())))
    there = sorted(map(repr, rounded(client.execute(reader.macro_sql(name, VIEW)).fetchall())))
    assert here == there


def rounded(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Means may differ in their last bit: sums run over threads in no fixed order."""
    return [tuple(round(value, 12) if isinstance(value, float) else value for value in row) for row in rows]


def test_snapshot_explains_every_table_column_and_macro(client: duckdb.DuckDBPyConnection) -> None:
    silent = client.execute(
        "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL "
        "UNION ALL SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal "
        "UNION ALL SELECT view_name FROM duckdb_views() WHERE comment IS NULL AND NOT internal"
    ).fetchall()
    assert not silent
    macros = dict(client.execute("SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal").fetchall())
    assert macros.keys() == schema.macros().keys()
    assert all(macros.values())
    shown = {row[0] for row in client.execute("SHOW TABLES").fetchall()}
    assert schema.tables().keys() <= shown


def test_a_threshold_below_the_floor_is_an_error_that_names_it(
    reader: Reader, client: duckdb.DuckDBPyConnection
) -> None:
    for name in NAMES:
        with pytest.raises(duckdb.InvalidInputException, match=r"τ 0\.01 is below 0\.05, the floor"):
            client.execute(reader.macro_sql(name, VIEW.with_tau("en", 0.01))).fetchall()


def test_publishing_keeps_an_open_old_snapshot_and_leaves_no_other_file(published: Path) -> None:
    held = published.open("rb")
    before = os.fstat(held.fileno()).st_size
    snapshot.publish(published.parent)
    assert len(held.read()) == before
    assert os.fstat(held.fileno()).st_ino != published.stat().st_ino
    assert {path.name for path in published.parent.iterdir()} == {"results.duckdb", "runs", "store.json"}


OLD = [name for name in os.environ.get("KNSCOPE_OLD_DUCKDB", "").split(os.pathsep) if name]
"""Python interpreters with duckdb 1.x."""


@pytest.mark.skipif(
    not OLD, reason="set KNSCOPE_OLD_DUCKDB to the Python of an environment with duckdb 1.x (several: with colons)"
)
@pytest.mark.parametrize("python", OLD)
def test_older_duckdb_client_gets_the_same_counts(published: Path, python: str) -> None:
    with store.open(published.parent) as reader:
        asked = [f"SELECT count(*) FROM ({reader.macro_sql(name, VIEW)})" for name in NAMES]
        expected = [reader.sql(text).item() for text in asked]
    text = (
        "import duckdb, json, sys; c = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(json.dumps([duckdb.__version__, [c.execute(q).fetchone()[0] for q in json.loads(sys.argv[2])]]))"
    )
    said = subprocess.run(
        [python, "-c", text, str(published), json.dumps(asked)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    version, counts = json.loads(said.stdout.splitlines()[-1])
    assert version.startswith("1.")
    assert counts == expected
