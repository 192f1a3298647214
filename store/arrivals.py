"""The shards of a store as they arrive, asked for again and again: each is read once, and what cannot be read is named and put aside.

Only folders that may have changed are read (files.Folder): what a look costs does not grow with the number of shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from knscope.store import files, ledger
from knscope.store.dense import DamagedShardError, MissingShardError
from knscope.store.layout import RUNS, SHARDS, unreadable
from knscope.store.shards import Alike, Content, Shard, load, parse

HOPE = 10.0
"""Seconds for which a shard that cannot be read is tried again: where a folder is copied or shared, its files may come into sight one by
one. What is still not whole then is damaged."""
EVERY = 0.5
READING_THREADS = 4
SHARDS_AHEAD = 128
"""How many are read before the first of them is asked for."""
SAMPLE = 8
"""Of these, how many say whether reading means waiting."""
WAIT = 1e-3
"""Seconds of waiting in the quickest of them from which on several are read at a time."""
T = TypeVar("T")


class Arrivals:
    """Of one reader, one caller at a time.

    :param seen: names of shards that need not be read
    :param dense: as for `load`
    """

    def __init__(self, store: Path, seen: Iterable[str], dense: Literal["size", "rows"]) -> None:
        self.damaged = ledger.deleted(store) | unreadable(store)
        """Shards put aside, and why."""
        self.missed = False
        """Whether shards were gone when the last ones were read: they have been merged, and what replaces them is there."""
        self._store = store
        self._dense = dense
        self._seen = set(seen)
        self._runs = files.Folder(store / RUNS)
        self._folders: dict[str, files.Folder] = {}
        self._waiting: dict[str, dict[Path, None]] = {}
        """Shards that are not seen yet, by run."""
        self._tried: dict[Path, tuple[float, float]] = {}
        """When a shard was first tried in vain, and last."""
        self._alike: Alike = {}

    def read(self, without: str = "", afresh: bool = False) -> Iterator[Shard]:
        """Committed shards that are not seen yet, oldest first within a run.

        :param without: a run to leave out
        :param afresh: look into every folder, whatever its times say
        """
        self.missed = False
        self._look(without, afresh)
        now = time.monotonic()
        waiting = [path for run in sorted(self._waiting) if run != without for path in self._waiting[run]]
        due = [path for path in waiting if path not in self._tried or now - self._tried[path][1] >= EVERY]
        return self._readable(due) if due else iter(())

    def saw(self, shards: Iterable[Shard]) -> None:
        """These need not be read again."""
        for shard in shards:
            self._forget(shard.path)
            self.damaged.pop(str(shard.path), None)

    def _look(self, without: str, afresh: bool) -> None:
        now = time.monotonic()
        if self._runs.changed(now, afresh):
            known = self._folders
            self._folders = {
                run: known.get(run) or files.Folder(self._store / RUNS / run / SHARDS) for run in self._runs.names
            }
            for run in known.keys() - self._folders:
                self._wait_for(run, ())
        for run, folder in self._folders.items():
            if run != without and folder.changed(now, afresh):
                self._wait_for(run, (folder.path / name for name in folder.names if name not in self._seen))

    def _wait_for(self, run: str, paths: Iterable[Path]) -> None:
        waiting, before = dict.fromkeys(paths), self._waiting.pop(run, {})
        for path in before.keys() - waiting.keys():
            if self._tried.pop(path, None):  # it could not be read, and is gone: it was replaced
                self.damaged.pop(str(path), None)
        if waiting:
            self._waiting[run] = waiting

    def _readable(self, paths: Sequence[Path]) -> Iterator[Shard]:
        """The files of some shards are read, and then their rows: taking turns would cost more."""
        for start in range(0, len(paths), SHARDS_AHEAD):
            for path, content in self._loaded(paths[start : start + SHARDS_AHEAD]):
                shard = self._whole(path, partial(parse, content, self._alike))
                if shard is not None:
                    yield shard

    def _loaded(self, paths: Sequence[Path]) -> list[tuple[Path, Content]]:
        """One shard after another; several at a time where the disk or the network is waited for, since threads cost time, too."""
        found, waits = list[Content | None](), list[float]()
        for path in paths[:SAMPLE]:
            before = time.perf_counter() - time.thread_time()
            found.append(self._load(path))
            waits.append(time.perf_counter() - time.thread_time() - before)
        if min(waits) > WAIT:
            with ThreadPoolExecutor(READING_THREADS) as pool:
                found += pool.map(self._load, paths[SAMPLE:])
        else:
            found += map(self._load, paths[SAMPLE:])
        return [(path, content) for path, content in zip(paths, found, strict=True) if content is not None]

    def _load(self, path: Path) -> Content | None:
        return self._whole(path, partial(load, path, self._dense))

    def _whole(self, path: Path, read: Callable[[], T]) -> T | None:
        """What `read` returns; None where the shard is damaged or gone, which is noted."""
        try:
            return read()
        except MissingShardError:
            self.missed = True
            self.damaged.pop(str(path), None)
        except DamagedShardError as error:
            self.damaged[str(path)] = str(error)
            now = time.monotonic()
            first, _ = self._tried.get(path, (now, now))
            self._tried[path] = (first, now)
            if now - first >= HOPE:
                self._forget(path)
        return None

    def _forget(self, path: Path) -> None:
        self._seen.add(path.name)
        self._tried.pop(path, None)
        self._waiting.get(path.parent.parent.name, {}).pop(path, None)
