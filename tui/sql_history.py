"""Statements run before, in any workbench and by `knscope sql` at a terminal."""

from __future__ import annotations

from knscope.tui import state

KEPT = "sql-history"
MOST = 200


def remembered() -> list[str]:
    """Statements run before, oldest first: whoever ran them."""
    kept = state.read(KEPT).get("statements", [])
    return [str(text) for text in kept] if isinstance(kept, list) else []


def remember(text: str) -> list[str]:
    """Add a statement to those run before; returns all of them."""
    every = remembered()
    if not every or every[-1] != text:
        every = [*every, text][-MOST:]
        state.write(KEPT, {"statements": every})
    return every
