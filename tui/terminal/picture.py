"""The screen as SVG, as Rich exports it, with three things put right."""

from __future__ import annotations

import html
import re

from rich.cells import cell_len

_TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)<')
_CLIP = re.compile(r'(clip-terminal">\s*<rect [^>]*height=")([\d.]+)')
BELOW = 4
"""Pixels below the last line that are shown too."""
_FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


def corrected(svg: str) -> str:
    """Wide characters get the two cells that they take (Rich counts one, which squeezes Chinese text), no font is fetched, and what
    reaches below the last line (an underscore) is seen."""

    def widened(found: re.Match[str]) -> str:
        text = html.unescape(found[3])
        length = float(found[1]) * cell_len(text) / max(1, len(text))
        return f'textLength="{length:g}"{found[2]}>{found[3]}<'

    def higher(found: re.Match[str]) -> str:
        return f"{found[1]}{float(found[2]) + BELOW:g}"

    return _CLIP.sub(higher, _TEXT.sub(widened, _FONT.sub("", svg)))
