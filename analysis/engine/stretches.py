"""Rows that stand layer by layer, and factors that hold for a whole row."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from knscope.analysis.types import Ints


def stretches(ascending: Ints) -> dict[int, slice]:
    """Where each value of an ascending array stands."""
    found, starts = np.unique(ascending, return_index=True)
    ends = np.append(starts, len(ascending))[1:]
    of = zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return {value: slice(start, end) for value, start, end in of}


def wide(factor: Tensor, like: Tensor) -> Tensor:
    """factor (rows,) in the shape and dtype to multiply `like` (rows, ...) by."""
    return factor.to(like).view(-1, *[1] * (like.dim() - 1))
