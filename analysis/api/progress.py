"""How far a run is, shown where one looks: in a notebook a bar that moves, on a terminal a line that is written anew."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from typing import Any

from knscope.analysis.runs.status import RunStatus
from knscope.store.runs import ACTIVE
from knscope.store.text import duration


class Progress:
    """The last thing that was seen of a run, as text and for a notebook."""

    def __init__(self) -> None:
        self._seen: RunStatus | None = None
        self._handle: Any = None

    def __repr__(self) -> str:
        """One line: how many results of how many, and the time left."""
        if self._seen is None:
            return "starting"
        record, status = self._seen.record, self._seen.status
        counted = f"{record.done:,} of {record.total:,} results" if record.total else "starting"
        return f"{counted}, {status}" + (f", {duration(self._seen.left)} left" if status in ACTIVE else "")

    def _repr_html_(self) -> str:
        record = self._seen.record if self._seen is not None else None
        far = f' value="{record.done}" max="{record.total}"' if record is not None and record.total else ""
        return f"<div><progress{far}></progress> {escape(repr(self))}</div>"

    def __call__(self, seen: RunStatus) -> None:
        """Show a run anew, where anybody looks."""
        self._seen = seen
        if (display := _notebook()) is not None:
            if self._handle is None:
                self._handle = display(self, display_id=True)
            else:
                self._handle.update(self)
        elif sys.stderr.isatty():
            end = "" if seen.status in ACTIVE else "\n"
            sys.stderr.write(f"\r\x1b[K{self!r}{end}")
            sys.stderr.flush()


def _notebook() -> Callable[..., Any] | None:
    """IPython's `display` where this is a notebook: a shell with a kernel. Nothing is imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    found: Callable[..., Any] = sys.modules["IPython.display"].display
    return found
