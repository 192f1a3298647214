"""How values are written in cells, lines, titles and dialogs. All data passes `visible` on its way to the screen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knscope.store.text import HIDDEN as HIDDEN
from knscope.store.text import one_line as one_line
from knscope.store.text import visible as visible

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table

NOTHING = "–"
"""Stands for what is not stored or cannot be said; never an empty cell."""


def several(number: int, thing: str) -> str:
    """`1 fact`, `12 facts`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def cell(value: Any) -> str:
    """A value as text: three significant decimals, – for a missing value."""
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


def document(tables: Sequence[Table]) -> dict[str, Any]:
    """The JSON document of tables, as --json prints it."""
    return {"tables": [as_json(table) for table in tables]}


def as_json(table: Table) -> dict[str, Any]:
    return {"name": table.name, "title": table.title, "rows": table.frame.to_dicts(), "notes": list(table.notes)}


def json_text(content: Any) -> str:
    """Strict JSON: NaN and infinity become null, bytes become hex, HIDDEN characters are escaped."""
    from knscope.store.export import as_json_text

    return HIDDEN.sub(_escape, as_json_text(content))


def _escape(found: re.Match[str]) -> str:
    """`\\u202e`; two of them above U+FFFF."""
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
