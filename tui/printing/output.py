"""Print results to stdout as text tables, CSV, JSON, LaTeX or Parquet, and everything else to stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from knscope.store.errors import UserError
from knscope.tui.printing.format import cell, json_text, one_line, visible

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table

FORMATS = ("table", "csv", "json", "latex", "parquet", "spreadsheet")
GAP = 2  # cells around a column
LEAST = 40  # cells that a text table needs
NARROWEST = 12  # a column of text is folded to this, no further
LONGEST_WORD = 24  # nor narrower than its longest word of up to this: names of models are read whole
HINT = "--format csv"
MAX_PRINTED = 60  # rows of a text table; the rest is counted, and comes with --format


def console(needed: int = 0) -> Console:
    """The console on stdout for text tables. Without a terminal it is as wide as needed, so a pipe loses nothing."""
    return _console(_terminal_width() if sys.stdout.isatty() else max(160, needed))


def messages() -> Console:
    return _console(_terminal_width(), stderr=True)


def _terminal_width() -> int:
    """The width of the terminal, at least LEAST; on a narrower one lines wrap."""
    return max(LEAST, shutil.get_terminal_size().columns)


def _console(width: int, *, stderr: bool = False) -> Console:
    """Print text literally: no markup, no emoji codes."""
    return Console(width=width, stderr=stderr, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a message to stderr."""
    messages().print(visible(text), soft_wrap=True)


def write_data(data: bytes) -> None:
    """Write data to stdout: exact bytes, or on a terminal with invisible characters replaced."""
    if sys.stdout.isatty():
        sys.stdout.write(visible(data.decode("utf-8-sig")))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def write_json(document: Any) -> None:
    """Print one JSON document to stdout. NaN and infinity become null."""
    write_data(f"{json_text(document)}\n".encode())


def emit(tables: Sequence[Table], form: str = "table", output: Path | None = None, hint: str = HINT) -> None:
    """Print or write a command's tables. CSV and Parquet hold the first, which is the command's own.

    :param hint: the option that prints the columns and rows that a text table leaves out
    :raises UserError: for a format that is unknown, or Parquet on a terminal
    """
    from knscope.tui.printing import writing

    check(form, output)
    if output is not None:
        say(writing.write(tables, output, None if form == "table" else form))
    elif form == "table":
        for table in tables:
            print_table(table, hint)
    elif form == "parquet" and sys.stdout.isatty():
        raise UserError("Parquet cannot be printed on a terminal; add -o FILE")
    else:
        write_data(writing.content(tables, form))
        if form not in ("json", "latex"):
            say_left_out(tables)


def say_left_out(tables: Sequence[Table]) -> None:
    """Name the tables that a format of one table leaves out."""
    if aside := ", ".join(table.title for table in tables[1:]):
        say(f"left out: {aside}; --json has every table")


def check(form: str, output: Path | None) -> None:
    """Check that `emit` can write this, before a long computation starts.

    :raises UserError: for a format or an ending that is unknown, or a folder that is not there
    """
    from knscope.tui.printing import writing

    if form not in FORMATS:
        aside = "; a figure is written with -o FILE.pdf, .svg or .png" if form in writing.FIGURES else ""
        raise UserError(f"--format {form}: choose one of {', '.join(FORMATS)}{aside}")
    if output is not None:
        writing.format_of(output, None if form == "table" else form)
        if output.is_dir() or not output.parent.is_dir():
            why = "it is a folder" if output.is_dir() else f"there is no folder {output.parent}"
            raise UserError(f"{output} cannot be written: {why}; choose another path")


