"""Immutable result shards: all of one is seen, or none of it.

A shard is written beside its final place, every file and the folder are flushed to disk, and then the folder is renamed: the rename is the
commit. A reader never opens a folder whose name starts with a dot. `manifest.json` holds row counts, checksums of every file, and the sum
of every dense row. A reader checks the tables it takes in whole, and of dense scores each row when it is read (store/dense.py).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from knscope.store import files, ledger, neurons, parquet, schema, sixteen
from knscope.store.dense import (
    DENSE_FILE,
    MANY_NEURONS,
    SIXTEEN_FILE,
    DamagedShardError,
    Dense,
    Form,
    MissingShardError,
    Scores,
    row_sums,
)
from knscope.store.errors import UserError
from knscope.store.layout import CLOSED, RUNS, SHARDS, check, list_shards, read_json, unreadable, write_json
from knscope.store.runs import DAMAGED as BAD_RECORD
from knscope.store.runs import RUN_FILE, read_runs, run_folder

MANIFEST = "manifest.json"
BLOCK_BYTES = 64 << 20
"""Dense scores that are read at once to be checked."""
WRITING_THREADS = 4
ALIKE = ("model", "site", "method")
"""Tables that many shards hold alike."""
Alike = dict[tuple[str, str], pa.Table]
Checked = Literal["size", "rows", "bytes"]
TEMPORARY = ".tmp-"
DAMAGED = ".damaged-"


@dataclass(frozen=True)
class Shard:
    """One committed shard: its tables read and checked, its dense scores where they are, or None."""

    path: Path
    tables: Mapping[str, pa.Table]
    dense: Dense | None


def write_shard(
    store: Path,
    run: str,
    frames: Mapping[str, pa.Table | pl.DataFrame],
    dense: Scores | None = None,
    merges: Sequence[str] = (),
    form: Form = "float32",
) -> str:
    """Commit results; returns the shard's name, which sorts by time within a run.

    :param frames: rows by table name; columns are those of schema.sql, in any order
    :param dense: float32 (rows, neurons); `dense_row` of table attribution points into it
    :param merges: shards of the run whose rows these are. Another process may be merging them, too: where it was quicker, nothing is
        committed and the name is empty
    :param form: of the dense scores on disk; where there are any, not `none`
    :raises UserError: when the folder cannot be written (disk full, read-only); nothing is left behind
    :raises ValueError: when a frame does not fit the schema
    """
    ready = {name: parquet.fitting(name, frame) for name, frame in frames.items()}
    folder = run_folder(store, run) / SHARDS
    name = _merged_name(merges) if merges else f"{time.time_ns():019d}-{secrets.token_hex(4)}"
    temporary = folder / f"{TEMPORARY}{name}-{secrets.token_hex(4)}"
    try:
        if not store.is_dir():  # a store that was deleted stays deleted
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        temporary.mkdir(parents=True)
        manifest: dict[str, Any] = {"rows": {table: rows.num_rows for table, rows in ready.items()}}
        parts: dict[str, Callable[[Path], None]] = {
            _file(table): partial(parquet.write, table, rows) for table, rows in ready.items()
        }
        if dense is not None:
            scores = np.ascontiguousarray(dense, dtype=np.float32)
            file, parts[file], about = _dense_file(scores, form)
            manifest |= about
        with ThreadPoolExecutor(WRITING_THREADS) as pool:  # a file is on its way to the disk while the next is written
            sums = pool.map(lambda name: _written(temporary / name, parts[name]), sorted(parts))
            manifest["sha256"] = dict(zip(sorted(parts), sums, strict=True))
        write_json(temporary / MANIFEST, manifest)
        files.flush(temporary)
        if not _commit(temporary, folder / name, merges):
            shutil.rmtree(temporary, ignore_errors=True)
            return ""
        ledger.note(folder.parent, name)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{folder}: results cannot be written ({error.strerror}); free space or make it writable, then run again: "
            "what is stored is kept and not computed again"
        ) from error
    return name


def _dense_file(scores: Scores, form: Form) -> tuple[str, Callable[[Path], None], dict[str, Any]]:
    """The name of a file of dense scores, what writes it, and what the manifest says of it."""
    if form == "float32" or (form == "auto" and scores.shape[1] < MANY_NEURONS):
        return DENSE_FILE, partial(np.save, arr=scores, allow_pickle=False), {"dense_sums": row_sums(scores)}
    rows = [sixteen.encode(row) for row in scores]
    about = {"dense_sums": [zlib.crc32(row) for row in rows], "dense_ends": list(accumulate(map(len, rows)))}
    return SIXTEEN_FILE, lambda path: _write_bytes(path, rows), about


def _write_bytes(path: Path, rows: Sequence[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(rows)


def _merged_name(merges: Sequence[str]) -> str:
    """The same for everybody who merges the same shards; it sorts where the last of them did."""
    return f"{max(merges)[:19]}-{hashlib.md5('/'.join(merges).encode()).hexdigest()[:8]}"


def _commit(temporary: Path, final: Path, merges: Sequence[str]) -> bool:
    """Rename a finished folder; False where a shard that it merges is gone, or the same ones have been merged already."""
    if not all(final.with_name(name).is_dir() for name in merges):
        return False
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    files.flush(final.parent)
    return True


def _written(path: Path, write: Callable[[Path], None]) -> str:
    """The checksum of a file that is written and on the disk."""
    write(path)
    files.flush(path)
    return _checksum(path.parent, path.name)


@dataclass(frozen=True)
class Manifest:
    """What a shard's manifest.json says: rows by table, checksums by file, the sum of every dense row, and where each ends."""

    path: Path
    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    dense_sums: Sequence[int]
    dense_ends: Sequence[int] = ()

    @cached_property
    def dense(self) -> Dense | None:
        if SIXTEEN_FILE in self.sha256:
            return Dense(self.path / SIXTEEN_FILE, len(self.dense_ends), self.dense_sums, self.dense_ends)
        if DENSE_FILE not in self.sha256:
            return None
        return Dense(self.path / DENSE_FILE, len(self.dense_sums) or self.rows.get("attribution", 0), self.dense_sums)


