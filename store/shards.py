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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from knscope.store import ledger
from knscope.store.dense import DENSE_FILE, DamagedShardError, Dense, MissingShardError, row_sums
from knscope.store.errors import UserError
from knscope.store.layout import CLOSED, check, read_json, write_json
from knscope.store.runs import run_folder
from knscope.store.schema import tables

MANIFEST = "manifest.json"
ROWS_AT_ONCE = 64
WRITING_THREADS = 4
CHILDREN = ("score", "path", "scan_neuron", "ablation", "claim_neuron")
"""Tables whose rows belong to a keyed row; `key` is their first column."""
LATER: Mapping[str, tuple[str, ...]] = MappingProxyType({"prediction": ("words_without_path",)})
"""Columns that shards of an older version lack: they are read as null."""
SHARDS = "shards"
"""A run's folder of them."""
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
    dense: npt.NDArray[np.float32] | None = None,
    merges: Sequence[str] = (),
) -> str:
    """Commit results; returns the shard's name, which sorts by time within a run.

    :param frames: rows by table name; columns are those of schema.sql, in any order
    :param dense: float32 (rows, neurons); `dense_row` of table attribution points into it
    :param merges: shards of the run whose rows these are. Another process may be merging them, too: where it was quicker, nothing is
        committed and the name is empty
    :raises UserError: when the folder cannot be written (disk full, read-only); nothing is left behind
    :raises ValueError: when a frame does not fit the schema
    """
    ready = {name: _fitting(name, frame) for name, frame in frames.items()}
    folder = run_folder(store, run) / SHARDS
    name = _merged_name(merges) if merges else f"{time.time_ns():019d}-{secrets.token_hex(4)}"
    temporary = folder / f"{TEMPORARY}{name}-{secrets.token_hex(4)}"
    try:
        if not store.is_dir():  # a store that was deleted stays deleted
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        temporary.mkdir(parents=True)
        manifest: dict[str, Any] = {"rows": {table: rows.num_rows for table, rows in ready.items()}}
        files = {f"{table}.parquet": partial(_write_table, rows) for table, rows in ready.items()}
        if dense is not None:
            scores = np.ascontiguousarray(dense, dtype=np.float32)
            files[DENSE_FILE] = partial(np.save, arr=scores, allow_pickle=False)
            manifest["dense_sums"] = row_sums(scores)
        with ThreadPoolExecutor(WRITING_THREADS) as pool:  # a file is on its way to the disk while the next is written
            sums = pool.map(lambda name: _written(temporary / name, files[name]), sorted(files))
            manifest["sha256"] = dict(zip(sorted(files), sums, strict=True))
        write_json(temporary / MANIFEST, manifest)
        for path in (temporary / MANIFEST, temporary):
            _flush(path)
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
    _flush(final.parent)
    return True


def _write_table(rows: pa.Table, path: Path) -> None:
    """Numbers hardly repeat: a dictionary of them, or a slower codec, costs more than it saves beside the dense scores."""
    repeating = [field.name for field in rows.schema if not pa.types.is_floating(field.type)]
    with pa.OSFile(str(path), "wb") as file:  # a path would be looked up among kinds of file systems
        pq.write_table(rows, file, compression="snappy", use_dictionary=repeating)


def _written(path: Path, write: Callable[[Path], None]) -> str:
    """The checksum of a file that is written and on the disk."""
    write(path)
    _flush(path)
    return _checksum(path)


def list_shards(store: Path) -> Iterator[Path]:
    """Committed shards of all runs, oldest first within a run. A folder that vanishes meanwhile is passed over, and so is one
    that may not be read (`unreadable`)."""
    for run in _entries(store / "runs"):
        for shard in _entries(Path(run) / SHARDS):
            if not Path(shard).name.startswith("."):
                yield Path(shard)


