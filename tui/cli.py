"""Where `knscope` starts, and how errors become messages and exit codes.

0 done, 1 the run failed (what is done is kept), 2 bad input or usage, 130 cancelled. Nothing here or below imports torch. What
only opens the workbench, or asks in SQL, goes there directly: loading the other commands would take a quarter of a second.
Modules are imported where they are used: `main` has to take the working folder off the path before.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit code; a person's error is a message, never a traceback."""
    from knscope.store import ending, safe_path

    safe_path.clean()
    # numpy multiplies small matrices here: threads of its own would only wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import contextlib
    import traceback

    from knscope.store.errors import ReaderGone, UserError
    from knscope.tui.printing import streams

    streams.take_over()
    # A shell that starts a command in the background has it ignore SIGINT; who sends it one all the same means to end it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run_app(sys.argv[1:])
    except Exception:  # noqa: BLE001 - a fault of the program; its traceback may quote data, so it is printed as data are
        from knscope.tui.printing.output import say

        say(traceback.format_exc())
        code = 1
    with contextlib.suppress(ReaderGone, UserError):  # of a command that failed: its exit code says so already
        sys.stdout.flush()
    ending.end(code)


def run_app(arguments: list[str]) -> int:
    """The exit code of one command line."""
    from knscope.store.errors import ReaderGone

    try:
        code = _command(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except ReaderGone:
        return 0
    except Exception as error:
        from knscope.store.errors import ProcessFailed

        if (text := _told(error)) is None:
            raise
        code = 1 if isinstance(error, ProcessFailed) else 2
        _report(text, code, "--json" in arguments)
        return code


def _report(text: str, code: int, as_json: bool) -> None:
    """An error for a person; with --json one line for a program, the last on stderr."""
    if as_json:
        import json

        message = text.removeprefix("knscope: ")
        document = {"error": {"kind": "failed" if code == 1 else "input", "message": message, "exit_code": code}}
        sys.stderr.write(f"{json.dumps(document)}\n")
        return
    from knscope.tui.printing.output import say

    say(text)


def _command(arguments: list[str]) -> int:
    from knscope.store.errors import UserError

    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise UserError(f"the folder you are in cannot be used ({error.strerror}); change to another") from error
    try:
        if _opens_a_store(arguments):
            _open(arguments[1] if arguments else None)
            return 0
        if _asks_in_sql(arguments):
            from pathlib import Path

            from knscope.tui.printing.answer import print_answer

            store, statement = (word for word in arguments[1:] if word != "--json")
            print_answer(Path(store), statement, as_json="--json" in arguments)
            return 0
        from knscope.tui.commands.reference import app

        return app(arguments, prog_name="knscope", standalone_mode=False) or 0
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)


def _told(error: Exception) -> str | None:
    """What to tell the person of a mistake, or of a process that failed; None for an error of the program."""
    import errno

    from knscope.analysis.errors import ModelError
    from knscope.store.errors import ProcessFailed, UserError

    if isinstance(error, UserError | ModelError | ProcessFailed):
        return f"knscope: {error}"
    if callable(show := getattr(error, "show", None)):  # Typer: wrong usage
        import io

        told = io.StringIO()
        show(told)
        return told.getvalue().rstrip()
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    if isinstance(error, OSError) and (error.errno in full or "temporary directory" in str(error)):
        return f"knscope: {error.filename or 'a file'} cannot be written ({error.strerror}); make room on the disk"
    return None


def _opens_a_store(arguments: list[str]) -> bool:
    """`knscope`, or `knscope open STORE` without options."""
    return not arguments or (len(arguments) == 2 and arguments[0] == "open" and not arguments[1].startswith("-"))


def _asks_in_sql(arguments: list[str]) -> bool:
    """`knscope sql STORE SELECT`, without options or with `--json`."""
    words = [word for word in arguments if word != "--json"]
    return len(words) == 3 and words[0] == "sql" and not any(word.startswith("-") for word in words)


def _open(store: str | None) -> None:
    gc.disable()  # for `run_workbench`, which enables it again, as early as can be
    from pathlib import Path

    from knscope.tui.app import run_workbench

    run_workbench(Path(store) if store else None)


if __name__ == "__main__":
    main()