def print_table(table: Table, hint: str = HINT) -> None:
    """Print a table as text with its notes below."""
    shown = table.frame.drop(table.aside)
    numeric = [dtype.is_numeric() for dtype in shown.schema.values()]
    rows = shown.head(MAX_PRINTED).rows()
    print_rows(shown.columns, rows, numeric, shown.height, hint, table.title, table.notes, table.aside)


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numeric: Sequence[bool],
    total: int,
    hint: str = HINT,
    title: str = "",
    notes: Sequence[str] = (),
    aside: Sequence[str] = (),
) -> None:
    """The first of `total` rows as a text table. Where it is too wide for the terminal, long texts are folded first, then the
    last columns are left out by name, as those of `aside` are; numbers and row labels never."""
    from rich.table import Table as Grid

    cells = [[cell(value) for value in row] for row in rows]
    names = [one_line(name) for name in columns]
    needed = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    out = console(sum(needed) + GAP * len(needed))
    words = [_longest_word(column) for column in zip(names, *cells, strict=True)]
    widths = fitted(needed, numeric, out.width, words)
    if title:
        out.print(Text(visible(title), "bold"), soft_wrap=True)
    grid = Grid(header_style="bold", box=None)
    for name, number, width in zip(names, numeric, widths, strict=False):
        grid.add_column(name, justify="right" if number else "left", width=width, overflow="fold")
    for row in cells:
        grid.add_row(*row[: len(widths)])
    out.print(grid)
    if total > MAX_PRINTED:
        out.print(f"  … {MAX_PRINTED} of {total:,} rows; {hint} prints them all")
    if not total:
        out.print("  (no rows)")
    left = (*names[len(widths) :], *aside)
    if left and total:
        out.print(f"  more columns with {hint}: {_named(left)}", soft_wrap=True)
    for note in notes:
        out.print(f"  {visible(note)}", soft_wrap=True)
    out.print()


def _longest_word(column: Sequence[str]) -> int:
    words = [cell_len(word) for text in column for word in text.split()]
    return max((length for length in words if length <= LONGEST_WORD), default=0)


def fitted(needed: Sequence[int], numeric: Sequence[bool], room: int, words: Sequence[int] = ()) -> list[int]:
    """Widths of the first columns, as many as there is room for: (columns shown,), at least the labels before the first number
    and one column more. `words` are the widths that no column is folded below, where they are above NARROWEST."""
    labels = next((place for place, number in enumerate(numeric) if number), len(numeric))
    widths = list(needed)
    excess = sum(widths) + GAP * len(widths) - room
    for place in sorted((p for p, number in enumerate(numeric) if not number), key=lambda p: -widths[p]):
        least = max(NARROWEST, words[place] if words else 0)
        narrower = min(max(excess, 0), max(widths[place] - least, 0))
        widths[place] -= narrower
        excess -= narrower
    while len(widths) > labels + 1 and sum(widths) + GAP * len(widths) > room:
        widths.pop()
    spare = room - sum(widths) - GAP * len(widths)
    for place in range(min(labels, len(widths))):  # what was left out made room for the labels again
        wider = min(max(spare, 0), needed[place] - widths[place])
        widths[place] += wider
        spare -= wider
    return widths


def _named(aside: Sequence[str]) -> str:
    """The names of columns, with the many ends of intervals summed up."""
    from knscope.analysis.statistics.columns import ENDS

    names = [name for name in aside if not name.endswith(ENDS)]
    return ", ".join([*names, *(["the ends of the intervals"] if len(names) < len(aside) else [])])


def one_table(name: str, title: str, frame: pl.DataFrame, *notes: str) -> Table:
    from knscope.analysis.statistics.table import Table

    return Table(name, title, frame, notes)


class Bar:
    """Progress on stderr: a bar on a terminal, otherwise a line every few seconds."""

    EVERY = 5.0  # seconds between lines without a terminal

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task
        self._last = 0.0

    def show(self, done: int, total: int, text: str, last: bool = False) -> None:
        """Without a terminal this prints a line every few seconds, and the `last` one."""
        if total:
            text = f"{done:,} of {total:,} results  {text}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total or None, description=one_line(text))
        elif last or time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            say(text)


@contextmanager
def progress_bar() -> Iterator[Bar]:
    err = messages()
    if not err.is_terminal or err.is_dumb_terminal:
        yield Bar(None, None)
        return
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=err, transient=True) as progress:
        yield Bar(progress, progress.add_task("starting", total=None))