def read_shard(path: Path, dense: Literal["size", "rows", "bytes"] = "size") -> Shard:
    """Read a shard, checking its tables against the manifest; of its dense scores the size, every row's sum, or every byte.

    Raises DamagedShardError, naming the file; MissingShardError where the shard is not there any more.
    """
    try:
        manifest = read_json(path / MANIFEST)
        for name, expected in manifest["sha256"].items():
            if (dense == "bytes" or name != DENSE_FILE) and _checksum(path / name) != expected:
                raise DamagedShardError(f"{path}: {name} is not what was written (checksum differs)")
        found = {table: _table(path, table, rows) for table, rows in manifest["rows"].items() if table in tables()}
        sums = manifest.get("dense_sums", ())
        rows = len(sums) or manifest["rows"].get("attribution", 0)
        scores = Dense(path / DENSE_FILE, rows, sums) if DENSE_FILE in manifest["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, UserError) as error:
        if _closed(path):
            raise DamagedShardError(f"{path}: {CLOSED}") from error
        if not path.exists():
            raise MissingShardError(f"{path} is gone") from error
        raise DamagedShardError(f"{path}: {error}") from error
    if scores is not None:
        scores.map()
        for start in range(0, scores.rows if dense == "rows" else 0, ROWS_AT_ONCE):
            scores.block(range(start, min(start + ROWS_AT_ONCE, scores.rows)))
    return Shard(path, found, scores)


def _table(path: Path, table: str, expected: int) -> pa.Table:
    """Keys of rows that belong to others are read as a dictionary: few texts, many rows."""
    rows = pq.read_table(path / f"{table}.parquet", read_dictionary=["key"] if table in CHILDREN else None)
    if rows.num_rows != expected:
        raise DamagedShardError(f"{path}: {table}.parquet has {rows.num_rows} rows, not {expected}")
    wanted = tables()[table].schema
    for name in LATER.get(table, ()):
        if name not in rows.schema.names:
            place = wanted.get_field_index(name)
            rows = rows.add_column(place, wanted.field(place), pa.nulls(rows.num_rows, wanted.field(place).type))
    if table in CHILDREN:
        wanted = wanted.set(0, pa.field("key", pa.dictionary(pa.int32(), pa.string())))
    if not rows.schema.equals(wanted):
        raise DamagedShardError(f"{path}: {table}.parquet has other columns than this version of knscope writes")
    return rows


def verify(store: Path) -> dict[str, str]:
    """Read every byte of every shard: its place below the store (run/shards/name), and why it is damaged, or nothing."""
    folder = check(store)
    report = {}
    for path in list_shards(folder):
        name = str(path.relative_to(folder / "runs"))
        try:
            read_shard(path, dense="bytes")
        except MissingShardError:
            continue
        except DamagedShardError as error:
            report[name] = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        else:
            report[name] = ""
    others = ledger.deleted(folder) | unreadable(folder)
    return report | {str(Path(path).relative_to(folder / "runs")): why for path, why in others.items()}


def unreadable(store: Path) -> dict[str, str]:
    """Runs that this user may not look into (another one's, with a strict umask): their paths, and what to do."""
    found = {}
    for run in _entries(store / "runs"):
        try:
            os.scandir(Path(run) / SHARDS).close()
        except PermissionError:
            found[run] = CLOSED
        except OSError:
            continue
    return found


def _closed(shard: Path) -> bool:
    """Whether this user may not read a shard, or a file of it. Nothing is said of whether it is whole."""
    try:
        for file in os.scandir(shard):
            os.close(os.open(file.path, os.O_RDONLY))
    except OSError as error:
        return isinstance(error, PermissionError)
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


def _fitting(name: str, frame: pa.Table | pl.DataFrame) -> pa.Table:
    table = tables().get(name)
    if table is None:
        raise ValueError(f"{name} is no table of the store; tables are {', '.join(tables())}")
    rows: Any = frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame
    wanted = table.schema.names
    if set(rows.column_names) != set(wanted):
        different = sorted(set(rows.column_names) ^ set(wanted))
        raise ValueError(f"table {name}: columns {', '.join(different)} are missing or unknown")
    return rows.select(wanted).cast(table.schema)


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
