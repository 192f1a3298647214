"""Columns and cells in the width there is, and which rows hold the words of a filter."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from knscope.tui.widgets.cells import Column

if TYPE_CHECKING:
    import polars as pl

GAP = 1
PART = " · "
NO_TITLES: Mapping[str, str] = MappingProxyType({})
_COMPARED = re.compile(r"([^<>=!]+)([<>]=?)(-?\d*\.?\d+)")
_CLAUSE = re.compile(r"[;:.] | \(")
_ORDER = MappingProxyType({"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge})
PADDING = 24
"""Cells that a growing column takes at most beyond its content."""


def fit(columns: Sequence[Column], natural: Mapping[str, int], width: int) -> tuple[tuple[Column, int], ...]:
    """Which columns are shown in `width` cells, and how wide: optional ones go first (those of one rank together: they
    say something only beside each other), then those that grow shrink, and share the room that there is.

    What still does not fit is scrolled to.
    """
    shown = list(columns)

    def least(column: Column) -> int:
        wide = max(min(natural[column.name], column.most), cell_len(column.title))
        return min(wide, max(column.least, cell_len(column.title))) if column.grow else wide

    def needed() -> int:
        return sum(least(column) + GAP for column in shown) - GAP

    while needed() > width and any(column.drop for column in shown):
        last = max(column.drop for column in shown)
        shown = [column for column in shown if column.drop != last]
    widths = [least(column) for column in shown]
    spare = max(0, width - needed())
    growing = [place for place, column in enumerate(shown) if column.grow]
    while spare and (short := [place for place in growing if widths[place] < natural[shown[place].name]]):
        each = max(1, spare // len(short))  # what is cut most gets no less than what is cut little
        for place in short:
            more = min(each, spare, natural[shown[place].name] - widths[place])
            widths[place], spare = widths[place] + more, spare - more
    # Numbers then stand at the right edge; far from their names they would be read amiss.
    if growing and spare <= PADDING:
        widths[growing[-1]] += spare
    return tuple(zip(shown, widths, strict=True))


def align(text: str, width: int, right: bool) -> str:
    """Cut to a width in cells with an ellipsis, or fill up."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return " " * (width - length) + text if right else text + " " * (width - length)


def wrapped(text: str, room: int) -> int:
    """How many lines of `room` cells a text takes, broken between words."""
    lines, used = int(bool(text)), 0
    for word in text.split():
        wide = cell_len(word)
        if used and used + 1 + wide > room:
            lines, used = lines + 1, 0
        used += wide + bool(used)
        lines, used = lines + used // (room + 1), used % (room + 1)
    return lines


def clauses(text: str, room: int, lines: int) -> str:
    """As much of a sentence as fits into so many lines, up to the end of a clause; all of it where not even the first one does."""
    for end in (len(text), *(found.start() for found in reversed([*_CLAUSE.finditer(text)]))):
        part = text[:end] + ("" if end == len(text) else ".")
        if wrapped(part, room) <= lines:
            return part
    return text


def leading_parts(text: str, room: int) -> str:
    """The first of the parts, set off by `·`, that stand in so many cells; at least one."""
    parts = text.split(PART)
    while len(parts) > 1 and cell_len(PART.join(parts)) > room:
        parts.pop()
    return PART.join(parts)


def holding(
    frame: pl.DataFrame, names: Sequence[str], text: str, titles: Mapping[str, str] = NO_TITLES
) -> pl.DataFrame:
    """Rows that hold every word of a filter in one of these columns. `!word` must not occur; `=en+zh` means found in exactly these
    languages, where the frame has a column `langs`; `facts>5` compares a column of numbers, named as it is or by its title.

    :param titles: the columns' names by what they are called on the screen
    """
    import polars as pl

    lists = pl.List(pl.String)
    texts = [name for name in names if frame.schema[name] in (pl.String, lists) or frame.schema[name].is_integer()]
    searched = pl.concat_str(
        [
            (pl.col(name).list.join(" ") if frame.schema[name] == lists else pl.col(name).cast(pl.String)).fill_null("")
            for name in texts
        ]
        or [pl.lit("")],
        separator=" ",
    )
    found = pl.lit(True)
    for word in text.lower().split():
        said = _COMPARED.fullmatch(word)
        number = titles.get(said[1], said[1]) if said else ""
        if said and number in frame.columns and frame.schema[number].is_numeric():
            found = found & _ORDER[said[2]](pl.col(number), float(said[3]))
        elif word.startswith("=") and "langs" in frame.columns:
            exactly = " ".join(sorted(word[1:].split("+")))
            found = found & (pl.col("langs").str.to_lowercase().str.split(" ").list.sort().list.join(" ") == exactly)
        else:
            holds = searched.str.to_lowercase().str.contains(word.removeprefix("!"), literal=True)
            found = found & (~holds if word.startswith("!") and len(word) > 1 else holds)
    return frame.filter(found)
