"""Files for a paper: a command's or a pane's tables, in the format that the file's ending names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table

DATA, FIGURES = ("csv", "json", "parquet"), ("pdf", "svg", "png")
ENDINGS = (*DATA, "tex", *FIGURES)


def format_of(path: Path, form: str | None = None) -> str:
    """The format of a file: as named, else by its ending.

    :raises UserError: where that is none of ENDINGS
    """
    from knscope.store.errors import UserError

    ending, named = path.suffix.lstrip(".").lower(), {"latex": "tex"}.get(form or "", form)
    if named and ending in ENDINGS and ending != named:
        raise UserError(f"{path}: --format {form} and the name's ending say different things; leave one of them out")
    chosen = named or ending
    if chosen not in ENDINGS:
        known = ", ".join(f".{ending}" for ending in ENDINGS[:-1])
        raise UserError(f"{path}: cannot tell the format; end the name in {known} or .{ENDINGS[-1]}")
    return chosen


def write(tables: Sequence[Table], path: Path, form: str | None = None) -> str:
    """Write a file whole or not at all, and return what was written.

    Data and figures are of the first table, which is the command's own; .tex and .json hold all of them.

    :raises UserError: for an unknown format, a table without a figure, a place that cannot be written
    """
    chosen = format_of(path, form)
    if chosen in FIGURES:
        from knscope.analysis.figures.drawing import write_figure

        write_figure(tables, path, chosen)
        return f"figure written to {path}"
    if chosen in ("tex", "json"):
        from knscope.store.export import as_json_text, whole
        from knscope.tui.printing.latex import latex
        from knscope.tui.printing.output import document

        with whole(path) as temporary:
            text = "\n".join(map(latex, tables)) if chosen == "tex" else as_json_text(document(tables)) + "\n"
            temporary.write_text(text, encoding="utf-8")
    else:
        from knscope.store.export import write_table

        write_table(tables[0].frame, path, "parquet" if chosen == "parquet" else "csv")
    aside = (
        f"; {', '.join(table.title for table in tables[1:])}: with .json"
        if chosen in ("csv", "parquet") and tables[1:]
        else ""
    )
    return f"{tables[0].frame.height:,} rows written to {path}{aside}"
