"""Results on disk: immutable shards, a live reader over them, and SQL. Knows no model and no screen.

    import knscope
    reader = knscope.open("my.knstore")                 # also while others write it
    view = reader.view(taus={"en": 0.3, "zh": 0.2})     # model and method may be left out where there is one
    reader.kn(view)                                     # a polars frame; also likn, dkn, layer_hist, edits, factcheck
    reader.sql("SELECT count(*) FROM attribution")      # any SQL over every table and macro
    reader.dense(key)                                   # (n_neurons,) float32
    reader.poll()                                       # take in what came since

Importing `store` imports nothing else: a command's help and the workbench's first paint wait for no DuckDB, polars or Arrow.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for a type checker True; `typing` is not imported before `safe_path.clean` has run
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from knscope.store.errors import UserError
    from knscope.store.layout import create
    from knscope.store.reader import Reader
    from knscope.store.view import View

__all__ = ["Reader", "UserError", "View", "create", "open"]


def open(path: Path | str, memory_limit: str = "2GB") -> Reader:  # noqa: A001 - knscope.open is what a person types
    """Open a store for reading, also while others write it, or where nothing may be written.

    :param memory_limit: of DuckDB, as it writes sizes; what does not fit goes to a temporary folder
    :raises UserError: where there is no store, or one of another format
    """
    from knscope.store.reader import Reader

    return Reader(path, memory_limit)


def __getattr__(name: str) -> Any:
    rooms = {"Reader": "reader", "UserError": "errors", "View": "view", "create": "layout"}
    if name not in rooms:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{rooms[name]}"), name)
