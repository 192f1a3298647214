"""Read facts from a CSV file, separated by comma, semicolon or tab as in its header."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, csv_lines, delimiter, first_line, opened, text_lines
from knscope.analysis.datasets.own_table import Source, check_table, missing_columns, our_columns
from knscope.store.errors import UserError


def load_csv(
    name: str, path: Path, langs: Sequence[str], relations: Sequence[str], columns: Mapping[str, str]
) -> Dataset:
    """Cells are text as they stand; `alternatives`, if there, holds other right objects between `|`."""
    check_file(path)
    separator = delimiter(path)
    given = {ours: theirs.strip().lower() for ours, theirs in columns.items()}
    try:
        with opened(path) as stream:
            table = pl.read_csv(stream, separator=separator, infer_schema=False, encoding="utf8")
    except pl.exceptions.PolarsError as error:
        _explain(path, separator, given)
        raise UserError(f"{path}: cannot be read as CSV: {first_line(error)}") from error
    names = [column.strip().lower() for column in table.columns]
    found = _check_header(path, names, given)
    for theirs in found.values():
        if names.count(theirs) > 1 or f"{theirs}_duplicated_0" in names:  # as Polars calls the second of two alike
            raise UserError(f"{path}, line 1: the column {theirs} stands twice in the header; rename one of the two")
    table = table.filter(pl.any_horizontal(pl.all().is_not_null()))
    if table.is_empty():
        raise UserError(f"{path}: has a header but no rows")
    table = table.select(pl.col(table.columns[names.index(theirs)]).alias(ours) for ours, theirs in found.items())
    if "alternatives" in table.columns:
        table = table.with_columns(
            pl.col("alternatives").str.split("|").list.eval(pl.element().str.strip_chars()).list.drop_nulls()
        )
    rows, reports = check_table(table, Source(path, lambda: csv_lines(path, separator)), langs, relations)
    return make_dataset(name, rows, reports, [path])


def _check_header(path: Path, columns: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The columns of a table by our names. Raises UserError where one is missing."""
    found = our_columns(columns, given, path)
    if said := missing_columns(found, columns):
        raise UserError(f"{path}, line 1: {said}")
    return found


def _explain(path: Path, separator: str, given: Mapping[str, str]) -> None:
    """Raise UserError at the first row that is not UTF-8, has more or fewer cells than the header, or an unpaired quote."""
    for _ in text_lines(path):
        pass
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as stream:
        lines = stream.readlines()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    columns: list[str] = []
    begins = 0
    try:
        for cells in reader:
            columns = columns or cells
            if begins == 0:
                _check_header(path, [column.strip().lower() for column in columns], given)
            if "".join(lines[begins : reader.line_num]).count('"') % 2:
                raise csv.Error
            if cells and len(cells) != len(columns):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}; "
                    f"write a cell with a {separator!r} in it between double quotes"
                )
            begins = reader.line_num
    except csv.Error:
        raise UserError(
            f"{path}, line {begins + 1}: a double quote stands alone; write a cell that holds one between double quotes, "
            'with the quote in it twice: "5"" gun"'
        ) from None
