"""Results on disk: immutable shards, a live reader over them, and SQL. Knows no model and no screen.

reader = store.open("my.knstore")
reader.kn(View("bert-multi@1a2b3c4d", "amig", ("en", "zh")))     # a polars frame
"""

from __future__ import annotations

from pathlib import Path

from store.errors import UserError
from store.layout import create
from store.reader import Reader
from store.view import View

__all__ = ["Reader", "UserError", "View", "create", "open"]


def open(path: Path | str) -> Reader:  # noqa: A001 - store.open is what a person types
    """Open a store for reading, also while others write it. Raises UserError where there is none."""
    return Reader(path)
