"""A reader that looks again and again: it reads only folders that may have changed, and still sees every shard."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from knscope.store import arrivals, compaction, files
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
    monkeypatch.setattr(arrivals._Folder, "_stat", lambda self: ((1, 1, 1), 0.0))
    with Reader(filled.path) as reader:
        more(filled)
        assert reader.poll() and OTHER in reader.models()


def test_reader_sees_new_shards_on_a_disk_that_keeps_no_times_of_folders(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals._Folder, "_stat", lambda self: ((1, 1, 1), 1e9))
    with Reader(filled.path) as reader:
        more(filled)
        assert not reader.poll()
        ahead, now = itertools.count(2 * arrivals.AGAIN, 2 * arrivals.AGAIN), time.monotonic
        monkeypatch.setattr(arrivals.time, "monotonic", lambda: now() + next(ahead))
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