def read_manifest(shard: Path) -> Manifest:
    """Raises UserError where it cannot be read; DamagedShardError where it is none, or names a file elsewhere."""
    stored = read_json(shard / MANIFEST)
    rows, sums, dense, ends = (stored.get(name, {}) for name in ("rows", "sha256", "dense_sums", "dense_ends"))
    known = (
        {table: count for table, count in rows.items() if table in schema.tables()} if isinstance(rows, dict) else {}
    )
    if not (
        isinstance(rows, dict)
        and isinstance(sums, dict)
        and isinstance(dense or [], list)
        and _are_ends(ends or [])
        and (not ends or len(dense) == len(ends))
        and all(type(count) is int for count in known.values())
        and all(isinstance(one, str) for one in sums.values())
    ):
        raise DamagedShardError(f"{shard}: {MANIFEST} is not what knscope writes")
    others = [name for name in (*rows, *sums) if name not in _names()]
    if strange := [name for name in others if not files.is_plain(name)]:
        raise DamagedShardError(f"{shard}: {MANIFEST} names {strange[0]!r:.80}, which is no file of a shard")
    if missing := [table for table in known if _file(table) not in sums]:
        raise DamagedShardError(f"{shard}: {MANIFEST} has no checksum of {_file(missing[0])}")
    return Manifest(shard, known, sums, dense or [], ends or [])


def _are_ends(given: Any) -> bool:
    """Whether these are places in a file, one behind the other."""
    if not isinstance(given, list) or not all(type(end) is int for end in given):
        return False
    return all(0 <= before < end for before, end in pairwise([0, *given]))


@dataclass(frozen=True)
class Content:
    """A shard's tables as the bytes of their files with their checksums, each as the manifest says, and nothing parsed yet."""

    manifest: Manifest
    tables: Mapping[str, tuple[bytes, str]]


def read_shard(path: Path, dense: Checked = "size", alike: Alike | None = None) -> Shard:
    """Read a shard, checking its tables against the manifest, and its dense scores as `load` does.

    Raises DamagedShardError, naming the file; MissingShardError where the shard is not there any more.
    """
    return parse(load(path, dense), {} if alike is None else alike)


def load(path: Path, dense: Checked = "size") -> Content:
    """Read the files of a shard. Raises as `read_shard` does.

    :param dense: what is checked of its dense scores: the size, every row's sum, or every byte
    """
    try:
        manifest = read_manifest(path)
        tables = {table: _content(manifest, table) for table in manifest.rows}
        for name in manifest.sha256.keys() - set(map(_file, tables)):
            if dense == "bytes" or name not in (DENSE_FILE, SIXTEEN_FILE):
                _check(path, name, _checksum(path, name), manifest)
        if manifest.dense is not None:
            _check_dense(manifest.dense, dense == "rows")
    except DamagedShardError:
        raise
    except (OSError, UserError) as error:
        if _closed(path):
            raise DamagedShardError(f"{path}: {CLOSED}") from error
        if not path.exists():
            raise MissingShardError(f"{path} is gone") from error
        place = f"{Path(error.filename).name}: " if isinstance(error, OSError) and error.filename else ""
        raise DamagedShardError(f"{path}: {place}{getattr(error, 'strerror', None) or error}") from error
    return Content(manifest, tables)


def parse(content: Content, alike: Alike) -> Shard:
    """The rows of a shard. Raises DamagedShardError, naming the file.

    :param alike: tables that were read before and often come again (`ALIKE`), by name and checksum; this shard's are added
    """
    manifest = content.manifest
    found = {table: _parsed(manifest, table, *own, alike) for table, own in content.tables.items()}
    scores = manifest.dense
    if scores is not None and "attribution" in found and found["attribution"].num_rows:
        named = found["attribution"]["dense_row"].drop_null().to_numpy()  # null where none was stored
        if len(named) and not 0 <= named.min() <= named.max() < scores.rows:
            raise DamagedShardError(
                f"{scores.path} has {scores.rows} rows, and table attribution names {named.min()} to {named.max()}"
            )
    return Shard(manifest.path, found, scores)


