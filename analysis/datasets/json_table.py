"""A person's own facts as JSON: one object a line, or one array of objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, check_record, texts
from knscope.analysis.datasets.own_table import OPTIONAL, Source, check_table, our_columns
from knscope.analysis.datasets.records import read_records
from knscope.store.errors import UserError


def load_json(
    name: str, path: Path, langs: Sequence[str], relations: Sequence[str], columns: Mapping[str, str]
) -> Dataset:
    """Every column is text; `alternatives`, if there, is a list of texts, and `object` may be one, the right answers.

    Read record by record and not by polars, which would turn a number where text belongs into text.
    """
    check_file(path)
    unit, records = read_records(path)
    numbers: list[int] = []
    cells: dict[str, list[Any]] = {column: [] for column in (*COLUMNS, *OPTIONAL)}
    for number, read in records:
        place = f"{path}, {unit} {number}"
        record = {ours: read[theirs] for ours, theirs in our_columns(read, columns, place).items()}
        _check(place, record)
        numbers.append(number)
        for column, values in cells.items():
            values.append(record.get(column))
    if not numbers:
        raise UserError(f"{path} is empty: it holds no JSON object")
    schema = {column: pl.List(pl.String) if column == "alternatives" else pl.String for column in cells}
    table = pl.DataFrame(cells, schema=schema)
    table = table.drop(column for column in OPTIONAL if table[column].null_count() == table.height)
    rows, reports = check_table(table, Source(path, lambda: numbers, unit), langs, relations)
    return make_dataset(name, rows, reports, [path])


def _check(place: str, record: dict[str, Any]) -> None:
    """Raise UserError for a cell of the wrong type. The first of a list of right answers is the object."""
    others = record.get("alternatives")
    if others is not None and not (isinstance(others, list) and texts(others) is not None):
        raise UserError(f"{place}: alternatives must be a list of texts")
    answers = record.get("object")
    if isinstance(answers, list) and texts(answers):
        record |= {"object": answers[0], "alternatives": [*answers[1:], *(others or [])]}
    check_record(place, record, COLUMNS)
    optional = [column for column in OPTIONAL if column != "alternatives" and record.get(column) is not None]
    check_record(place, record, optional)
