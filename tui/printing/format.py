"""How a value reads wherever a person sees it: in a cell, a line, a title, a dialog. `visible` is where data become text to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table

NOTHING = "–"
"""Stands for what is not stored or cannot be said; never an empty cell."""

HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1: what a terminal obeys
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, overrides and isolates
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"  # nothing is seen of them
    "\u2028\u2029\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # separators, marks, tags
    "\ud800-\udfff"  # halves of characters: bytes of a file's name that are not UTF-8
    "]"
)
"""Characters that a terminal obeys or that nobody sees. U+200C and U+200D are not among them: scripts need them to join letters."""


def visible(text: str) -> str:
    """Text of one or several lines with a dot for every HIDDEN character."""
    return HIDDEN.sub("·", text)


def one_line(text: str) -> str:
    """The same for text that stands in one line: a dot for tabs and line breaks too."""
    return visible(text).replace("\n", "·").replace("\t", "·")


def cell(value: Any) -> str:
    """A value as a person reads it: three significant decimals, – for what is not there."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != 0 and abs(value) < 0.001:
            return f"{value:.1e}"
        if abs(value) < 1e9:
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
        return f"{value:.2e}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return " ".join(cell(part) for part in value)
    return one_line(str(value))


def duration(seconds: float | None) -> str:
    return NOTHING if seconds is None else str(timedelta(seconds=round(seconds)))


def document(tables: Sequence[Table]) -> dict[str, Any]:
    """What --json prints and a .json file holds."""
    return {"tables": [as_json(table) for table in tables]}


def as_json(table: Table) -> dict[str, Any]:
    return {"name": table.name, "title": table.title, "rows": table.frame.to_dicts(), "notes": list(table.notes)}


def json_text(content: Any) -> str:
    """JSON that every reader takes: floats that are no numbers are null, bytes are hex, HIDDEN characters are escaped."""
    from knscope.store.export import as_json_text

    return HIDDEN.sub(_escape, as_json_text(content))


def _escape(found: re.Match[str]) -> str:
    """`\\u202e`; two of them above U+FFFF."""
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
