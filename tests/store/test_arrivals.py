"""Who looks again and again reads only what may have changed, and still sees every shard and every word of a run."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from knscope.store import compaction, files, runs
from knscope.store.reader import Reader
from knscope.store.shards import list_shards
from tests.store import made

OTHER = "other@00000002"


@pytest.fixture
def filled(tmp_path: Path) -> made.Made:
    """Three shards that nobody has touched for an hour."""
    filled = made.make(tmp_path / "filled.knstore", facts=3, per_shard=1)
    for folder in (filled.path / "runs", *filled.path.glob("runs/*/shards")):
        os.utime(folder, (time.time() - 3600, time.time() - 3600))
    return filled


def more(filled: made.Made) -> None:
    made.make(filled.path, facts=1, model=OTHER)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are read."""
    real, found = files.folders, list[Path]()

    def counted(folder: Path) -> list[str]:
        found.append(folder)
        return real(folder)

    monkeypatch.setattr(files, "folders", counted)
    return found


def test_reader_reads_no_folder_in_which_nothing_changed(filled: made.Made, looks: list[Path]) -> None:
    with Reader(filled.path) as reader:
        looks.clear()
        assert not any(reader.poll() for _ in range(5))
        assert not looks
        more(filled)
        looks.clear()
        assert reader.poll() and OTHER in reader.models()
        assert filled.path / "runs" / filled.run / "shards" not in looks


def test_reader_sees_a_shard_that_leaves_the_times_of_its_folder_as_they_are(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within the time that a file system can tell apart."""
    monkeypatch.setattr(files.Folder, "_stat", lambda self: ((1, 1, 1), 0.0))
    with Reader(filled.path) as reader:
        more(filled)
        assert reader.poll() and OTHER in reader.models()


def test_reader_sees_new_shards_on_a_disk_that_keeps_no_times_of_folders(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.Folder, "_stat", lambda self: ((1, 1, 1), 1e9))
    with Reader(filled.path) as reader:
        more(filled)
        assert not reader.poll()
        ahead, now = itertools.count(2 * files.AGAIN, 2 * files.AGAIN), time.monotonic
        monkeypatch.setattr(files.time, "monotonic", lambda: now() + next(ahead))
        assert reader.poll() and OTHER in reader.models()


def test_reader_leaves_out_a_run_whose_shards_can_wait(filled: made.Made) -> None:
    with Reader(filled.path) as reader:
        other = made.make(filled.path, facts=1, model=OTHER)
        assert not reader.poll(without=other.run)
        assert reader.poll() and reader.heard == {filled.run: 1, other.run: 2}


def test_a_shard_that_could_not_be_read_and_was_merged_since_is_not_called_damaged(
    filled: made.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(list_shards(filled.path)))
    away = tmp_path / "attribution.parquet"
    with Reader(filled.path) as whole:
        expected = whole.keys("attribution")
    shutil.move(first / away.name, away)
    with Reader(filled.path) as reader:
        assert list(reader.damaged) == [str(first)]
        shutil.move(away, first / away.name)
        compaction.compact(filled.path)
        reader.poll()
        assert not reader.damaged and reader.keys("attribution") == expected


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose records are read."""
    real, found = runs.read_run, list[str]()

    def counted(place: Path, run: str) -> runs.RunRecord:
        found.append(run)
        return real(place, run)

    monkeypatch.setattr(runs, "read_run", counted)
    return found


def test_records_are_read_again_only_of_runs_that_go_on_or_said_something(filled: made.Made, read: list[str]) -> None:
    going = runs.new_run(filled.path, {})
    ended = replace(runs.read_run(filled.path, filled.run), status="done")
    runs.write_run(filled.path, ended)
    records = runs.Records(filled.path)
    assert {one.run: one.status for one in records.read()} == {filled.run: "done", going: "queued"}
    read.clear()
    assert len(records.read()) == 2 and read == [going]
    runs.write_run(filled.path, replace(ended, status="running"))
    assert {one.status for one in records.read()} == {"queued", "running"}
    shutil.rmtree(runs.run_folder(filled.path, going))
    assert [one.run for one in records.read()] == [filled.run]


def test_records_of_runs_that_have_been_silent_for_long_are_read_when_they_speak(
    filled: made.Made, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, now = runs.Records(filled.path), time.monotonic
    records.read()
    monkeypatch.setattr(runs.time, "monotonic", lambda: now() + 2 * runs.QUIET)
    read.clear()
    assert [one.status for one in records.read()] == ["queued"] and not read
    runs.write_run(filled.path, replace(runs.read_run(filled.path, filled.run), status="running"))
    assert [one.status for one in records.read()] == ["running"]
