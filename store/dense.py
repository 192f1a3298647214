"""A shard's dense scores: float32 (rows, neurons), read row by row, each row checked against its sum when it is read.

The sum of a row's 32-bit words costs a pass over memory, so every read can afford it, and any flipped bit changes it. Checksums of whole
files (sha256) are for `knscope store verify`. Nothing is mapped into memory: a file that is cut short while it is mapped ends the process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knscope.store import files
from knscope.store.errors import UserError

DENSE_FILE = "dense.npy"
Scores = npt.NDArray[np.float32]
_FLOAT = np.dtype("<f4")
MOST_NEURONS = 1 << 28
_HEADER_BYTES = 256
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,15}), (\d{1,15})\), \} *\n",
    re.DOTALL,
)
"""Of the one kind of array that is written: others, such as pickled objects, are damage."""


class DamagedShardError(Exception):
    """A shard is not what its manifest says: which one, and how."""


class MissingShardError(DamagedShardError):
    """A shard is not there any more: it was compacted, or deleted."""


@dataclass(frozen=True)
class Dense:
    """One dense.npy of `rows` rows. `sums` holds a number a row (`row_sums`), or nothing where its writer kept none."""

    path: Path
    rows: int
    sums: Sequence[int] = ()

    def neurons(self) -> int:
        """How many columns there are; no score is read. Raises DamagedShardError, MissingShardError."""
        with self._opened() as (_, _, neurons):
            return neurons

    def block(self, rows: Sequence[int]) -> Scores:
        """Some rows, (len(rows), neurons), each as it was written, read-only. Raises DamagedShardError, MissingShardError."""
        if rows and not 0 <= min(rows) <= max(rows) < self.rows:
            raise DamagedShardError(f"{self.path} has {self.rows} rows, and a table names row {max(rows)}")
        with self._opened() as (descriptor, start, neurons):
            width = neurons * _FLOAT.itemsize
            parts = [os.pread(descriptor, n * width, start + first * width) for first, n in _stretches(rows)]
        content = b"".join(parts)
        if len(content) != len(rows) * width:
            raise DamagedShardError(f"{self.path} was cut short while it was read")
        chosen: Scores = np.frombuffer(content, _FLOAT).reshape(len(rows), neurons)
        if self.sums:
            for row, total in zip(rows, row_sums(chosen), strict=True):
                if total != self.sums[row]:
                    raise DamagedShardError(f"{self.path}: row {row} is not what was written (its sum differs)")
        return chosen

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int, int]]:
        """The file's descriptor, where its scores begin, and how many neurons a row has."""
        try:
            with files.opened(self.path.parent, self.path.name) as file:
                header = _HEADER.match(file.read(_HEADER_BYTES))
                if header is None or int(header[1]) != self.rows or int(header[2]) > MOST_NEURONS:
                    raise DamagedShardError(f"{self.path} does not hold {self.rows} rows of float32")
                neurons, size = int(header[2]), os.fstat(file.fileno()).st_size
                if size != header.end() + self.rows * neurons * _FLOAT.itemsize:
                    raise DamagedShardError(
                        f"{self.path} has {size:,} bytes, which is not {self.rows} x {neurons} of float32"
                    )
                yield file.fileno(), header.end(), neurons
        except FileNotFoundError as error:
            kind = DamagedShardError if self.path.parent.is_dir() else MissingShardError
            raise kind(f"{self.path} is gone") from error
        except OSError as error:
            raise DamagedShardError(f"{self.path} cannot be read ({error.strerror})") from error


def _stretches(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring rows together: the first of them, and how many."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and row == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((row, 1))
    return found


def row_sums(matrix: Scores) -> list[int]:
    """The sum of each row's 32-bit words."""
    totals: list[int] = matrix.view(np.uint32).sum(axis=1, dtype=np.uint64).tolist()
    return totals


def gone_or_damaged(error: DamagedShardError) -> UserError:
    """What a person can do about scores that cannot be read."""
    return UserError(f"{error}; run the analysis again: what is damaged is computed anew, the rest is kept")
