"""One colour a language, in figures and in the terminal: a language has the same place whatever others there are."""

from __future__ import annotations

from collections.abc import Iterable

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d1f", "#7f7f7f")
"""Okabe and Ito's without black and with a darker yellow; the terminal's themes have hues of the same order (layer_grid.tcss)."""
KNOWN = ("en", "zh", "fr", "es", "de", "ja")
"""Languages whose places are fixed, by primary subtag."""


def places(langs: Iterable[str]) -> dict[str, int]:
    """The place of each language among the colours; what is not known takes the next free ones in alphabetical order."""
    found: dict[str, int] = {}
    rest = []
    for lang in sorted(set(langs)):
        place = KNOWN.index(tag) if (tag := lang.partition("-")[0]) in KNOWN else -1
        if place < 0 or place in found.values():
            rest.append(lang)
        else:
            found[lang] = place
    free = (place for place in range(len(found) + len(rest) + len(KNOWN)) if place not in found.values())
    return {**found, **dict(zip(rest, free, strict=False))}