def _content(manifest: Manifest, table: str) -> tuple[bytes, str]:
    """A table's file and its checksum."""
    content = files.read(manifest.path, _file(table), parquet.FILE_BYTES)
    checksum = hashlib.sha256(content).hexdigest()
    _check(manifest.path, _file(table), checksum, manifest)
    return content, checksum


def _parsed(manifest: Manifest, table: str, content: bytes, checksum: str, alike: Alike) -> pa.Table:
    rows, expected = alike.get((table, checksum)), manifest.rows[table]
    if rows is None or rows.num_rows != expected:
        rows = parquet.parsed(table, content, expected, f"{manifest.path}: {_file(table)}")
        if table in ALIKE:
            alike[table, checksum] = rows
    return rows


def all_extents(store: Path) -> neurons.Extents:
    """What table site says of every model, in all shards that can be read."""
    found: dict[str, tuple[int, int]] = {}
    alike: Alike = {}
    for path in list_shards(store):
        with suppress(OSError, UserError, DamagedShardError, neurons.StrangeRowsError):
            manifest = read_manifest(path)
            if "site" in manifest.rows:
                found |= neurons.extents_of(_parsed(manifest, "site", *_content(manifest, "site"), alike))
    return found


def check_rows(shard: Shard, known: neurons.Extents) -> None:
    """Look at a shard's rows, as `Intake` does where it takes them in: whether texts are UTF-8, and neurons are the model's.

    Raises DamagedShardError.

    :param known: what `all_extents` returns
    """
    try:
        for rows in shard.tables.values():
            parquet.check(rows)
        neurons.check_shard(shard.tables, known)
    except (pa.ArrowInvalid, neurons.StrangeRowsError) as error:
        raise DamagedShardError(f"{shard.path}: its rows cannot be used ({error})") from error


def _check(path: Path, name: str, checksum: str, manifest: Manifest) -> None:
    if checksum != manifest.sha256[name]:
        raise DamagedShardError(f"{path}: {name} is not what was written (checksum differs)")


def _check_dense(scores: Dense, every_row: bool) -> None:
    at_once = max(1, BLOCK_BYTES // max(1, 4 * scores.neurons()))
    for start in range(0, scores.rows if every_row else 0, at_once):
        scores.block(range(start, min(start + at_once, scores.rows)))


def verify(store: Path) -> dict[str, str]:
    """Read every byte of every shard: its place below the runs (run/shards/name), and why it is damaged, or nothing. Beside them
    what else in the store is damaged."""
    folder = check(store)
    known = all_extents(folder)
    report = {}
    for path in list_shards(folder):
        name = str(path.relative_to(folder / RUNS))
        try:
            check_rows(read_shard(path, dense="bytes"), known)
        except MissingShardError:
            continue
        except DamagedShardError as error:
            report[name] = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        else:
            report[name] = ""
    report |= {f"{one.run}/{RUN_FILE}": one.message for one in read_runs(folder) if one.status == BAD_RECORD}
    others = ledger.deleted(folder) | unreadable(folder)
    return report | {str(Path(path).relative_to(folder / RUNS)): why for path, why in others.items()}


def _closed(shard: Path) -> bool:
    """Whether this user may not read a shard, or a file of it. Nothing is said of whether it is whole."""
    try:
        names = sorted(path.name for path in shard.iterdir())
    except OSError as error:
        return isinstance(error, PermissionError)
    for name in names:
        try:
            with files.opened(shard, name):
                pass
        except PermissionError:
            return True
        except OSError:
            continue
    return False


def set_aside(damaged: Iterable[str]) -> int:
    """Put damaged shards (paths, as a reader names them) out of every reader's sight; returns how many. They are kept for inspection.

    What they held is then missing, and computed again by whoever needs it. One that this user may not read stays: others can.
    """
    count = 0
    for path in map(Path, damaged):
        if path.parent.name != SHARDS or _closed(path):
            continue  # this user may not read the run, or the shard: it may be whole
        try:
            if path.exists():
                path.rename(path.with_name(f"{DAMAGED}{path.name}"))
            ledger.note(path.parent.parent, path.name, "!")
        except OSError:
            continue  # a read-only store: readers pass it over anyhow
        count += 1
    return count


@cache
def _names() -> frozenset[str]:
    """Every table, and every file that a shard may hold."""
    return frozenset((*schema.tables(), *map(_file, schema.tables()), DENSE_FILE, SIXTEEN_FILE))


def _file(table: str) -> str:
    return f"{table}.parquet"


def _checksum(folder: Path, name: str) -> str:
    with files.opened(folder, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
