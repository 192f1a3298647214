"""Scores in 16 bits a neuron and less: those of rel ≥ 0.01 as they are, the others rounded to 8 significant bits.

A float32 is cut into its upper and its lower 16 bits. The upper ones (sign, exponent, 7 bits of the mantissa) are kept of every neuron,
the lower ones only where the score is at least 0.01 of the query's highest, or of its lowest where it is negative. So a threshold
τ ≥ 0.01 finds the same neurons as in float32. A smaller score is read as the middle of what its upper bits leave open: it is off by at
most 2^-8 of itself, thus by less than 4e-5 of the query's highest (or lowest). What is read and written again stays bit for bit the same.

A row on disk: neurons and bytes of the packed part (uint32 each), the least upper 16 bits that are kept whole of positive and of negative
scores (uint16 each, without the sign), then the upper bytes packed by Zstandard, the second bytes, and the lower 16 bits of those kept
whole. All numbers are little-endian.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pyarrow as pa

WHOLE = 0.01
"""rel from which on a score is kept whole."""
_HEAD = struct.Struct("<IIHH")
HEAD_BYTES = _HEAD.size
_MIDDLE, _SIGN = 0x8000, 1 << 31
_Scores = npt.NDArray[np.float32]


def encode(scores: _Scores) -> bytes:
    """A row of scores, (neurons,) float32, as bytes."""
    words = np.ascontiguousarray(scores, "<f4").view("<u4")
    limits = tuple(_least(float(end)) for end in (scores.max(initial=0.0), -scores.min(initial=0.0)))
    parts = words.view(np.uint8).reshape(-1, 4)
    packed = pa.compress(parts[:, 3].tobytes(), "zstd", asbytes=True)
    whole = words[_kept_whole(words, *limits)].astype("<u2")
    return b"".join((_HEAD.pack(len(scores), len(packed), *limits), packed, parts[:, 2].tobytes(), whole.tobytes()))


def neurons(head: bytes) -> int:
    """How many scores a row has, from its first `HEAD_BYTES` bytes. Raises ValueError."""
    return int(_head(head)[0])


def decode(content: bytes) -> _Scores:
    """The scores of a row, (neurons,) float32. Raises ValueError where the bytes are no row."""
    n, size, *limits = _head(content)
    begin = HEAD_BYTES + size
    if begin + n > len(content):
        raise ValueError("it is shorter than its head says")
    parts = np.empty((n, 4), np.uint8)
    try:
        packed = pa.decompress(content[HEAD_BYTES:begin], n, "zstd", asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError("its packed part is damaged") from error
    if len(packed) != n:
        raise ValueError("its packed part holds fewer scores than its head says")
    parts[:, 3] = np.frombuffer(packed, np.uint8)
    parts[:, 2] = np.frombuffer(content, np.uint8, n, begin)
    parts[:, 0], parts[:, 1] = _MIDDLE & 0xFF, _MIDDLE >> 8
    words = parts.view("<u4")[:, 0]
    chosen = np.flatnonzero(_kept_whole(words, *limits))
    words[words & 0x7FFF0000 == 0] &= _SIGN
    if begin + n + 2 * len(chosen) != len(content):
        raise ValueError("it has another length than its scores ask for")
    words[chosen] = words[chosen] & 0xFFFF0000 | np.frombuffer(content, "<u2", len(chosen), begin + n)
    return words.view("<f4")


def _head(content: bytes) -> tuple[int, ...]:
    if len(content) < HEAD_BYTES:
        raise ValueError("it is shorter than a head")
    return _HEAD.unpack_from(content)


def _least(end: float) -> int:
    """The upper 16 bits of WHOLE of an end of the scores, rounded down; more than any number has where there is none."""
    if not end > 0:
        return 0xFFFF
    return int(np.float32(WHOLE * end * (1 - 1e-6)).view(np.uint32)) >> 16


def _kept_whole(words: npt.NDArray[np.uint32], positive: int, negative: int) -> npt.NDArray[np.bool_]:
    """From upper 16 bits alone; where no score has a sign, its limit lies above all numbers."""
    kept: npt.NDArray[np.bool_] = (words >= positive << 16) & (words < _SIGN) | (words >= _SIGN | negative << 16)
    return kept
