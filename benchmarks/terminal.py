"""The workbench in a real pty at 120×40: first paint, key to paint, and bytes on the wire, beside what the project is held to.

`python -m benchmarks.terminal [FACTS] [NEURONS A LAYER]`; the store is made up, its size is that of the project's own bound by default.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

COLUMNS, ROWS = 120, 40
REPEATS = 15
STARTS = 7
PANE = 400
"""Bytes that a pane at least takes to be drawn again: 537 were the least seen, 367 the most of a run's progress in the header."""
ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "KNSCOPE_ANIMATIONS": "none"}


@dataclass(frozen=True)
class Burst:
    """What one key made the program send: ms to the first byte, ms to the last, bytes."""

    first: float
    last: float
    size: int


class Terminal:
    """A child on a pty."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.started = time.perf_counter()
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.environ.pop("NO_COLOR", None)
            os.execvpe(command[0], command, {**os.environ, **ENVIRONMENT, **environment})
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read(self, quiet: float, limit: float = 10.0) -> tuple[bytes, float, float]:
        """All output until nothing came for `quiet` seconds; with the times of the first and the last byte."""
        begun = time.perf_counter()
        data, first, last = b"", 0.0, 0.0
        while time.perf_counter() - begun < limit:
            ready, _, _ = select.select([self._file], [], [], quiet)
            if not ready:
                break
            try:
                part = os.read(self._file, 1 << 16)
            except OSError:
                break
            last = time.perf_counter()
            first = first or last
            data += part
        return data, first, last

    def until(self, text: bytes, limit: float = 60.0) -> float:
        """Seconds from the start until this text was sent."""
        data = b""
        while text not in data:
            part, _, last = self.read(0.02, 0.1)
            data = data[-4096:] + part
            if time.perf_counter() - self.started > limit:
                raise TimeoutError(f"{text!r} never came")
        return last - self.started

    def key(self, keys: bytes, quiet: float) -> Burst:
        sent = time.perf_counter()
        os.write(self._file, keys)
        data, first, last = self.read(quiet)
        return Burst(1000 * (first - sent), 1000 * (last - sent), len(data)) if data else Burst(0.0, 0.0, 0)

    def repaint(self, keys: bytes, within: float) -> Burst:
        """The same where other things are drawn all the while: what counts is the last part above PANE bytes that came `within`."""
        sent = time.perf_counter()
        os.write(self._file, keys)
        first = last = size = 0.0
        while (left := sent + within - time.perf_counter()) > 0:
            data, begun, ended = self.read(0.02, min(left, 0.1))
            first, size = first or begun, size + len(data)
            last = ended if len(data) > PANE else last
        return Burst(1000 * (first - sent), 1000 * (max(first, last) - sent), int(size))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._file, b"q")
        self.read(0.5, 3.0)
        with contextlib.suppress(OSError):
            os.close(self._file)
        os.waitpid(self.pid, 0)


@contextlib.contextmanager
def workbench(store: Path, state: Path) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "knscope.tui.cli", "open", str(store)]
    terminal = Terminal(command, {"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state)})
    try:
        yield terminal
    finally:
        terminal.close()


@dataclass(frozen=True)
class Keys:
    """What four kinds of key did, and what the first took of the workbench's own time."""

    down: list[Burst]
    scroll: list[Burst]
    """Of a cursor that stands in the last line and takes the table along."""
    page: list[Burst]
    nudge: list[Burst]
    cpu: float
    """Milliseconds of processor time a cursor key, all threads of the workbench together."""


def press(terminal: Terminal, writing: bool = False) -> Keys:
    """Every kind of key; `writing`: while runs draw their progress."""
    terminal.key(b"g", 0.5)
    process = psutil.Process(terminal.pid)
    before = sum(process.cpu_times()[:2])
    down = [terminal.key(b"j", 0.15) for _ in range(REPEATS)]
    cpu = 1000 * (sum(process.cpu_times()[:2]) - before) / REPEATS
    terminal.key(b"j" * ROWS, 0.5)
    scroll = [terminal.key(b"j", 0.15) for _ in range(REPEATS)]
    page = []
    for _ in range(REPEATS):
        page.append(terminal.key(b"\x06", 0.06))
        terminal.read(0.2)  # what else comes is not the page's
    turn = partial(terminal.repaint, within=0.8) if writing else partial(terminal.key, quiet=0.4)
    nudge = [turn(b"-" if i % 2 else b"+") for i in range(REPEATS)]
    return Keys(down, scroll, page, nudge, cpu)


