"""How values read in a table: aligned, short, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knscope.tui.printing.format import NOTHING, one_line
from knscope.tui.printing.format import several as several

if TYPE_CHECKING:
    import polars as pl
__all__ = ["NOTHING", "Column", "columns_of", "count", "percent", "plain", "power", "prob", "several", "signed", "tick"]


@dataclass(frozen=True)
class Column:
    """One column of a table: where its values come from and how they are shown."""

    name: str
    title: str
    format: Callable[[Any], str] = str
    right: bool = False
    grow: bool = False
    """Takes the width that is left over, and gives it up first."""
    least: int = 0
    """Narrowest width in cells; 0: as wide as its content."""
    most: int = 40
    drop: int = 0
    """Where the pane is too narrow the column with the highest number is left out first; 0: never."""
    tone: Callable[[Any], str] | None = None
    """Names the style of a value: `good`, `bad`, `dim` or nothing."""

    def text(self, value: Any) -> str:
        """A value as its cell shows it."""
        return one_line(self.format(value))


def prob(value: float | None) -> str:
    """A probability: `0.982`, and tiny ones as powers."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.0005 or value == 0 else f"{value:.0e}"


def power(value: float | None) -> str:
    """A residual: only its size matters, `2e-05`."""
    return NOTHING if value is None else "0" if value == 0 else f"{value:.0e}"


def signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+z.3f}"


def plain(value: Any) -> str:
    """Any value of any type: what SQL returned."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return "[" + ", ".join(plain(part) for part in value) + "]"
    return one_line(str(value)) or "''"


def count(value: int | float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:z.1f}%"


def tick(value: bool | None) -> str:
    return NOTHING if value is None else "✓" if value else "·"


def columns_of(frame: pl.DataFrame) -> tuple[Column, ...]:
    """Columns for a frame nobody described: numbers to the right."""
    return tuple(
        Column(name, one_line(name), plain, right=dtype.is_numeric() or dtype.is_temporal(), most=36)
        for name, dtype in frame.schema.items()
    )
