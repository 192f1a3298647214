"""The workbench's own colours. Names are roles; languages take `primary warning success secondary error` by their place in the palette."""

from __future__ import annotations

from textual.theme import Theme

_QUIET = {"block-cursor-text-style": "bold", "footer-key-foreground": "$accent", "input-cursor-text-style": "reverse"}

THEMES = (
    Theme(
        name="knscope",
        primary="#7aa2f7",
        secondary="#bb9af7",
        accent="#73daca",
        foreground="#c8d0e0",
        background="#16181f",
        surface="#1b1e27",
        panel="#20242f",
        success="#9ece6a",
        warning="#e0af68",
        error="#f7768e",
        dark=True,
        variables={
            **_QUIET,
            "border": "#7aa2f7",
            "border-blurred": "#3b4152",
            "block-cursor-background": "#33467c",
            "block-cursor-foreground": "#ffffff",
            "text-muted": "#858da3",
        },
    ),
    Theme(
        name="knscope-light",
        primary="#2f5fb3",
        secondary="#7a4bb5",
        accent="#0d6b64",
        foreground="#23272f",
        background="#fafafa",
        surface="#f0f1f4",
        panel="#e6e8ee",
        success="#3d7a1c",
        warning="#9a6200",
        error="#b3263a",
        dark=False,
        variables={
            **_QUIET,
            "border": "#2f5fb3",
            "border-blurred": "#c2c7d2",
            "block-cursor-background": "#2f5fb3",
            "block-cursor-foreground": "#ffffff",
            "text-muted": "#5c6371",
        },
    ),
    Theme(  # hues that stay apart under every common colour vision deficiency (blue, orange, yellow, sky, vermilion)
        name="knscope-colour-blind",
        primary="#56b4e9",
        secondary="#cc79a7",
        accent="#f0e442",
        foreground="#e4e4e4",
        background="#121212",
        surface="#1c1c1c",
        panel="#262626",
        success="#009e73",
        warning="#e69f00",
        error="#d55e00",
        dark=True,
        variables={
            **_QUIET,
            "border": "#56b4e9",
            "border-blurred": "#4a4a4a",
            "block-cursor-background": "#0072b2",
            "block-cursor-foreground": "#ffffff",
            "text-muted": "#a0a0a0",
        },
    ),
    Theme(  # the sixteen colours themselves: others would all become grey
        name="knscope-16",
        primary="#5555ff",
        secondary="#ff55ff",
        accent="#55ffff",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        success="#55ff55",
        warning="#ffff55",
        error="#ff5555",
        dark=True,
        variables={
            **_QUIET,
            "border": "#5555ff",
            "border-blurred": "#555555",
            "block-cursor-background": "#0000aa",
            "block-cursor-foreground": "#ffffff",
            "text-muted": "#aaaaaa",
        },
    ),
)
SIXTEEN = THEMES[-1].name
"""What a terminal of sixteen colours begins with."""
