"""Many small shards of a run as a few large ones, without stopping whoever reads or writes.

A large shard is committed like any other; then the small ones are noted as replaced and removed. A reader that has the small ones ignores
the large one by its keys and finds dense scores in it once the small files are gone; one that looks in between sees results twice and
counts them once. A writer only ever adds shards. Killed at any moment, a compaction leaves at most copies, which the next one removes.

Two compactions of one store may coincide: nothing is locked. A shard is removed only by who has committed one that holds its rows, so no
row is ever without a shard. Where shards vanish while they are merged, somebody else has merged them, and they are left to that one.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knscope.store import files, ledger
from knscope.store.dense import DamagedShardError, Form, MissingShardError, Scores
from knscope.store.errors import UserError
from knscope.store.ingest import KEYED, NATURAL, fresh_rows, together
from knscope.store.layout import RUNS, SHARDS, check, list_shards, shards_of, time_of
from knscope.store.neurons import Extents
from knscope.store.runs import run_folder
from knscope.store.shards import MANIFEST, TEMPORARY, Alike, Shard, all_extents, check_rows, read_shard, write_shard

BYTES = 128 << 20
"""A large shard's size on disk, about."""
MANY = 64
"""More shards than these are merged."""
EVERY = 5.0
"""Seconds between two looks at a run that goes on."""
_Row = tuple[object, ...]
"""A table's name, then what names a row of it."""
REPLACED = ".old-"
ABANDONED = 3600.0
"""Seconds after which a half-written folder belongs to nobody."""


