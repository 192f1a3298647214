"""How a process of ours ends."""

from __future__ import annotations

import sys


def end(code: int) -> None:
    """End at once. Python itself would wait for threads that still load what nobody sees any more, and take all modules apart: torch's
    for about a second."""
    import atexit
    import contextlib
    import os

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
