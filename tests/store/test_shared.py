"""One store, several users and hosts: what one of them may not read or write, another clock, a shard that comes back."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from knscope import store
from knscope.store import compaction, layout, ledger, runs, shards, snapshot
from knscope.store.reader import Reader
from knscope.store.shards import list_shards
from tests.store import made


@pytest.fixture
def filled(tmp_path: Path) -> made.Made:
    """Three shards of one run, open to everybody."""
    before = os.umask(0o022)
    try:
        return made.make(tmp_path / "shared.knstore", facts=6, per_shard=2)
    finally:
        os.umask(before)


def attributions(path: Path) -> int:
    with Reader(path) as reader:
        return int(reader.sql("SELECT count(*) FROM attribution").item())


def test_returned_shard_is_not_taken_for_a_replaced_one(filled: made.Made) -> None:
    first, whole = next(iter(list_shards(filled.path))), attributions(filled.path)
    away = filled.path.parent / first.name
    first.rename(away)
    with Reader(filled.path) as reader:
        assert shards.set_aside(reader.damaged) == 1
    assert first.name not in ledger.replaced(runs.run_folder(filled.path, filled.run))
    assert not any(shards.verify(filled.path).values())  # known to be gone, and not missed again
    away.rename(first)
    assert attributions(filled.path) == whole and not any(shards.verify(filled.path).values())
    compaction.compact(filled.path)
    assert attributions(filled.path) == whole


def test_shard_called_replaced_is_removed_only_if_others_hold_all_of_it(filled: made.Made) -> None:
    whole, run = attributions(filled.path), runs.run_folder(filled.path, filled.run)
    first = next(iter(list_shards(filled.path)))
    with (run / "committed").open("a") as lines:
        lines.write(f"-{first.name}\n")
    compaction.compact(filled.path)
    assert attributions(filled.path) == whole


def test_shard_called_replaced_is_kept_for_rows_without_a_key(filled: made.Made) -> None:
    rows = {"unusable": [{"model": made.MODEL, "query": "q", "reason": "a word of two tokens", "detail": ""}]}
    alone = shards.write_shard(filled.path, filled.run, made.frames(rows))
    ledger.note(runs.run_folder(filled.path, filled.run), alone, "-")
    compaction.compact(filled.path)
    with Reader(filled.path) as reader:
        assert reader.sql("SELECT query FROM unusable").rows() == [("q",)]


def test_leftovers_of_a_killed_compaction_are_removed_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = made.make(tmp_path / "many.knstore", facts=12, per_shard=1)
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "_remove", lambda shard: None)
        compaction.compact(many.path)
    looked, read = list[Path](), compaction.read_shard

    def counted(path: Path, *given: Any) -> Any:
        looked.append(path)
        return read(path, *given)

    monkeypatch.setattr(compaction, "read_shard", counted)
    there = len(list(list_shards(many.path)))
    assert compaction.compact(many.path)[1] == 1
    assert len(looked) <= 2 * there


def test_unreadable_run_is_named_and_left_unchanged(filled: made.Made, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = attributions(filled.path)
    other = runs.new_run(filled.path, {"made": False})
    closed = runs.run_folder(filled.path, other)
    scan, access, is_file, status = os.scandir, os.access, Path.exists, os.lstat

    def refused(place: Any = ".") -> Any:
        if isinstance(place, (str, Path)) and (Path(place) == closed or closed in Path(place).parents):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    def refused_status(place: Any, **given: Any) -> Any:
        if closed in Path(place).parents:
            raise PermissionError(13, "Permission denied", str(place))
        return status(place, **given)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != closed and access(place, mode))
    monkeypatch.setattr(os, "lstat", refused_status)
    with Reader(filled.path) as reader:
        assert reader.sql("SELECT count(*) FROM attribution").item() == mine
        [(place, why)] = reader.damaged.items()
        assert place == str(closed) and "chmod" in why
        assert shards.set_aside(reader.damaged) == 0 and closed.is_dir()
    assert [name for name, why in shards.verify(filled.path).items() if why] == [other]
    assert [record.run for record in runs.read_runs(filled.path)] == [filled.run]
    with pytest.raises(store.UserError, match="not readable"):
        runs.read_run(filled.path, other)
    assert snapshot.publish(filled.path).exists() and is_file(closed)


def test_a_shard_that_may_not_be_read_is_named_and_never_set_aside(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, shut = attributions(filled.path), next(iter(list_shards(filled.path)))
    with monkeypatch.context() as patched:
        shut_to_this_user(patched, shut / "manifest.json")
        with Reader(filled.path) as reader:
            [(place, why)] = reader.damaged.items()
            assert place == str(shut) and "chmod" in why
            assert shards.set_aside(reader.damaged) == 0
        assert [name for name, said in shards.verify(filled.path).items() if "chmod" in said] == [
            str(shut.relative_to(filled.path / "runs"))
        ]
    assert attributions(filled.path) == whole and not any(shards.verify(filled.path).values())


def test_shards_that_can_be_listed_and_not_entered_are_named_and_never_set_aside(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mine = runs.run_folder(filled.path, filled.run) / shards.SHARDS, list(list_shards(filled.path))
    shut_to_this_user(monkeypatch, *mine)
    with Reader(filled.path) as reader:
        assert set(reader.damaged) == set(map(str, mine)) and all("chmod" in why for why in reader.damaged.values())
        assert shards.set_aside(reader.damaged) == 0 and len(list(folder.iterdir())) == len(mine)
    assert snapshot.publish(filled.path).exists() and compaction.compact(filled.path) == (3, 3)


@pytest.mark.parametrize("make", [store.create, store.open, shards.verify, snapshot.publish])
def test_a_store_that_may_not_be_read_is_refused_and_not_shown_as_empty(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    shut_to_this_user(monkeypatch, filled.path / "runs")
    with pytest.raises(store.UserError, match=r"shared\.knstore is not readable for this user; .* chmod"):
        make(filled.path)


def shut_to_this_user(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """Neither these nor what is in them can be looked at: the tests may run as one whom no permission binds."""

    def guard(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def refused(place: Any = ".", *given: Any, **named: Any) -> Any:
            if isinstance(place, (str, Path)) and any(Path(place).is_relative_to(shut) for shut in places):
                raise PermissionError(13, "Permission denied", str(place))
            return real(place, *given, **named)

        monkeypatch.setattr(owner, name, refused)

    for owner, name in ((os, "scandir"), (os, "open"), (os, "stat"), (io, "open")):
        guard(owner, name)


def test_a_run_that_cannot_be_written_is_named_and_the_others_are_compacted(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attributions(filled.path)
    other = made.make(filled.path, facts=4, per_shard=2, model="other@00000002")
    write = compaction.write_shard

    def refused(place: Path, run: str, *given: Any, **named: Any) -> str:
        if run == filled.run:
            raise store.UserError(f"{run}: results cannot be written (Permission denied)")
        return write(place, run, *given, **named)

    monkeypatch.setattr(compaction, "write_shard", refused)
    with pytest.raises(store.UserError, match=f"{filled.run} could not be compacted, the rest is"):
        compaction.compact(filled.path)
    left = [path.parent.parent.name for path in list_shards(filled.path)]
    assert (left.count(other.run), left.count(filled.run)) == (1, 3)
    assert attributions(filled.path) == whole + len(other.dense)


def test_a_run_whose_ledger_cannot_be_written_is_named_and_gets_no_copy_of_its_shards(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made.make(filled.path, facts=4, per_shard=2, model="other@00000002")
    before = [path for path in list_shards(filled.path) if path.parent.parent.name == filled.run]
    shut_to_this_user(monkeypatch, runs.run_folder(filled.path, filled.run) / ledger.LEDGER)
    with pytest.raises(store.UserError, match=r"committed cannot be written \(Permission denied\); .* owner"):
        compaction.compact(filled.path)
    after = list(list_shards(filled.path))
    assert [path for path in after if path.parent.parent.name == filled.run] == before
    assert len(after) == len(before) + 1 and other.run in {path.parent.parent.name for path in after}


def test_a_disk_that_is_full_when_a_merge_is_noted_is_named_and_nothing_is_removed(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, before = attributions(filled.path), set(list_shards(filled.path))

    def full(run: Path, shard: str, sign: str = "+") -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "note", lambda run, shard, sign="+": full(run, shard) if sign == "-" else None)
        with pytest.raises(
            store.UserError, match=r"\(No space left on device\); free space, .* what is stored is kept"
        ):
            compaction.compact(filled.path)
    assert before <= set(list_shards(filled.path)) and attributions(filled.path) == whole


def test_compaction_keeps_files_readable_under_any_umask(filled: made.Made) -> None:
    before = os.umask(0o077)
    try:
        compaction.compact(filled.path)
    finally:
        os.umask(before)
    [large] = list_shards(filled.path)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (large, *large.iterdir()))


def test_ledger_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        ledger.note(tmp_path, "shard")
    finally:
        os.umask(before)
    assert (tmp_path / ledger.LEDGER).stat().st_mode & 0o777 == 0o664


def test_file_that_cannot_be_removed_does_not_stop_other_removals(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [filled.path / f".{snapshot.SNAPSHOT}-{name}" for name in ("one", "two")]
    for place in left:
        place.touch()
        os.utime(place, (1, 1))
    kept = next(filled.path.glob(f".{snapshot.SNAPSHOT}-*"))  # the first that is come upon
    unlink = os.unlink

    def refused(place: Any, **given: Any) -> None:
        if Path(place) == kept:
            raise PermissionError(1, "Operation not permitted")
        unlink(place, **given)

    monkeypatch.setattr(os, "unlink", refused)
    snapshot.publish(filled.path)
    assert [place for place in left if place.exists()] == [kept]


def test_clock_that_is_ahead_removes_no_living_writers_folder(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.run_folder(filled.path, filled.run) / "shards"
    living = [folder / f"{shards.TEMPORARY}now", filled.path / f".{snapshot.SNAPSHOT}-now"]
    for place in living:
        place.mkdir()
    there = time.time
    monkeypatch.setattr(time, "time", lambda: there() + 2 * compaction.ABANDONED)
    compaction.compact(filled.path)
    snapshot.publish(filled.path)
    assert all(place.is_dir() for place in living)
    assert abs(layout.time_of(filled.path) - there()) < 60 and not list(filled.path.glob(".now-*"))


def test_temporary_files_of_a_killed_publish_are_removed(filled: made.Made) -> None:
    spilled = filled.path / f".{snapshot.SNAPSHOT}-dead.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp").write_bytes(b"x")
    os.utime(spilled, (1, 1))
    snapshot.publish(filled.path)
    assert not spilled.exists() and (filled.path / snapshot.SNAPSHOT).is_file()


@pytest.mark.parametrize("make", [store.create, store.open, snapshot.publish])
def test_folder_with_an_undecodable_name_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9.knstore")
    with pytest.raises(store.UserError, match="must be UTF-8"):
        make(place)
    assert not list(tmp_path.iterdir())


def test_catalog_includes_results_that_came_during_the_last_one(
    filled: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Reader(filled.path) as reader:
        cursor = reader.cursor
        once: Iterator[int] = iter([1])

        def later() -> Any:
            if next(once, None):
                made_later()
            return cursor()

        def made_later() -> None:
            reader.generation += 1

        monkeypatch.setattr(reader, "cursor", later)
        first = reader.catalog
        assert reader.catalog is not first and reader.catalog is reader.catalog
