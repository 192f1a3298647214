"""What keeps the terminal whole: only the workbench writes to it, and a signal ends as leaving does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.segment import Segment
from textual.app import App
from textual.color import Color
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter

from knscope.tui.printing.format import one_line

GRACE = 5
"""Seconds after a signal in which the workbench must have ended by itself."""
_LARGEST_LOG = 1 << 20


class _Screen:
    """A terminal by its descriptor; once it is gone, what is written goes nowhere, so that nothing waits for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()

    def write(self, text: str) -> int:
        self._waiting += text.encode("utf-8", "backslashreplace")
        return len(text)

    def flush(self) -> None:
        data, self._waiting = memoryview(self._waiting), bytearray()
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return True


class Harmless(LineFilter):
    """The last look at every line of every widget: a dot for what the terminal would obey, whatever forgot to put it there."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments, or others that take as many cells."""
        texts = [one_line(segment.text) for segment in segments]
        if all(text == segment.text for text, segment in zip(texts, segments, strict=True)):
            return segments
        shown = [Segment(text, segment.style) for text, segment in zip(texts, segments, strict=True)]
        return Segment.adjust_line_length(shown, Segment.get_line_length(segments))


HARMLESS = Harmless()


@contextlib.contextmanager
def drawing_alone(log: Path | None) -> Iterator[type[LinuxDriver]]:
    """Until the end, descriptors 1 and 2 lead to `log`: what a C library prints cannot paint over the screen.

    Yields the driver that draws on the terminal itself.
    """
    with contextlib.ExitStack() as undo:
        terminal = os.dup(next((number for number in (2, 1, 0) if os.isatty(number)), 2))
        undo.callback(os.close, terminal)
        sink = _opened(log)
        undo.callback(os.close, sink)
        for stream, number in ((sys.__stdout__, 1), (sys.__stderr__, 2)):
            if stream is not None:
                stream.flush()
                undo.callback(stream.flush)
            before = os.dup(number)
            undo.callback(os.close, before)
            undo.callback(os.dup2, before, number)
            os.dup2(sink, number)
            if stream is not None:
                undo.callback(stream.flush)

        class Driver(LinuxDriver):
            """Draws on the kept descriptor, and measures it: 1 and 2 lead elsewhere."""

            def __init__(
                self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
            ) -> None:
                super().__init__(app, debug=debug, mouse=mouse, size=size)
                self._file = _Screen(terminal)  # type: ignore[assignment]

            def _get_terminal_size(self) -> tuple[int, int]:
                try:
                    size = os.get_terminal_size(terminal)
                except OSError:
                    return 80, 24
                return size.columns or 80, size.lines or 24

            def disable_input(self) -> None:
                """Where the workbench ends, nobody waits for the thread that reads keys: it looks ten times a second."""
                if self._app.return_code is None:
                    super().disable_input()
                elif not self.exit_event.is_set():
                    signal.signal(signal.SIGWINCH, signal.SIG_DFL)
                    self._disable_mouse_support()
                    self.exit_event.set()
                    with contextlib.suppress(termios.error):
                        termios.tcflush(self.fileno, termios.TCIFLUSH)

        yield Driver


def _opened(log: Path | None) -> int:
    """The log's descriptor, appending; begun anew when it has grown large; nowhere where it cannot be written."""
    if log is None:
        return os.open(os.devnull, os.O_WRONLY)
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        large = os.O_TRUNC if log.exists() and log.stat().st_size > _LARGEST_LOG else 0
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | large, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def end_by_signal(leave: Callable[[int], None]) -> None:
    """SIGTERM and SIGHUP (the connection is lost) call `leave` with the exit code, on the running event loop.

    A process that has not ended `GRACE` seconds later ends hard, by SIGALRM, which nothing here handles: no workbench stays behind
    without a terminal, also where the event loop itself hangs.
    """
    loop = asyncio.get_running_loop()

    def ends(number: int, _: object) -> None:
        signal.alarm(GRACE)
        loop.call_soon_threadsafe(leave, 128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ends)
