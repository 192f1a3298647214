"""The records of one file, whatever its form: a CSV table, JSON lines, a JSON array or Parquet."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.datasets.files import check_file, delimiter, first_line, form, json_array, json_lines, opened
from knscope.store.errors import UserError

Numbered = Iterator[tuple[int, dict[str, Any]]]


def read_records(path: Path) -> tuple[str, Numbered]:
    """What the numbers count (line, record or row) and each record with its number, from 1, in file order.

    Cells of a CSV table are text, or None where its row is too short. Raises UserError, also while records are taken.
    """
    check_file(path)
    readers = {".csv": _csv, ".tsv": _csv, ".json": json_array, ".parquet": _parquet}
    units = {".json": "record", ".parquet": "row"}
    return units.get(form(path), "line"), readers.get(form(path), json_lines)(path)


def _csv(path: Path) -> Numbered:
    separator = delimiter(path)  # which also refuses a first line that is no UTF-8
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter=separator, restkey="", strict=True)
        try:
            for row in rows:
                yield rows.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}, line {rows.line_num + 1}: cannot be read as CSV: {first_line(error)}") from error


def _parquet(path: Path) -> Numbered:
    try:
        with opened(path) as stream:
            table = pl.read_parquet(stream)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a Parquet file: {first_line(error)}") from error
    yield from enumerate(table.iter_rows(named=True), start=1)