def _write_on(store: Path, facts: int, width: int, over: threading.Event) -> None:
    from knscope.store.runs import new_run
    from tests.tui.made_store import CONFIG, write_shards

    run = new_run(store, CONFIG)
    while not over.wait(1.0):
        write_shards(store, run, facts + 3, width, first=facts)
        facts += 3


@contextlib.contextmanager
def busy(store: Path, facts: int, width: int) -> Iterator[None]:
    """Two runs with the bundled models write into this very store meanwhile, started as the workbench starts them; and
    three more facts a second come of the model that is looked at."""
    from knscope.analysis.demo.start import demo_config
    from knscope.analysis.runs import protocol
    from knscope.analysis.runs.status import ACTIVE, Observer

    config = demo_config(60)
    runs = [protocol.start_job(store, replace(config, models=(model,))) for model in config.models[:2]]
    observer, over = Observer(store), threading.Event()
    writer = threading.Thread(target=_write_on, args=(store, facts, width, over))
    writer.start()
    try:
        end = time.monotonic() + 300
        while not all(one.record.done for one in observer.look() if one.run in runs) and time.monotonic() < end:
            time.sleep(0.5)
        yield
    finally:
        over.set()
        writer.join()
        for run in runs:
            protocol.cancel_job(store, run)
        while any(one.status in ACTIVE for one in observer.look() if one.run in runs):
            time.sleep(0.5)


Row = tuple[str, str, str, bool]


def row(what: str, values: list[float], allowed: float, unit: str) -> Row:
    middle = statistics.median(values)
    return what, f"{middle:,.0f} {unit} (worst {max(values):,.0f})", f"{allowed:,.0f} {unit}", middle <= allowed


def latencies(keys: Keys) -> list[Row]:
    return [
        row("cursor key to paint", [one.first for one in keys.down], 30, "ms"),
        row("the same, and the table scrolls", [one.first for one in keys.scroll], 30, "ms"),
        row("page to last byte", [one.last for one in keys.page], 300, "ms"),
        row("threshold key to its own value", [one.first for one in keys.nudge], 100, "ms"),
        row("threshold key, all panes repainted", [one.last for one in keys.nudge], 300, "ms"),
    ]


def measure(store: Path, state: Path, facts: int, width: int) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows (what, measured, allowed, kept) of each part, as soon as it is measured."""
    starts = []
    for _ in range(STARTS):
        with workbench(store, state) as terminal:
            starts.append(1000 * terminal.until(b"opening"))
    with workbench(store, state) as terminal:
        filled = terminal.until(b"Dodoma")
        terminal.until(b"at thresholds")  # the controls, which are drawn last
        terminal.read(1.5, 30.0)
        idle = len(terminal.read(3.0, 3.0)[0])
        keys = press(terminal)
        yield (
            "at rest",
            [
                row("first paint", starts, 1000, "ms"),
                row("first rows", [1000 * filled], 3000, "ms"),
                *latencies(keys),
                row("processor time of a cursor key", [keys.cpu], 30, "ms"),
                row("bytes: idle for 3 s", [float(idle)], 0, "B"),
                row("bytes: cursor key", [float(one.size) for one in keys.down], 2048, "B"),
                row("bytes: page", [float(one.size) for one in keys.page], 14 * 1024, "B"),
                row("bytes: threshold key", [float(one.size) for one in keys.nudge], 14 * 1024, "B"),
            ],
        )
        with busy(store, facts, width):
            yield "while two runs write into the store", latencies(press(terminal, writing=True))


def main() -> int:
    from tests.tui.made_store import make

    facts, width = (int(text) for text in (sys.argv[1:3] if len(sys.argv) == 3 else ("1000", "9216")))
    kept = True
    with tempfile.TemporaryDirectory(prefix="knscope-bench-") as folder:
        store = make(Path(folder, "made.knstore"), facts, width, ("bert-made",))
        size = f"{COLUMNS}×{ROWS}, {facts:,} facts × 3 languages × {4 * width:,} neurons"
        for when, rows in measure(store, Path(folder, "state"), facts, width):
            table = Table(title=f"the workbench {when}: {size}", title_justify="left", box=None)
            for name in ("what", "measured, median", "allowed", ""):
                table.add_column(name, justify="left" if name in ("what", "") else "right")
            for what, measured, allowed, good in rows:
                table.add_row(what, measured, allowed, "ok" if good else "MISSED")
                kept = kept and good
            Console(width=110).print(table)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
