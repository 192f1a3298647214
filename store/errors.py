"""The exceptions that end a command without being a fault of the program."""

from __future__ import annotations


class UserError(Exception):
    """Something a person asked for cannot be done: the text says what is wrong, where, and what to do.

    The command line prints the text alone and exits with code 2; the workbench shows it in place.
    """


class ReaderGone(Exception):  # noqa: N818 - no error: whoever reads a pipe has read enough
    """The reader of what is written has closed the pipe, as `head` does. The command line ends with exit code 0."""


class ProcessFailed(Exception):  # noqa: N818 - said of the process
    """A process that was to answer has not: the text says which, how it ended, and the last line of what it said.

    The command line prints the text alone and exits with code 1.
    """
