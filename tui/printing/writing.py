"""Write tables to files, in the format that the file name's ending gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from knscope.store.errors import UserError
from knscope.tui.printing.format import document, json_text, several

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table

DATA, FIGURES = ("csv", "json", "parquet"), ("pdf", "svg", "png")
ENDINGS = (*DATA, "tex", *FIGURES)


def format_of(path: Path, form: str | None = None) -> str:
    """The format of a file: the given one, or the one of its ending.

    :raises UserError: the ending is not one of ENDINGS
    """
    ending, named = path.suffix.lstrip(".").lower(), {"latex": "tex", "spreadsheet": "csv"}.get(form or "", form)
    if named and ending in ENDINGS and ending != named:
        raise UserError(
            f"{path}: --format {form} and the file name's ending differ; leave out --format or change the ending"
        )
    chosen = named or ending
    if chosen not in ENDINGS:
        known = ", ".join(f".{ending}" for ending in ENDINGS[:-1])
        raise UserError(f"{path}: unknown format; end the name in {known} or .{ENDINGS[-1]}")
    return chosen


def content(tables: Sequence[Table], form: str) -> bytes:
    """The bytes of tables in a format: csv, spreadsheet and parquet hold the first table, json and latex all."""
    from knscope.store.export import as_csv, as_parquet, for_spreadsheets
    from knscope.tui.printing.latex import latex

    if form == "parquet":
        return as_parquet(tables[0].frame)
    if form == "json":
        return (json_text(document(tables)) + "\n").encode()
    if form in ("tex", "latex"):
        return "\n".join(map(latex, tables)).encode()
    return (for_spreadsheets if form == "spreadsheet" else as_csv)(tables[0].frame).encode()


def write(tables: Sequence[Table], path: Path, form: str | None = None) -> str:
    """Write a file completely or not at all, and return a sentence about it.

    Data and figures are of the first table, which is the command's own; .tex and .json hold all of them.

    :raises UserError: for an unknown format, a table without a figure, a place that cannot be written
    """
    from knscope.store.export import whole

    chosen = format_of(path, form)
    if chosen in FIGURES:
        from knscope.analysis.figures.drawing import write_figure

        lacking = write_figure(tables, path, chosen)
        return "; ".join(filter(None, (f"figure written to {path}", lacking)))
    made = content(tables, form or chosen)
    with whole(path) as temporary:
        temporary.write_bytes(made)
    aside = (
        f"; {', '.join(table.title for table in tables[1:])}: with .json"
        if chosen in ("csv", "parquet") and tables[1:]
        else ""
    )
    return f"{several(tables[0].frame.height, 'row')} written to {path}{aside}"
