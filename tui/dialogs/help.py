"""What `?` shows: what the pane is, then every key, from the keymap."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from rich.text import Text

from knscope.tui import keymap
from knscope.tui.panes.pane import Pane

WIDTH = 14
ROOM = 54


SIGNS = (
    (
        "green",
        "the value passes the test of its column: rank 1, found in every language, above its controls (own), strict, degenerate, done",
    ),
    ("red", "failed, lost or silent"),
    ("grey", "too small to count, or a control"),
    ("▌ ›", "the cursor, with and without the focus"),
    ("▎", "rows that the other panes speak of"),
    ("*", "a threshold that is not at its default"),
    ("– ·", "nothing stored, or nothing there"),
    ("~", "an interval from fewer than 10 subjects: rough"),
)


def _wrapped(text: str) -> str:
    """Hanging under its own beginning."""
    return f"\n{'':<{WIDTH + 2}}".join(textwrap.wrap(text, ROOM)) + "\n"


def help_text(pane: Pane | None, remap: Mapping[str, str]) -> Text:
    """Context first; all keys after it."""
    text = Text()
    if pane is not None and pane.HELP:
        text.append(f"{pane.TITLE}\n", style="bold")
        text.append(f"{pane.help_text()}\n")
    for group, actions in keymap.BY_GROUP.items():
        text.append(f"\n{group}\n", style="bold")
        for action in actions:
            keys = " ".join(keymap.glyph(key) for key in keymap.keys_of(action, remap))
            text.append(f"  {keys:<{WIDTH}}", style="bold")
            text.append(_wrapped(action.help))
    text.append("\nSigns and colours\n", style="bold")
    for what, means in SIGNS:
        text.append(f"  {what:<{WIDTH}}", style="bold")
        text.append(_wrapped(means))
    text.append("\nMouse\n", style="bold")
    for what, happens in (
        ("click", "focus a pane, mark a row, a threshold, a bin"),
        ("double click", "go in"),
        ("click a title", "sort by that column"),
        ("wheel", "scroll; over a threshold, change it"),
        ("shift + drag", "mark text as the terminal itself does, for copying"),
    ):
        text.append(f"  {what:<{WIDTH}}", style="bold")
        text.append(_wrapped(happens))
    return text
