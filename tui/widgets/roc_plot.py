"""An ROC curve drawn with cells: right claims judged true over wrong claims judged true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    import numpy as np

LEFT = 5
"""Cells of the scale at the left."""


def roc_text(wrong: np.ndarray, right: np.ndarray, width: int, height: int) -> Text:
    """A curve, (n,) and (n,) shares, in `width` x `height` cells with its scales; below it what chance would draw, dotted.

    The curve's height in a column is exact to an eighth of a cell.
    """
    import numpy as np  # not before a curve is drawn: it was a quarter of the imports before the first paint

    columns, rows = max(4, width - LEFT), max(2, height - 2)
    at = (np.arange(columns) + 0.5) / columns
    highest = np.array([right[wrong <= x].max(initial=0.0) for x in at])
    steps = np.interp(at, wrong, right) if len(wrong) else np.zeros(columns)
    level = np.maximum(highest, steps)
    text = Text(no_wrap=True)
    for row in reversed(range(rows)):
        label = {rows - 1: "100%", 0: "0%"}.get(row, "")
        text.append(f"{label:>{LEFT - 1}} ", style="dim")
        for column in range(columns):
            filled = level[column] * rows * 8 - row * 8
            if filled >= 1:
                text.append(" ▁▂▃▄▅▆▇█"[int(min(8, filled))], style="bold")
            else:
                on_diagonal = row == int(at[column] * rows)
                text.append("·" if on_diagonal else " ", style="dim")
        text.append("\n")
    text.append(f"{'':<{LEFT}}0%{'wrong claims judged true 100%':>{columns - 2}}"[: LEFT + columns], style="dim")
    return text
