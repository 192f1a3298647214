"""What the workbench remembers between two sittings: where one was in each store, kept thresholds, SQL history.

Small JSON files in the XDG state folder, replaced atomically; a damaged one is set aside, never in the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knscope.tui.config import own_folder

SQL_HISTORY = "sql-history"
STATEMENTS = 200


def file(name: str) -> Path | None:
    """A file of the state folder; None where there is no home directory."""
    folder = own_folder("state")
    return folder / name if folder else None


def session_name(store: Path) -> str:
    """One file a store, named by its place."""
    return "session-" + hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:16]


def read(name: str) -> dict[str, Any]:
    """What was kept under a name; empty where nothing was or where it is damaged."""
    if (path := file(f"{name}.json")) is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        return {}
    return found if isinstance(found, dict) else {}


def write(name: str, value: Mapping[str, Any]) -> None:
    """Replace what is kept under a name. A folder that cannot be written costs the memory, not the work."""
    if (path := file(f"{name}.json")) is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}")
        try:
            fresh.write_text(json.dumps(value), encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def last_store() -> Path | None:
    """The store opened last, if it is still there."""
    path = read("last").get("store")
    with contextlib.suppress(OSError, ValueError):
        return Path(path) if isinstance(path, str) and Path(path, "store.json").is_file() else None
    return None


def statements() -> list[str]:
    """Statements run before, oldest first: whoever ran them."""
    kept = read(SQL_HISTORY).get("statements", [])
    return [str(text) for text in kept] if isinstance(kept, list) else []


def remember_statement(text: str) -> list[str]:
    """Add a statement to those run before; returns all of them."""
    every = statements()
    if not every or every[-1] != text:
        every = [*every, text][-STATEMENTS:]
        write(SQL_HISTORY, {"statements": every})
    return every
