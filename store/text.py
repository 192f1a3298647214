"""Text of data as it may be shown: no character that a terminal obeys, that nobody sees, or that a file format cannot hold."""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1: what a terminal obeys
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, overrides and isolates
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"  # nothing is seen of them
    "\u2028\u2029\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # separators, marks, tags
    "\ud800-\udfff"  # halves of characters: bytes of a file's name that are not UTF-8
    "\ufffe\uffff"  # no characters: no XML holds them
    "]"
)
"""Characters that a terminal obeys or that nobody sees. U+200C and U+200D are not among them: scripts need them to join letters."""


def visible(text: str) -> str:
    """Text of one or several lines with a dot for every HIDDEN character."""
    return HIDDEN.sub("·", text)


def one_line(text: str) -> str:
    """The same for text that stands in one line: a dot for tabs and line breaks too."""
    return visible(text).replace("\n", "·").replace("\t", "·")


def duration(seconds: float | None) -> str:
    """`1 h 05`, `4 min`, `12 s`; a dash where nobody knows."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02}"
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"


def is_utf8(text: str) -> bool:
    """False for the name of a file whose bytes are not UTF-8: JSON files and the database cannot hold it."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)
