"""What commands print: results to stdout, as text tables, CSV, JSON, LaTeX or Parquet; everything else to stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table

FORMATS = ("table", "csv", "json", "latex", "parquet")
GAP = 2  # cells around a column
NARROWEST = 12  # a column of text is folded to this, no further
LONGEST_WORD = 24  # nor narrower than its longest word of up to this: names of models are read whole
HINT = "--format csv"
MAX_PRINTED = 60  # rows of a text table; the rest is counted, and comes with --format


def console(needed: int = 0) -> Console:
    """stdout as text; without a terminal as wide as is needed, so that a pipe loses nothing."""
    return Console(width=None if sys.stdout.isatty() else max(160, needed), highlight=False)


def messages() -> Console:
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A message for the person, on stderr."""
    messages().print(_safe(text), soft_wrap=True)


def write_text(text: str) -> None:
    sys.stdout.write(text + "\n")


def write_json(document: Any) -> None:
    """One JSON document on stdout. Floats that are no numbers become null."""
    from knscope.store.export import as_json_text

    write_text(as_json_text(document))


def emit(tables: Sequence[Table], form: str = "table", output: Path | None = None, hint: str = HINT) -> None:
    """Print or write a command's tables. CSV and Parquet hold one table: the first, which is the command's own.

    :param hint: what shows the columns and rows that a printed table leaves out
    :raises UserError: for a format that is unknown, or Parquet on a terminal
    """
    from knscope.store.errors import UserError
    from knscope.store.export import as_csv
    from knscope.tui.printing import latex, writing

    check(form, output)
    frame = tables[0].frame
    if output is not None:
        say(writing.write(tables, output, None if form == "table" else form))
    elif form == "table":
        for table in tables:
            print_table(table, hint)
    elif form == "json":
        write_json(document(tables))
    elif form == "csv":
        sys.stdout.write(as_csv(frame))
        say_left_out(tables)
    elif form == "latex":
        sys.stdout.write("\n".join(latex.latex(table) for table in tables))
    elif sys.stdout.isatty():
        raise UserError("Parquet is not for a terminal; add -o FILE")
    else:
        frame.write_parquet(sys.stdout.buffer)
        say_left_out(tables)


def say_left_out(tables: Sequence[Table]) -> None:
    """Name the tables that a format of one table leaves out."""
    if aside := ", ".join(table.title for table in tables[1:]):
        say(f"left out: {aside}; --json has every table")


def check(form: str, output: Path | None) -> None:
    """Whether `emit` can write so; what computes for long asks before it begins.

    :raises UserError: for a format or an ending that is unknown, or a folder that is not there
    """
    from knscope.store.errors import UserError
    from knscope.tui.printing import writing

    if form not in FORMATS:
        aside = "; a figure is written with -o FILE.pdf, .svg or .png" if form in writing.FIGURES else ""
        raise UserError(f"--format {form}: choose one of {', '.join(FORMATS)}{aside}")
    if output is not None:
        writing.format_of(output, None if form == "table" else form)
        if output.is_dir() or not output.parent.is_dir():
            why = "it is a folder" if output.is_dir() else f"there is no folder {output.parent}"
            raise UserError(f"{output} cannot be written: {why}; name another place")


def document(tables: Sequence[Table]) -> dict[str, Any]:
    """What --json prints and a .json file holds."""
    return {"tables": [as_json(table) for table in tables]}


def as_json(table: Table) -> dict[str, Any]:
    return {"name": table.name, "title": table.title, "rows": table.frame.to_dicts(), "notes": list(table.notes)}


def print_table(table: Table, hint: str = HINT) -> None:
    """A result as a text table with its notes below. Where it is too wide for the terminal, long texts are folded first, then
    the last columns are left out by name; numbers and row labels never."""
    from rich.table import Table as Grid

    shown = table.frame.drop(table.aside)
    cells = [[cell(value) for value in row] for row in shown.head(MAX_PRINTED).iter_rows()]
    numeric = [dtype.is_numeric() for dtype in shown.schema.values()]
    names = [cell(name) for name in shown.columns]
    needed = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    out = console(sum(needed) + GAP * len(needed))
    words = [_longest_word(column) for column in zip(names, *cells, strict=True)]
    widths = fitted(needed, numeric, out.width, words)
    if table.title:
        out.print(f"[bold]{_safe(table.title)}[/]", soft_wrap=True)
    grid = Grid(header_style="bold", box=None)
    for name, number, width in zip(names, numeric, widths, strict=False):
        grid.add_column(escape(name), justify="right" if number else "left", width=width, overflow="fold")
    for row in cells:
        grid.add_row(*(escape(text) for text in row[: len(widths)]))
    out.print(grid)
    if table.frame.height > MAX_PRINTED:
        out.print(f"  … {MAX_PRINTED} of {table.frame.height:,} rows; {hint} prints them all")
    if table.frame.is_empty():
        out.print("  (no rows)")
    left = (*names[len(widths) :], *table.aside)
    if left and not table.frame.is_empty():
        out.print(f"  more columns with {hint}: {escape(_named(left))}", soft_wrap=True)
    for note in table.notes:
        out.print(f"  {_safe(note)}", soft_wrap=True)
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
    """Columns by name, but for the ends of intervals, which are many."""
    from knscope.analysis.statistics.columns import ENDS

    names = [name for name in aside if not name.endswith(ENDS)]
    return ", ".join([*names, *(["the ends of the intervals"] if len(names) < len(aside) else [])])


def cell(value: Any) -> str:
    """A value as a person reads it: three significant decimals, – for what is not there."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != 0 and abs(value) < 0.001:
            return f"{value:.1e}"
        if abs(value) < 1e9:
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
        return f"{value:.2e}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return " ".join(cell(part) for part in value)
    return _CONTROL.sub("·", str(value))


def one_table(name: str, title: str, frame: pl.DataFrame, *notes: str) -> Table:
    from knscope.analysis.statistics.table import Table

    return Table(name, title, frame, notes)


def duration(seconds: float | None) -> str:
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys instead of showing it; facts may hold it."""


def _safe(text: str) -> str:
    """Text as it stands: no markup, and nothing that a terminal obeys."""
    return escape(_CONTROL.sub("·", text))


class Bar:
    """Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

    EVERY = 5.0  # seconds between lines without a terminal

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task
        self._last = 0.0

    def show(self, done: int, total: int, text: str, last: bool = False) -> None:
        """Without a terminal a line now and then, and the `last` one."""
        import time

        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total or None, description=escape(text))
        elif last or time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            say(f"{done:,} of {total:,} results  {text}")


@contextmanager
def progress_bar() -> Iterator[Bar]:
    err = messages()
    if not err.is_terminal:
        yield Bar(None, None)
        return
    columns = (TextColumn("{task.completed:,} of {task.total:,}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=err, transient=True) as progress:
        yield Bar(progress, progress.add_task("starting", total=None))
