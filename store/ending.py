"""How a process of ours ends."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in store/__init__.py: nothing is imported before `safe_path.clean` has run
if TYPE_CHECKING:
    from collections.abc import Callable


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


def when_the_caller_ends(then: Callable[[], object]) -> None:
    """Call `then`, in a thread of its own, once nobody holds the other end of stdin: the caller may be killed."""
    import select
    import threading

    def wait() -> None:
        waiting = select.poll()
        waiting.register(0, 0)
        waiting.poll()  # a hangup is all that can come
        then()

    threading.Thread(target=wait, name="caller", daemon=True).start()
