"""stdout and stderr of a command: output is written completely, or it is an error."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

from knscope.store.errors import ReaderGone, UserError

DUMB = ("dumb", "unknown")
"""Terminals that print escape sequences instead of obeying them, by TERM."""


class _Descriptor(io.FileIO):
    """Waits where a pipe does not block. After a failure nothing is written, so that Python can flush when it ends."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return len(data)
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except BaseException:
            self._failed = True
            raise
        return written


class _Stdout(_Descriptor):
    def write(self, data: Any) -> int:
        """:raises ReaderGone: when the reader of a pipe has closed it
        :raises UserError: when what it leads to cannot be written
        """
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise ReaderGone from error
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise UserError(f"the output is incomplete: standard output cannot be written ({why})") from error


class _Stderr(_Descriptor):
    def write(self, data: Any) -> int:
        """If messages cannot be written, the command goes on without them."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def take_over() -> None:
    """Put these streams in place of `sys.stdout` and `sys.stderr`, and open the descriptors that the caller closed.

    Python's own streams lose what a short write leaves over when PYTHONUNBUFFERED is set. A closed descriptor would be
    given to the next file that is opened, and output would be written into that file.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # 1: writing to it has to fail
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = _text(_Stdout(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr)


def on_screen() -> bool:
    """Whether input and output are a terminal that understands escape sequences."""
    return sys.stdin.isatty() and os.environ.get("TERM") not in DUMB


def _text(raw: _Descriptor, before: object) -> io.TextIOWrapper:
    """Text in the encoding of the stream before, written line by line to a terminal and where that was asked for."""
    lines = raw.isatty() or bool(getattr(before, "write_through", False)) or raw.fileno() == 2
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)
