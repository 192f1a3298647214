"""A shard's dense scores: float32 (rows, neurons), mapped from disk, each row checked against its sum when it is read.

The sum of a row's 32-bit words costs a pass over memory, so every read can afford it, and any flipped bit changes it. Checksums of whole
files (sha256) are for `knscope store verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knscope.store.errors import UserError

DENSE_FILE = "dense.npy"
Scores = npt.NDArray[np.float32]


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

    def map(self) -> Scores:
        """The whole matrix, mapped and not yet checked. Raises DamagedShardError, MissingShardError."""
        try:
            matrix: Scores = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            kind = DamagedShardError if self.path.parent.is_dir() else MissingShardError
            raise kind(f"{self.path} is gone") from error
        except (OSError, ValueError, EOFError) as error:
            raise DamagedShardError(f"{self.path} cannot be read ({error})") from error
        if matrix.dtype != np.float32 or matrix.ndim != 2 or len(matrix) != self.rows:
            raise DamagedShardError(f"{self.path} holds {matrix.dtype} {matrix.shape}, not {self.rows} rows of float32")
        return matrix

    def block(self, rows: Sequence[int]) -> Scores:
        """Some rows, (len(rows), neurons), each as it was written. Raises DamagedShardError, MissingShardError."""
        matrix = self.map()
        wanted = np.asarray(rows, dtype=np.int64)
        together = bool((np.diff(wanted) == 1).all())
        chosen: Scores = matrix[wanted[0] : wanted[-1] + 1] if together and len(wanted) else matrix[wanted]
        if self.sums:
            found = row_sums(chosen)
            for row, total in zip(rows, found, strict=True):
                if total != self.sums[row]:
                    raise DamagedShardError(f"{self.path}: row {row} is not what was written (its sum differs)")
        return chosen


def row_sums(matrix: Scores) -> list[int]:
    """The sum of each row's 32-bit words."""
    totals: list[int] = matrix.view(np.uint32).sum(axis=1, dtype=np.uint64).tolist()
    return totals


def gone_or_damaged(error: DamagedShardError) -> UserError:
    """What a person can do about scores that cannot be read."""
    return UserError(f"{error}; run the analysis again: what is damaged is computed anew, the rest is kept")
