"""Where `knscope` starts, and how errors become messages and exit codes.

0 done, 1 the run failed (what is done is kept), 2 bad input or usage, 130 cancelled. Nothing here or below imports torch. What
only opens the workbench goes there directly: loading the other commands would put the first paint off by a quarter of a second.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path


def main() -> None:
    """Run the command line and leave with its exit code; a person's error is a message, never a traceback."""
    sys.exit(run_app(sys.argv[1:]))


def run_app(arguments: list[str]) -> int:
    """The exit code of one command line."""
    try:
        if _opens_a_store(arguments):
            _open(Path(arguments[1]) if arguments else None)
        else:
            from knscope.tui.commands.tree import app

            app(arguments, prog_name="knscope")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _detach_stdout()
        return 0
    except Exception as error:
        from knscope.analysis.errors import ModelError
        from knscope.store.errors import UserError

        if not isinstance(error, UserError | ModelError):
            raise
        from knscope.tui.printing.output import say

        say(f"knscope: {error}")
        return 2
    return 0


def _opens_a_store(arguments: list[str]) -> bool:
    """`knscope`, or `knscope open STORE` without options."""
    return not arguments or (len(arguments) == 2 and arguments[0] == "open" and not arguments[1].startswith("-"))


def _open(store: Path | None) -> None:
    """Nothing that loads before the first paint is garbage: looking for it takes a tenth of that time. The workbench
    collects again once it has painted."""
    gc.disable()
    try:
        from knscope.tui.app import run_workbench

        run_workbench(store)
    finally:
        gc.enable()


def _detach_stdout() -> None:
    """`knscope … | head` closes the pipe; what Python flushes at exit must not complain about it."""
    import os

    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
