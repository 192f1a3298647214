"""Files of a store that somebody else may have made: opening one never waits, never leaves the store and never reads without end.

A reader opens regular files under plain names, in folders that are no links. Everything else is an OSError that says what it is.
"""

from __future__ import annotations

import errno
import io
import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST = 16 << 30
"""Bytes of the largest file that is read; knscope writes dense scores of up to a few GiB."""
SETTLES = 5.0
"""Seconds for which a folder that has changed is read every time: longer than a file system rounds times, or a network keeps answers."""
AGAIN = 30.0
"""Seconds, about, after which a folder is read whatever its times say."""
A_LINK = "is a link, and nothing in a store may be one; put what it names in its place"
_NOT_REGULAR = "it is no regular file"


def is_plain(name: str) -> bool:
    """Whether a name stays in its folder and can be shown: no path, nothing hidden, no control characters."""
    return name.isprintable() and bool(name) and "/" not in name and not name.startswith(".")


@contextmanager
def opened(folder: Path, name: str, most: int = MOST) -> Iterator[io.BufferedReader]:
    """A regular file of a folder, for reading.

    :param most: bytes it may have
    :raises OSError: of a link, a pipe, a device or a folder, of a name that leaves the folder, and of a file that is too large, too
    """
    with os.fdopen(_bounded(folder, name, most)[0], "rb") as file:
        yield file


def read(folder: Path, name: str, most: int = MOST) -> bytes:
    """The content of a regular file of a folder. Raises OSError as `opened` does."""
    descriptor, size = _bounded(folder, name, most)
    try:
        content = os.read(descriptor, size)
        while len(content) < size and (more := os.read(descriptor, size - len(content))):
            content += more
    finally:
        os.close(descriptor)
    return content


def _bounded(folder: Path, name: str, most: int) -> tuple[int, int]:
    """An open regular file of at most so many bytes, and how many it has."""
    path = f"{folder}/{name}"
    if not is_plain(name):
        raise OSError(errno.EINVAL, "this is no name of a file in its folder", path)
    descriptor, size = _descriptor(path, os.O_RDONLY)
    if size > most:
        os.close(descriptor)
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and knscope writes at most {most:,}", path)
    return descriptor, size


def append(folder: Path, name: str, text: str) -> None:
    """Add text to a regular file of a folder in one write; make the file where there is none. Raises OSError as `opened` does."""
    descriptor, _ = _descriptor(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def folders(parent: Path) -> list[str]:
    """Names of the folders in a folder, sorted: no links, no hidden ones. None where it is a link itself or cannot be read."""
    return [name for name, kind in _entries(parent) if kind == "folder"]


class Folder:
    """The folders in a folder, by name, for who asks again and again: it is read only where it may have changed.

    Its times change when an entry comes or goes, so that one `stat` answers most questions, however many entries there are. Three things
    are not taken for granted. Two changes may bear the same time: a folder that has changed lately is read every time. A network's
    answers may be old, and those about times older than those about names, or the other way round: the same helps. And some file systems
    keep no times of folders: it is read now and then all the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self._times: tuple[int, int, int] | None = None
        self._settled = self._again = 0.0

    def changed(self, now: float, afresh: bool = False) -> bool:
        """Read it where it may have changed; whether it was read.

        :param now: by time.monotonic
        :param afresh: read it whatever its times say
        """
        times, age = self._stat()
        if times != self._times:
            # Of a folder that was never looked at, what its own times say: a store that nobody writes needs no second look.
            self._settled = now + SETTLES - (min(age, SETTLES) if self._times is None else 0.0)
            self._times = times
        elif now >= self._settled and now < self._again and not afresh:
            return False
        self.names = folders(self.path)
        self._again = now + AGAIN * random.uniform(0.5, 1.5)  # not all in the same look
        return True

    def _stat(self) -> tuple[tuple[int, int, int], float]:
        """What changes with the folder, and seconds since it did by this machine's clock."""
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0), 0.0
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino), max(0.0, time.time() - found.st_mtime)


def strange(parent: Path) -> dict[str, str]:
    """Entries of a folder that a reader passes over and a person should know of: their names, and why."""
    return {name: kind for name, kind in _entries(parent) if kind not in ("folder", "file")}


def _entries(parent: Path) -> list[tuple[str, str]]:
    """Names and kinds, hidden ones left out: folder, file, or what is wrong."""
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return []
    try:
        with os.scandir(descriptor) as entries:
            return sorted((entry.name, _kind(entry)) for entry in entries if not entry.name.startswith("."))
    finally:
        os.close(descriptor)


def _kind(entry: os.DirEntry[str]) -> str:
    if not is_plain(entry.name):
        return "has a name that knscope gives to nothing; rename it"
    if entry.is_symlink():
        return A_LINK
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "is neither a file nor a folder; remove it"


def _descriptor(path: str, flags: int) -> tuple[int, int]:
    """An open regular file, and how many bytes it has. The umask says who else may read one that is made."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"it {A_LINK}", path) from None
        if error.errno == errno.ENXIO:  # a pipe without a reader, a socket
            raise OSError(errno.ENXIO, _NOT_REGULAR, path) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _NOT_REGULAR, path)
    return descriptor, found.st_size


def flush(*paths: Path) -> None:
    """Wait until files, and folders with the names in them, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
