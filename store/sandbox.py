"""Ad-hoc SQL over a store: it reads what is stored, changes nothing, and ends when it should.

A statement runs in a process of its own (store/sql_process.py says what keeps it in), which opens the store at the first statement and
then stays. Whatever a statement does there, stopping it means to kill that process: within a few hundredths of a second, and without
harm, since the process only reads. The next statement starts another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.store import safe_path
from knscope.store.errors import UserError
from knscope.store.text import is_utf8

if TYPE_CHECKING:
    import subprocess

    import polars as pl

    from knscope.store.reader import Reader

PROGRAM = f"{__package__}.sql_process"
ROWS = 1_000
SECONDS = 30.0
MEMORY = "2GB"
RESULT_BYTES = 256 << 20
"""The largest result that is handed over; a larger one is an error."""
LOOK = 0.02
"""Seconds between two looks at whether a statement was cancelled."""
CHUNK = 1 << 20

ALLOCATORS = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Or they reserve a gigabyte of the address space, which is limited."""

HEADER = struct.Struct(">cQ")
"""What begins every message from the process: its kind, and the number of bytes that follow."""
RUNNING, STALE, ALL, MORE, ERROR = b"R", b"S", b"A", b"M", b"E"
"""The statement begins; the process leaves, and another is to be asked; all rows, the first rows, why there are none."""


@dataclass(frozen=True)
class Result:
    """The first rows of an answer; `more` says that there were others, `note` which results it lacks because they cannot be read."""

    arrow: bytes
    """An Arrow IPC stream."""
    more: bool
    seconds: float
    note: str

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows in polars."""
        import polars as pl

        return pl.read_ipc_stream(self.arrow)

    def table(self) -> Any:
        """The rows in pyarrow, for a process that does little else: without numpy, whose import takes longest, where it is not imported."""
        return arrow().ipc.open_stream(self.arrow).read_all()


class Sandbox:
    """Runs one statement at a time over a store; `cancel` and `close` may come from any thread.

    :param store: its folder, or a reader of it, whose memory limit then counts here too
    :param memory_limit: of the process, beyond what it takes to open the store
    """

    def __init__(self, store: Path | str | Reader, memory_limit: str = MEMORY) -> None:
        if not isinstance(store, Path | str):
            memory_limit, store = store.memory_limit, store.path
        self.store = Path(store)
        self._memory = memory_limit
        self._asking = threading.Lock()
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._why: str | None = None
        """Why the statement that runs is to stop; empty while it is not, None while none runs."""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether a statement runs."""
        return self._why is not None

    def run(self, sql: str, limit: int = ROWS, seconds: float = SECONDS) -> Result:
        """The first `limit` rows of a statement.

        :param seconds: for the statement alone; a process that is new opens the store before that
        :raises UserError: what is forbidden and why, DuckDB's own words for wrong SQL, `cancelled`, or out of time or memory
        """
        if not is_utf8(sql):
            raise UserError("the statement is not UTF-8; write it in UTF-8")
        request = json.dumps({"sql": sql, "rows": limit}).encode() + b"\n"
        with self._asking:
            self._why = ""
            try:
                while (result := self._asked(request, seconds)) is None:
                    self._kill()  # and ask another process
            except BaseException:
                self._kill()
                raise
            finally:
                self._why = None
        if isinstance(result, str):
            raise UserError(result)
        return result

    def cancel(self) -> None:
        """Stop what runs, at once; without effect when nothing does."""
        with self._changing:
            if self._why == "":
                self._why = "cancelled"
                if self._process is not None:
                    self._process.kill()

    def close(self) -> None:
        """Stop what runs and end the process. The next statement would start another."""
        self.cancel()
        with self._asking:
            self._kill()

    def _asked(self, request: bytes, seconds: float) -> Result | str | None:
        """One statement sent, and what came back: an error as text, None where the process leaves."""
        note = None
        try:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(request)
            process.stdin.flush()
            kind, content = self._message(process.stdout.fileno(), None)
            started = time.monotonic()
            if kind == RUNNING:
                note = content.decode()
                kind, content = self._message(process.stdout.fileno(), started + seconds)
        except TimeoutError:
            raise UserError(self._why or f"stopped after {seconds:g} s; ask for less") from None
        except (EOFError, BrokenPipeError):
            raise UserError(self._why or self._ended(note is not None)) from None
        if kind == STALE:
            return None
        if kind == ERROR:
            return content.decode()
        return Result(content, kind == MORE, time.monotonic() - started, note or "")

    def _ended(self, running: bool) -> str:
        if running:
            return f"DuckDB ended over this statement, most likely for want of memory (the limit is {self._memory}); ask for less"
        return f"DuckDB ended before this statement began; ask again, or look for damage with: knscope store verify {self.store}"

    def _message(self, descriptor: int, deadline: float | None) -> tuple[bytes, bytes]:
        kind, length = HEADER.unpack(self._bytes(descriptor, HEADER.size, deadline))
        if length > 2 * RESULT_BYTES:
            raise EOFError
        return kind, self._bytes(descriptor, length, deadline)

    def _bytes(self, descriptor: int, count: int, deadline: float | None) -> bytes:
        """Raises TimeoutError when the time is up or the statement cancelled, EOFError when the process has ended."""
        waiting, received = select.poll(), bytearray()
        waiting.register(descriptor, select.POLLIN)
        while len(received) < count:
            if self._why or (deadline is not None and time.monotonic() > deadline):
                raise TimeoutError
            if waiting.poll(1000 * LOOK):
                chunk = os.read(descriptor, min(CHUNK, count - len(received)))
                if not chunk:
                    raise EOFError
                received += chunk
        return bytes(received)

    def _started(self) -> subprocess.Popen[bytes]:
        import subprocess  # takes a while, and the process itself imports this module too

        if self._process is not None and self._process.poll() is not None:
            self._kill()
        with self._changing:
            if self._why:
                raise TimeoutError
            if self._process is None:
                self._process = subprocess.Popen(
                    safe_path.command(PROGRAM, str(self.store), self._memory),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**safe_path.environment(), **ALLOCATORS},
                    start_new_session=True,  # or a terminal's ctrl+c reaches it too
                )
                self._end = weakref.finalize(self, _end, self._process)
            return self._process

    def _kill(self) -> None:
        with self._changing:
            if self._end is not None:
                self._end()
            self._process = self._end = None


def arrow() -> Any:
    """pyarrow, without numpy where nothing has imported that yet."""
    if "numpy" in sys.modules:
        import pyarrow as pa
    else:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # to an import it is not installed
        import pyarrow as pa

        del sys.modules["numpy"]
    return pa


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and do not wait while its memory is cleared away."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what it has not read
            if pipe is not None:
                pipe.close()
    threading.Thread(target=process.wait, name="end-sql", daemon=True).start()
