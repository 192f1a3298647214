"""A person's own facts in a CSV file: comma, semicolon or tab, as the header shows."""

import csv
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, csv_lines, first_line, text_lines
from knscope.analysis.datasets.own_table import OPTIONAL, Source, check_table, stored_names
from knscope.store.errors import UserError


def load_csv(name: str, path: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Cells are text as they stand; `alternatives`, if there, holds other right objects between `|`."""
    check_file(path)
    delimiter = _delimiter(path)
    try:
        with path.open("rb") as stream:
            table = pl.read_csv(stream, separator=delimiter, infer_schema=False, encoding="utf8")
    except pl.exceptions.PolarsError as error:
        _explain(path, delimiter)
        raise UserError(f"{path}: cannot be read as CSV: {first_line(error)}") from error
    table = table.rename(lambda column: column.strip().lower()).filter(pl.any_horizontal(pl.all().is_not_null()))
    table = table.rename(stored_names(table.columns))
    _check_header(path, table.columns)
    if table.is_empty():
        raise UserError(f"{path}: has a header and no rows")
    table = table.select(column for column in (*COLUMNS, *OPTIONAL) if column in table.columns)
    if "alternatives" in table.columns:
        table = table.with_columns(
            pl.col("alternatives").str.split("|").list.eval(pl.element().str.strip_chars()).list.drop_nulls()
        )
    rows, reports = check_table(table, Source(path, lambda: csv_lines(path, delimiter)), langs, relations)
    return make_dataset(name, rows, reports, [path])


def _delimiter(path: Path) -> str:
    """The separator the header line has most of; spreadsheets write `;` in half of Europe."""
    _, header = next(text_lines(path))
    return max(",;\t", key=header.count)


def _check_header(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in COLUMNS if column not in (*columns, *stored_names(columns).values())]
    if missing:
        raise UserError(
            f"{path}, line 1: column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; "
            f"the header needs {','.join(COLUMNS)}, it has {','.join(columns)}"
        )


def _explain(path: Path, delimiter: str) -> None:
    """Raise UserError at the first row that is no UTF-8, has another number of cells than the header or a quote alone."""
    for _ in text_lines(path):
        pass
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = stream.readlines()
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns: list[str] = []
    begins = 0
    try:
        for cells in reader:
            columns = columns or cells
            if begins == 0:
                _check_header(path, columns)
            if "".join(lines[begins : reader.line_num]).count('"') % 2:
                raise csv.Error
            if cells and len(cells) != len(columns):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}; "
                    f"write a cell with a {delimiter!r} in it between double quotes"
                )
            begins = reader.line_num
    except csv.Error:
        raise UserError(
            f"{path}, line {begins + 1}: a double quote stands alone; write a cell that holds one between double quotes, "
            'with the quote in it twice: "5"" gun"'
        ) from None
