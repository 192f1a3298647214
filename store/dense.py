"""A shard's dense scores: every neuron's, read row by row, each row checked against its sum when it is read.

In float32 they are an array (rows, neurons), `dense.npy`; in 16 bits rows of bytes one behind the other, `dense.bin` (store/sixteen.py).
A row's sum is that of its 32-bit words, or the CRC-32 of its bytes: a pass over memory, so every read can afford it. Checksums of whole
files (sha256) are for `knscope store verify`. Nothing is mapped into memory: a file that is cut short while it is mapped ends the process.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from knscope.store import files, sixteen
from knscope.store.errors import UserError

Form = Literal["auto", "none", "float16", "float32"]
"""How dense scores are stored; `none`: not at all, so only neurons from the floor up are kept. `auto`: in 16 bits from `MANY_NEURONS` on,
below in 32, where half of a few KiB is not worth a rounding. No part of what a result means."""
FORMS: tuple[Form, ...] = get_args(Form)
DENSE_FILE, SIXTEEN_FILE = "dense.npy", "dense.bin"
Scores = npt.NDArray[np.float32]
T = TypeVar("T")
_FLOAT = np.dtype("<f4")
MOST_NEURONS = 1 << 28
MANY_NEURONS = 1 << 13
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
    """The dense scores of `rows` attributions. `sums` holds a number a row, or nothing where its writer kept none.

    `ends`: where each row ends in a file of 16 bits a score; nothing for one of float32.
    """

    path: Path
    rows: int
    sums: Sequence[int] = ()
    ends: Sequence[int] = ()

    @property
    def form(self) -> Form:
        return "float16" if self.path.name == SIXTEEN_FILE else "float32"

    def neurons(self) -> int:
        """How many neurons the first row has; no score is read. Raises DamagedShardError, MissingShardError."""
        if self.form == "float16":
            with self._sixteen() as descriptor:
                return self._understood(sixteen.neurons, os.pread(descriptor, sixteen.HEAD_BYTES, 0), 0)
        with self._opened() as (_, _, neurons):
            return neurons

    def block(self, rows: Sequence[int]) -> Scores:
        """Some rows, (len(rows), neurons), each as it was written, read-only. Raises DamagedShardError, MissingShardError."""
        if rows and not 0 <= min(rows) <= max(rows) < self.rows:
            raise DamagedShardError(f"{self.path} has {self.rows} rows, and a table names row {max(rows)}")
        if self.form == "float16":
            with self._sixteen() as descriptor:
                return self._together([self._row(descriptor, row) for row in rows])
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
                    raise self._differs(row)
        return chosen

    def _differs(self, row: int) -> DamagedShardError:
        return DamagedShardError(f"{self.path}: row {row} is not what was written (its sum differs)")

    def _row(self, descriptor: int, row: int) -> Scores:
        begin = self.ends[row - 1] if row else 0
        content = os.pread(descriptor, self.ends[row] - begin, begin)
        if zlib.crc32(content) != self.sums[row]:
            raise self._differs(row)
        return self._understood(sixteen.decode, content, row)

    def _understood(self, read: Callable[[bytes], T], content: bytes, row: int) -> T:
        try:
            return read(content)
        except ValueError as error:
            raise DamagedShardError(f"{self.path}: row {row} cannot be read ({error})") from error

    def _together(self, rows: Sequence[Scores]) -> Scores:
        if len({len(row) for row in rows}) > 1:
            raise DamagedShardError(f"{self.path} has rows of other lengths")
        return np.stack(rows) if rows else np.zeros((0, self.neurons()), np.float32)

    @contextmanager
    def _sixteen(self) -> Iterator[int]:
        """The descriptor of a file of 16 bits a score, whose rows end where its manifest says."""
        with self._file() as file:
            size = os.fstat(file.fileno()).st_size
            if (size, self.rows) != (self.ends[-1] if self.ends else 0, len(self.ends)):
                raise DamagedShardError(f"{self.path} has {size:,} bytes, which is not what its manifest says")
            yield file.fileno()

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int, int]]:
        """The descriptor of a file of float32, where its scores begin, and how many neurons a row has."""
        with self._file() as file:
            header = _HEADER.match(file.read(_HEADER_BYTES))
            if header is None or int(header[1]) != self.rows or int(header[2]) > MOST_NEURONS:
                raise DamagedShardError(f"{self.path} does not hold {self.rows} rows of float32")
            neurons, size = int(header[2]), os.fstat(file.fileno()).st_size
            if size != header.end() + self.rows * neurons * _FLOAT.itemsize:
                raise DamagedShardError(
                    f"{self.path} has {size:,} bytes, which is not {self.rows} x {neurons} of float32"
                )
            yield file.fileno(), header.end(), neurons

    @contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        try:
            with files.opened(self.path.parent, self.path.name) as file:
                yield file
        except FileNotFoundError as error:
            kind = DamagedShardError if self.path.parent.is_dir() else MissingShardError
            raise kind(f"{self.path} is gone") from error
        except OSError as error:
            raise DamagedShardError(f"{self.path} cannot be read ({error.strerror})") from error


DenseRow = tuple[Dense, int]
"""A dense matrix and the row of it that belongs to a key."""


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


def only_rows(results: int) -> UserError:
    """What a person can do where `--dense none` stored no score below the floor."""
    return UserError(
        f"this needs all scores of {results:,} results of which only those from the floor up are stored (run --dense none): choose "
        "τ of at least the floor, or compute into a new store with --dense float16"
    )


def gone_or_damaged(error: DamagedShardError) -> UserError:
    """What a person can do about scores that cannot be read."""
    return UserError(f"{error}; run the analysis again: what is damaged is computed anew, the rest is kept")