def compact(store: Path | str, progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[int, int]:
    """Merge small shards, run by run; returns how many shards there were and are. Damaged ones are left alone.

    :param progress: called with shards looked at, and all of them
    :raises UserError: naming runs that cannot be written; what is stored is kept, and the others are compacted
    """
    folder = check(store)
    folders = [folder / RUNS / name for name in files.folders(folder / RUNS)]
    runs = [(run, paths) for run in folders if (paths := shards_of(run))]
    random.shuffle(runs)  # two compactions that begin together seldom do the same work
    total = sum(len(paths) for _, paths in runs)
    done, refused = 0, dict[str, str]()
    for run, paths in runs:
        _sweep(folder, run)
        for group in _groups(paths):
            if len(group) > 1 and run.name not in refused:
                try:
                    _merge(folder, run, group)
                except UserError as error:  # another user's run; the others are merged all the same
                    refused[run.name] = str(error)
            done += len(group)
            progress(done, total)
    if refused:
        raise UserError(f"{', '.join(refused)} could not be compacted, the rest is: {next(iter(refused.values()))}")
    return total, sum(1 for _ in list_shards(folder))


class Merging:
    """Merges the small shards of one run while it goes on, in a thread of its own: a long run never leaves thousands behind.

    Whenever `MANY` new ones are there they are merged, and with them the older ones that are no larger than those together: so a result is
    written again a few times only, however long the run. What cannot be merged now waits for a compaction.
    """

    def __init__(self, store: Path, run: str) -> None:
        self._store = store
        self._run = run_folder(store, run)
        self._before = set[Path]()
        """The shards that the last merge left."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="merging", daemon=True)

    def __enter__(self) -> Merging:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(EVERY):
            with contextlib.suppress(UserError):
                self.look()

    def look(self) -> None:
        """Merge where there are enough. Raises UserError where the run cannot be written."""
        paths = shards_of(self._run)
        chosen = [path for path in paths if path not in self._before]
        if len(chosen) < MANY:
            return
        size = sum(map(_size, chosen))
        for path in reversed([path for path in paths if path in self._before]):
            if (own := _size(path)) > size:
                break
            chosen.append(path)
            size += own
        try:
            for group in _groups(sorted(chosen)):
                if len(group) > 1:
                    _merge(self._store, self._run, group)
        finally:
            self._before = set(shards_of(self._run))


def _groups(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Neighbours that together are not too large."""
    group: list[Path] = []
    size = 0
    for path in paths:
        own = _size(path)
        if group and size + own > BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += own
    if group:
        yield group


def _merge(store: Path, run: Path, paths: Sequence[Path]) -> None:
    """Replace small shards by a large one. Damaged ones are left out, and where one is gone, all are left to who removed it."""
    try:
        shards = _whole(paths, all_extents(store))
        if len(shards) < 2:
            return
        tables, dense = merged(shards)
        form: Form = "float16" if {shard.dense.form for shard in shards if shard.dense} == {"float16"} else "float32"
    except DamagedShardError:
        return
    try:
        # Before anything is written: a copy that replaces nothing only takes room.
        files.append(run, ledger.LEDGER, "")
        name = write_shard(store, run.name, tables, dense, [shard.path.name for shard in shards], form)
        if not name:
            return
        _open_as(run / SHARDS / name, shards)
        for shard in shards:
            ledger.note(run, shard.path.name, "-")
    except OSError as error:
        raise UserError(
            f"{run / ledger.LEDGER} cannot be written ({error.strerror}); free space, or let the run's owner compact it: "
            "what is stored is kept"
        ) from error
    for shard in shards:
        _remove(shard.path)


def _whole(paths: Sequence[Path], known: Extents) -> list[Shard]:
    """Those that are as they were written. Raises MissingShardError where one is not there any more."""
    shards, alike = list[Shard](), Alike()
    for path in paths:
        try:
            shard = read_shard(path, "rows", alike)
            check_rows(shard, known)
        except MissingShardError:
            raise
        except DamagedShardError:
            continue
        shards.append(shard)
    return shards


def _open_as(shard: Path, others: Sequence[Shard]) -> None:
    """Whoever could read one of the others can read the shard: the umask of who compacts closes no one's results."""
    places = zip(*((other.path, other.path / MANIFEST) for other in others), strict=True)
    folder, file = (functools.reduce(operator.or_, map(_mode, paths)) for paths in places)
    with contextlib.suppress(OSError):  # a disk without permissions, or the shard has been merged again
        for path in (shard, *shard.iterdir()):
            own = _mode(path)
            wanted = own | (folder if path == shard else file)
            if wanted != own:
                path.chmod(wanted)


def _mode(path: Path) -> int:
    """Who may do what with it; nobody anything, once it is gone."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


def merged(shards: Sequence[Shard]) -> tuple[dict[str, pa.Table], Scores | None]:
    """All their rows, each key once, and their dense scores in one matrix."""
    tables: dict[str, pa.Table] = {}
    matrices: list[Scores] = []
    for name, columns in NATURAL.items():
        if (rows := together(shards, name)) is not None:
            tables[name] = _distinct(rows, columns)
    for name, children in KEYED.items():
        fresh = fresh_rows(name, shards, set())
        if fresh is None:
            continue
        rows = fresh.rows
        if name == "attribution":
            matrices = [_dense_rows(shard, keys) for shard, keys in fresh.by_shard if shard.dense]
            stored = np.concatenate([np.full(len(keys), shard.dense is not None) for shard, keys in fresh.by_shard])
            numbers = pa.array(np.cumsum(stored, dtype=np.int32) - 1, mask=~stored)
            rows = rows.set_column(rows.schema.get_field_index("dense_row"), "dense_row", numbers)
        tables[name] = rows
        for child in children:
            if (belonging := fresh.children(child)) is not None:
                tables[child] = belonging
    return tables, np.concatenate(matrices) if matrices else None


def _dense_rows(shard: Shard, keys: pa.Array) -> Scores:
    assert shard.dense is not None
    attributions = shard.tables["attribution"]
    rows = attributions["dense_row"].take(pc.index_in(keys, attributions["key"].combine_chunks()))
    return shard.dense.block(rows.to_pylist())


def _distinct(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The first row of each natural key."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for index, key in enumerate(zip(*(rows[column].to_pylist() for column in columns), strict=True)):
        if key not in seen:
            seen.add(key)
            kept.append(index)
    return rows.take(kept)


def _sweep(store: Path, run: Path) -> None:
    """Remove what compactions replaced but were killed before removing, and what killed writers left long ago."""
    shards = run / SHARDS
    _remove_copies(store, [shards / name for name in sorted(ledger.replaced(run).intersection(files.folders(shards)))])
    sweep(shards, f"{TEMPORARY}*", f"{REPLACED}*")


def sweep(folder: Path, *patterns: str) -> None:
    """Remove files and folders that nobody touched for long; what may not be removed stays, and the others go."""
    with contextlib.suppress(OSError):
        now = time_of(folder)
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            with contextlib.suppress(OSError):
                found = path.lstat()
                if now - found.st_mtime > ABANDONED:
                    shutil.rmtree(path) if stat.S_ISDIR(found.st_mode) else path.unlink()


def _remove_copies(store: Path, paths: Sequence[Path]) -> None:
    """Remove those of which shards outside `paths` have every row: one may have been put back after it was missed."""
    own = {path: rows for path in paths if (rows := _rows(path))}
    wanted, found = set().union(*own.values()), set[_Row]()
    for other in list_shards(store):
        if wanted <= found:
            break
        if other not in own:
            found |= wanted & _rows(other)
    for path, rows in own.items():
        if rows <= found:
            _remove(path)


def _rows(path: Path) -> set[_Row]:
    """The names of a shard's rows: the keyed ones', whose children come with them, and the others'. None of a damaged one."""
    with contextlib.suppress(DamagedShardError):
        shard = read_shard(path)
        named = dict.fromkeys(KEYED, ("key",)) | dict(NATURAL)
        return {
            (name, *row)
            for name, columns in named.items()
            if name in shard.tables
            for row in zip(*(shard.tables[name][column].to_pylist() for column in columns), strict=True)
        }
    return set()


def _remove(shard: Path) -> None:
    """Out of every reader's sight at once, then file by file."""
    hidden = shard.with_name(f"{REPLACED}{shard.name}")
    with contextlib.suppress(OSError):
        shard.rename(hidden)
        shutil.rmtree(hidden)


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in path.iterdir())
    except OSError:
        return 0
