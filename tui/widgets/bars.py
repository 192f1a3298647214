"""Bars from eighths of a cell: exact to an eighth, the same in every terminal."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> str:
    """`share` of `width` cells, always `width` cells long. What is above nothing shows at least an eighth."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def two_bars(upper: float, lower: float, width: int) -> str:
    """Two shares of `width` cells in the upper and the lower half of one line, exact to half a cell's place. What is above nothing
    and would be no cell long is a thin stroke."""
    ends = [round(max(0.0, min(1.0, share)) * width) for share in (upper, lower)]
    drawn = "".join(" ▀▄█"[(place < ends[0]) + 2 * (place < ends[1])] for place in range(width))
    strokes = [share > 0 and not end for share, end in zip((upper, lower), ends, strict=True)]
    return " ╵╷│"[strokes[0] + 2 * strokes[1]] + drawn[1:] if not any(ends) and width else drawn


def spark(values: list[float]) -> str:
    """One cell a value, as high as its share of the largest."""
    top = max(values, default=0.0)
    return "".join(_HEIGHTS[0 if value <= 0 or top <= 0 else max(1, round(8 * value / top))] for value in values)
