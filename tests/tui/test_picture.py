"""The exported picture."""

from __future__ import annotations

import io
import re

from rich.console import Console

from knscope.tui.terminal.picture import corrected


def test_chinese_text_takes_two_cells_a_character_and_no_font_is_fetched() -> None:
    console = Console(record=True, width=20, file=io.StringIO())
    console.print("东京")
    svg = console.export_svg(title="")
    before, after = (
        float(re.search(r'textLength="([\d.]+)"[^>]*>东京', text)[1])  # type: ignore[index]
        for text in (svg, corrected(svg))
    )
    assert after == 2 * before
    assert "@font-face" in svg and "@font-face" not in corrected(svg)
    high, higher = (
        float(re.search(r'clip-terminal">\s*<rect [^>]*height="([\d.]+)', text)[1]) for text in (svg, corrected(svg))
    )  # type: ignore[index]
    assert higher > high, "an underscore in the last line is seen"
