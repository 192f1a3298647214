"""Who may use a workbench that is served, and how large it may be: the part of `serving` that needs no optional package."""

from __future__ import annotations

import secrets

HOST = "127.0.0.1"
COLUMNS, ROWS = 600, 300
"""Of the largest terminal that a page may ask for."""


def bounded(width: object, height: object) -> tuple[int, int]:
    """A terminal's size as a page asks for it, within what a workbench is drawn in."""
    columns, rows = (value if type(value) is int else 0 for value in (width, height))
    return min(max(columns, 1), COLUMNS), min(max(rows, 1), ROWS)


def cookie(place: str) -> str:
    """The name of a server's cookie: browsers send those of one host to all of its ports."""
    return f"knscope-{place.rpartition(':')[2]}"


def allowed(place: str, token: str, host: str, origin: str | None, given: str) -> bool:
    """Whether a request may pass: it names this host, comes from no other page, and brings the token."""
    return (
        host == place and origin in (None, f"http://{place}") and secrets.compare_digest(given.encode(), token.encode())
    )
