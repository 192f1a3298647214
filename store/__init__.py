"""Results on disk: immutable shards, a live reader over them, and SQL. Knows no model and no screen.

reader = store.open("my.knstore")
reader.kn(View("bert-multi@1a2b3c4d", "amig", ("en", "zh")))     # a polars frame

DuckDB, polars and Arrow are imported when a store is opened, not before: a command's help and the workbench's first
paint must not wait for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import UserError
from store.layout import create
from store.view import View

if TYPE_CHECKING:
    from store.reader import Reader

__all__ = ["Reader", "UserError", "View", "create", "open"]


def open(path: Path | str) -> Reader:  # noqa: A001 - store.open is what a person types
    """Open a store for reading, also while others write it. Raises UserError where there is none."""
    from store.reader import Reader

    return Reader(path)


def __getattr__(name: str) -> Any:
    if name == "Reader":
        from store.reader import Reader

        return Reader
    raise AttributeError(f"module 'store' has no attribute {name!r}")
