"""Words of a text, from the text alone: what eq. 3 masks one at a time (METHOD: query, answer, position)."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

Span = tuple[int, int]
"""Start and end (exclusive) of a stretch of characters."""

# Scripts written without spaces, by code point: Thai, Lao, Myanmar, Khmer, kana, Han and their extensions.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x19E0, 0x19FF), (0x1AA0, 0x1AAF), (0x2E80, 0x2FDF),
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303C), (0x3041, 0x30FF), (0x31C0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFD),
)  # fmt: skip
_STARTS = tuple(start for start, _ in _UNSPACED)


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to a script in which each character counts as a word."""
    index = bisect_right(_STARTS, ord(character)) - 1
    return index >= 0 and ord(character) <= _UNSPACED[index][1]


def word_spans(text: str, start: int = 0) -> list[Span]:
    """Words of `text`, in order, as spans shifted by `start`.

    A word is a run without white space, or one character (with its combining marks) of a script without spaces.
    Punctuation and symbols are no words: runs lose theirs at both ends and keep them inside (`Guinea-Bissau` is one
    word).
    """
    spans: list[Span] = []
    run: int | None = None
    for index, character in enumerate(text):
        if unicodedata.category(character) in ("Mn", "Mc") and spans and run is None and spans[-1][1] == start + index:
            spans[-1] = (spans[-1][0], start + index + 1)
        elif is_unspaced(character) or character.isspace():
            spans += _trimmed(text, run, index, start)
            run = None
            spans += _trimmed(text, index, index + 1, start)
        elif run is None:
            run = index
    return spans + _trimmed(text, run, len(text), start)


def _trimmed(text: str, begin: int | None, end: int, start: int) -> list[Span]:
    if begin is None:
        return []
    while begin < end and not _is_wordlike(text[begin]):
        begin += 1
    while end > begin and not _is_wordlike(text[end - 1]):
        end -= 1
    return [(start + begin, start + end)] if begin < end else []


def _is_wordlike(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"
