"""What commands print: results to stdout, as text tables, CSV, JSON, LaTeX or Parquet; everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    import polars as pl

    from analysis.tables import Table

FORMATS = ("table", "csv", "json", "latex", "parquet")
MAX_PRINTED = 60  # rows of a text table; the rest is counted, and comes with --format


def console() -> Console:
    """stdout as text; without a terminal as wide as the tables need, so that a pipe loses nothing."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def messages() -> Console:
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A message for the person, on stderr."""
    messages().print(escape(text), soft_wrap=True)


def write_text(text: str) -> None:
    sys.stdout.write(text + "\n")


def write_json(document: Any) -> None:
    """One JSON document on stdout. Floats that are no numbers become null."""
    write_text(json.dumps(document, ensure_ascii=False, indent=2, default=str, allow_nan=False))


def emit(tables: Sequence[Table], form: str = "table", output: Path | None = None) -> None:
    """Print or write a command's tables. CSV and Parquet hold one table: the first, which is the command's own.

    :raises UserError: for a format that is unknown, or Parquet on a terminal
    """
    from store.errors import UserError
    from store.export import as_text
    from tui import latex, writing

    check(form, output)
    frame = tables[0].frame
    if output is not None:
        say(writing.write(tables, output, None if form == "table" else form))
    elif form == "table":
        for table in tables:
            print_table(table)
    elif form == "json":
        write_json({"tables": [as_json(table) for table in tables]})
    elif form == "csv":
        sys.stdout.write(as_text(frame, "csv"))
    elif form == "latex":
        sys.stdout.write("\n".join(latex.latex(table) for table in tables))
    elif sys.stdout.isatty():
        raise UserError("Parquet is not for a terminal; add -o FILE")
    else:
        frame.write_parquet(sys.stdout.buffer)


def check(form: str, output: Path | None) -> None:
    """Whether `emit` can write so; what computes for long asks before it begins.

    :raises UserError: for a format or an ending that is unknown
    """
    from store.errors import UserError
    from tui import writing

    if form not in FORMATS:
        aside = "; a figure is written with -o FILE.pdf, .svg or .png" if form in writing.FIGURES else ""
        raise UserError(f"--format {form}: choose one of {', '.join(FORMATS)}{aside}")
    if output is not None:
        writing.format_of(output, None if form == "table" else form)


def as_json(table: Table) -> dict[str, Any]:
    return {"name": table.name, "title": table.title, "rows": table.frame.to_dicts(), "notes": list(table.notes)}


def print_table(table: Table) -> None:
    """A result as a text table with its notes below."""
    from rich.table import Table as Grid

    grid = Grid(title=escape(table.title), title_justify="left", title_style="bold", header_style="bold", box=None)
    shown = table.frame.drop(table.aside)
    numeric = {name for name, dtype in shown.schema.items() if dtype.is_numeric()}
    for name in shown.columns:
        grid.add_column(escape(name), justify="right" if name in numeric else "left", no_wrap=name in numeric)
    for row in shown.head(MAX_PRINTED).iter_rows():
        grid.add_row(*(escape(cell(value)) for value in row))
    out = console()
    out.print(grid)
    if table.frame.height > MAX_PRINTED:
        out.print(f"  … {MAX_PRINTED} of {table.frame.height:,} rows; --format csv prints them all")
    if table.frame.is_empty():
        out.print("  (no rows)")
    if table.aside and not table.frame.is_empty():
        out.print(f"  more columns with --format csv: {_named(table.aside)}", soft_wrap=True)
    for note in table.notes:
        out.print(f"  {escape(note)}", soft_wrap=True)
    out.print()


def _named(aside: Sequence[str]) -> str:
    """Columns by name, but for the ends of intervals, which are many."""
    from analysis.tables.intervals import ENDS

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
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(cell(part) for part in value)
    return str(value)


def one_table(name: str, title: str, frame: pl.DataFrame, *notes: str) -> Table:
    from analysis.tables import Table

    return Table(name, title, frame, notes)


def duration(seconds: float | None) -> str:
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))


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
