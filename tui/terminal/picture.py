"""The screen as SVG, as Rich exports it, with two things put right."""

from __future__ import annotations

import html
import re

from rich.cells import cell_len

_TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)<')
_FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


def corrected(svg: str) -> str:
    """Wide characters get the two cells that they take (Rich counts one, which squeezes Chinese text), and no font is fetched."""

    def widened(found: re.Match[str]) -> str:
        text = html.unescape(found[3])
        length = float(found[1]) * cell_len(text) / max(1, len(text))
        return f'textLength="{length:g}"{found[2]}>{found[3]}<'

    return _TEXT.sub(widened, _FONT.sub("", svg))
