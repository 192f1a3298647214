"""Kills, a full disk, two writers with the same work: nothing committed is lost, nothing partial is read, the rest goes on."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store import compaction, runs, shards
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.store import synthetic, writer

VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))


WHOLE = """SELECT count(*), count(DISTINCT key), count(*) FILTER (kept = n)
    FROM attribution LEFT JOIN (SELECT key, count(*) AS n FROM score GROUP BY ALL) USING (key) WHERE kept > 0"""


def start(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.writer", str(path), str(first), str(last)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def answers(reader: Reader) -> list[pl.DataFrame]:
    asked = [getattr(reader, name)(VIEW) for name in ("queries", "kn", "likn", "dkn")]
    return [frame.sort(frame.columns) for frame in asked]


def kill_again_and_again(tmp_path: Path, facts: int, kills: int) -> None:
    """Two writers with the same work, killed at random moments and started again, a reader beside them, compactions between."""
    rng = random.Random(0)
    path = store.create(tmp_path / "killed.knstore")
    keys: frozenset[str] = frozenset()
    with store.open(path) as reader:
        for kill in range(kills):
            last = max(2, facts * (kill + 1) // kills)
            children = [start(path, 0, last), start(path, 0, last)]
            time.sleep(rng.uniform(0.0, 0.4))
            for child in children:
                child.kill()
                child.communicate()
            reader.poll()
            assert keys <= reader.keys("attribution")
            keys = reader.keys("attribution")
            assert all(reader.dense(key).size == synthetic.N_NEURONS for key in keys)
            counts = reader.sql(WHOLE).row(0)
            assert len(set(counts)) == 1
            assert not reader.damaged
            if kill % 10 == 4:
                compaction.compact(path)
        for child in (start(path, 0, facts), start(path, 0, facts)):
            child.communicate()
        reader.poll()
        clean = store.create(tmp_path / "clean.knstore")
        shards.write_shard(clean, runs.new_run(clean, {}), *synthetic.made_frames(writer.SIZE, range(facts)))
        with store.open(clean) as expected, store.open(path) as again:
            for here in (reader, again):
                assert here.keys("attribution") == expected.keys("attribution")
                for one, other in zip(answers(here), answers(expected), strict=True):
                    assert_frame_equal(one, other)
    assert not any(shards.verify(path).values())


def test_killed_and_restarted_writers_end_in_the_same_store(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, facts=6, kills=2)


@pytest.mark.soak
def test_writers_killed_at_fifty_random_moments_lose_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, facts=60, kills=50)


def test_full_disk_is_named_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = store.create(tmp_path / "a.knstore")
    text = (
        "import resource, sys; from pathlib import Path; from knscope.store import runs, shards, snapshot\n"
        "from knscope.store.errors import UserError; from tests.store import synthetic, writer\n"
        "path = Path(sys.argv[1]); run = runs.new_run(path, {})\n"
        "small, large = (synthetic.made_frames(writer.SIZE, range(n, n + k)) for n, k in ((0, 1), (1, 30)))\n"
        "shards.write_shard(path, run, *small)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "for attempt in (lambda: shards.write_shard(path, run, *large), lambda: snapshot.publish(path)):\n"
        "    try: attempt()\n"
        "    except UserError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", text, str(path)], capture_output=True, text=True, check=False)
    lines = said.stdout.splitlines()
    assert re.search(r"results cannot be written \(.*File too large\); free space or make it writable", lines[0]), (
        said.stderr
    )
    assert "results.duckdb cannot be written" in lines[1], said.stderr
    with store.open(path) as reader:
        assert reader.queries(VIEW)["fact"].to_list() == ["fact-00000"] * 4
    left = [file.name for file in path.rglob("*") if file.name.startswith(".")]
    assert not left


def test_writer_names_a_folder_that_became_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.create(tmp_path / "a.knstore")
    run = runs.new_run(path, {})
    frames = synthetic.made_frames(writer.SIZE, range(1))
    shards.write_shard(path, run, *frames)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(store.UserError, match=r"Read-only file system.*what is stored is kept"):
        shards.write_shard(path, run, *synthetic.made_frames(writer.SIZE, range(1, 2)))
    with store.open(path) as reader:
        assert reader.queries(VIEW)["fact"].n_unique() == 1
