"""Words of a text, from the text alone: what eq. 3 masks one at a time (METHOD: query, answer, position)."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right

Span = tuple[int, int]
"""Start and end (exclusive) of a stretch of characters."""

WITHOUT_PATH = (
    "words: those of the prompts that have a path of eq. 3; words_without_path: those that have none of their own, since "
    "another word's token covers them"
)
# Scripts written without spaces, by code point: Thai, Lao, Myanmar, Khmer, kana, Han and their extensions.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x19E0, 0x19FF), (0x1AA0, 0x1AAF), (0x2E80, 0x2FDF),
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303C), (0x3041, 0x30FF), (0x31C0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFD),
)  # fmt: skip
_WRITTEN_BLANKS = re.compile(r"[\s▁ĠĊĉ]|<0x(09|0A|0D|20)>")
"""White space as tokenizers write it: SentencePiece, byte-level, byte fallback."""
_SLOT, _SPACED_SLOT = re.compile(r"\[[XY]\]"), re.compile(r"\s\[[XY]\]|\[[XY]\]\s")
_STARTS = tuple(start for start, _ in _UNSPACED)


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to a script in which each character counts as a word."""
    index = bisect_right(_STARTS, ord(character)) - 1
    return index >= 0 and ord(character) <= _UNSPACED[index][1]


def without_blanks(token: str) -> str:
    """A token, as the tokenizer writes it, without its white space: nothing is left of one of white space alone."""
    return _WRITTEN_BLANKS.sub("", token)


def is_unspaced_text(text: str) -> bool:
    """Whether most words of a text are of scripts without spaces."""
    first = [text[start] for start, _ in word_spans(text)]
    return 2 * sum(map(is_unspaced, first)) > len(first)


def has_spaced_slot(template: str, subject: str, answer: str) -> bool:
    """Whether white space stands beside [X] or [Y] in a template of a script without spaces. One without words is of the
    script of what is filled in."""
    text = _SLOT.sub(" ", template)
    filled = text if word_spans(text) else f"{subject} {answer}"
    return _SPACED_SLOT.search(template) is not None and is_unspaced_text(filled)


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
