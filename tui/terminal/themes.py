"""The workbench's own colours. Names are roles; languages take `primary warning success secondary error` by their place in the palette."""

from __future__ import annotations

from typing import Any

from textual.theme import Theme


def _theme(name: str, primary: str, blurred: str, cursor: str, muted: str, dark: bool = True, **colours: Any) -> Theme:
    """:param blurred: the border of a box without the focus; `cursor`: the background of the marked row"""
    variables = {
        "block-cursor-text-style": "bold",
        "footer-key-foreground": "$accent",
        "input-cursor-text-style": "reverse",
        "border": primary,
        "border-blurred": blurred,
        "block-cursor-background": cursor,
        "block-cursor-foreground": "#ffffff",
        "text-muted": muted,
    }
    return Theme(name=name, primary=primary, dark=dark, variables=variables, **colours)


THEMES = (
    _theme(
        "knscope", primary="#7aa2f7", secondary="#bb9af7", accent="#73daca", success="#9ece6a", warning="#e0af68",
        error="#f7768e", foreground="#c8d0e0", background="#16181f", surface="#1b1e27", panel="#20242f",
        blurred="#3b4152", cursor="#33467c", muted="#858da3",
    ),
    _theme(
        "knscope-light", primary="#2f5fb3", secondary="#7a4bb5", accent="#0d6b64", success="#3d7a1c", warning="#9a6200",
        error="#b3263a", foreground="#23272f", background="#fafafa", surface="#f0f1f4", panel="#e6e8ee",
        blurred="#c2c7d2", cursor="#2f5fb3", muted="#5c6371", dark=False,
    ),
    _theme(  # hues that stay apart under every common colour vision deficiency (blue, orange, yellow, sky, vermilion)
        "knscope-colour-blind", primary="#56b4e9", secondary="#cc79a7", accent="#f0e442", success="#009e73", warning="#e69f00",
        error="#d55e00", foreground="#e4e4e4", background="#121212", surface="#1c1c1c", panel="#262626",
        blurred="#4a4a4a", cursor="#0072b2", muted="#a0a0a0",
    ),
    _theme(  # the sixteen colours themselves: others would all become grey
        "knscope-16", primary="#5555ff", secondary="#ff55ff", accent="#55ffff", success="#55ff55", warning="#ffff55",
        error="#ff5555", foreground="#ffffff", background="#000000", surface="#000000", panel="#000000",
        blurred="#555555", cursor="#0000aa", muted="#aaaaaa",
    ),
)  # fmt: skip
SIXTEEN = THEMES[-1].name
"""What a terminal of sixteen colours begins with."""
