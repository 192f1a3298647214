"""knscope: which MLP neurons of a language model hold a fact, in which languages, and which back each other up.

    import knscope
    reader = knscope.open("my.knstore")     # a store of results, also while a run writes it

`knscope.store`, `knscope.analysis` and `knscope.tui` are the three layers. Importing knscope imports none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for a type checker True; `typing` is not imported before `store.safe_path.clean` has run
if TYPE_CHECKING:
    from typing import Any

    from knscope.store import open as open  # noqa: A004 - knscope.open is what a person types

__all__ = ["__version__", "open"]


def __getattr__(name: str) -> Any:
    if name == "open":
        from knscope.store import open as open_store

        return open_store
    if name == "__version__":
        from importlib.metadata import version

        return version("knscope")
    raise AttributeError(f"module 'knscope' has no attribute {name!r}")
