"""Compactions, publications, readers and writers of one store at the same time: nothing is lost, and none of them takes it for damage."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import queue
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from knscope.analysis.runs import job
from knscope.store import arrivals, compaction, shards, snapshot
from knscope.store.reader import Reader
from knscope.store.shards import list_shards, write_shard
from tests.store import made

COUNTS = "SELECT count(*), count(DISTINCT key), (SELECT count(*) FROM score), (SELECT count(*) FROM ablation) FROM attribution"
COINCIDENCES = 50
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def filled(tmp_path: Path) -> made.Made:
    """Four shards of one run."""
    return made.make(tmp_path / "filled.knstore", facts=4, per_shard=1)


def counts(path: Path) -> tuple[Any, ...]:
    with Reader(path) as opened:
        assert not opened.damaged
        return opened.sql(COUNTS).row(0)


def interrupted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, once: Callable[[], object], call: int) -> None:
    """Something else happens once, just before the given call of `owner.name`."""
    real, calls = getattr(owner, name), itertools.count(1)

    def later(*given: Any, **named: Any) -> Any:
        if next(calls) == call:
            once()
        return real(*given, **named)

    monkeypatch.setattr(owner, name, later)


def merge_again(filled: made.Made) -> None:
    """A shard without a result of its own comes, and all are merged."""
    write_shard(filled.path, filled.run, made.frames({"query": filled.rows["query"][:1]}))
    compaction.compact(filled.path)


@pytest.mark.parametrize(
    ("moment", "call"), [("read_shard", 1), ("read_shard", 3), ("merged", 1), ("write_shard", 1), ("_open_as", 1)]
)
def test_two_compactions_at_once_write_one_shard(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch, moment: str, call: int
) -> None:
    expected = counts(filled.path)
    interrupted(monkeypatch, compaction, moment, lambda: compaction.compact(filled.path), call)
    compaction.compact(filled.path)
    assert len(list(list_shards(filled.path))) == 1
    assert counts(filled.path) == expected and not any(shards.verify(filled.path).values())


def test_two_compactions_that_commit_at_once_leave_one_shard(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = counts(filled.path)

    def commit_first() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(compaction, "_remove", lambda shard: None)  # it does that later
            compaction.compact(filled.path)

    interrupted(monkeypatch, compaction, "write_shard", commit_first, 1)
    compaction.compact(filled.path)
    assert len(list(list_shards(filled.path))) == 5
    compaction.compact(filled.path)
    assert len(list(list_shards(filled.path))) == 1 and counts(filled.path) == expected


def test_reader_opened_during_a_merge_misses_no_result(filled: made.Made, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = counts(filled.path)
    interrupted(monkeypatch, arrivals, "load", lambda: compaction.compact(filled.path), 2)
    assert counts(filled.path) == expected


def test_dense_scores_are_found_after_two_merges(filled: made.Made, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(iter(filled.dense))

    with Reader(filled.path) as opened:
        compaction.compact(filled.path)
        real, calls = opened.poll, itertools.count(1)

        def polled(**given: Any) -> bool:
            found = real(**given)
            if next(calls) < 3:
                merge_again(filled)
            return found

        monkeypatch.setattr(opened, "poll", polled)
        assert (opened.dense(key) == filled.dense[key]).all()


def test_snapshot_published_during_merges_is_complete_and_used(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = counts(filled.path)
    interrupted(monkeypatch, snapshot, "read_shard", lambda: compaction.compact(filled.path), 2)
    interrupted(monkeypatch, snapshot, "read_shard", lambda: merge_again(filled), 5)
    place = snapshot.publish(filled.path)
    with duckdb.connect(str(place), read_only=True) as connection:
        assert connection.execute(COUNTS).fetchall() == [expected]
    monkeypatch.setattr(arrivals, "load", pytest.fail)  # a reader that starts from it reads no shard
    assert counts(filled.path) == expected


def act(way: str, folder: Path, number: int) -> str:
    """What one of the processes that coincide does; returns what it has to complain of."""
    if way == "end":
        return job._publish(folder, 1)
    if way == "compact":
        compaction.compact(folder)
        snapshot.publish(folder)
    else:
        made.make(folder, facts=6, seed=number, per_shard=1, model="written@00000003")
    return ""


def side(way: str, folders: list[Path], start: Any, said: Any) -> None:
    """Act on each store in turn, at the same time as the other processes."""
    for number, folder in enumerate(folders):
        start.wait(300)
        complaint = "it raised"
        try:
            complaint = act(way, folder, number)
        finally:
            said.put((way, complaint))


def watch(opened: Reader, base: made.Made, said: Any, ways: Sequence[str]) -> None:
    """Poll and read until all the others are done; none of them has anything to complain of."""
    least, heard = opened.sql(COUNTS).row(0), list[tuple[str, str]]()
    while len(heard) < len(ways):
        opened.poll()
        key = random.choice(list(base.dense))
        assert (opened.dense(key) == base.dense[key]).all()
        assert opened.sql(COUNTS).row(0) >= least and not opened.damaged
        with contextlib.suppress(queue.Empty):
            heard.append(said.get(timeout=0.02))
    assert sorted(heard) == sorted((way, "") for way in ways)


@pytest.mark.soak
def test_fifty_runs_that_end_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two runs end, somebody compacts, a fourth process writes and a reader looks, all at once."""
    base = made.make(tmp_path / "base.knstore", facts=36, per_shard=1)
    made.make(base.path, facts=36, per_shard=1, model="other@00000002")
    added = 6 * len(made.LANGS) * len(made.TEMPLATES)
    ways, whole = ("end", "end", "compact", "write"), counts(base.path)[0] + added
    folders = [tmp_path / f"{number}.knstore" for number in range(COINCIDENCES)]
    start, said = SPAWN.Barrier(len(ways) + 1), SPAWN.Queue()
    children = [SPAWN.Process(target=side, args=(way, folders, start, said), daemon=True) for way in ways]
    for child in children:
        child.start()
    for folder in folders:
        shutil.copytree(base.path, folder)
        with Reader(folder) as opened:
            start.wait(300)
            watch(opened, base, said, ways)
            opened.poll()
            expected = opened.sql(COUNTS).row(0)
        assert expected[0] == whole and counts(folder) == expected
        assert not any(shards.verify(folder).values())
        shutil.rmtree(folder)
    for child in children:
        child.join(60)
