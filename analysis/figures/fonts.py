"""Characters that matplotlib's own font lacks: another font on this machine draws them, or they are spelled out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"
"""Comes with matplotlib."""
SHOWN = 10
"""Characters that the sentence names."""


@dataclass(frozen=True)
class Fonts:
    """What draws a figure's texts: the families to try in turn, and the characters that none of them has."""

    families: Sequence[str]
    missing: frozenset[str]

    def spelled(self, text: str) -> str:
        """The text with what cannot be drawn spelled out, as in \\\\u4e2d."""
        return "".join(one.encode("ascii", "backslashreplace").decode() if one in self.missing else one for one in text)

    @property
    def sentence(self) -> str:
        """What a person should know of characters that could not be drawn; empty where all were."""
        if not self.missing:
            return ""
        some = "".join(sorted(self.missing)[:SHOWN])
        return f"no font of this machine has {some}, spelled out in the figure; install one, such as Noto Sans CJK"


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The fonts that together have every character of the texts, as far as there are any."""
    wanted = frozenset(one for one in "".join(texts) if ord(one) > 127)
    families = [OWN]
    if wanted := wanted - _characters(font_manager.findfont(OWN)):
        for path in _others():
            if not wanted:
                break
            if has := wanted & _characters(path):
                font_manager.fontManager.addfont(path)  # its own list may be older than the font
                families.append(FT2Font(path).family_name)
                wanted -= has
    return Fonts(tuple(families), wanted)


@cache
def _others() -> tuple[str, ...]:
    """Files of this machine's fonts; regular sans-serif ones, and those made for Chinese, Japanese and Korean, first."""

    def order(path: str) -> tuple[bool, bool, bool, str]:
        name = Path(path).stem
        return "Regular" not in name, "Sans" not in name, "CJK" not in name, path

    return tuple(sorted(font_manager.findSystemFonts(), key=order))


@cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed, or that FreeType does not read
        return frozenset()
