"""A person's own facts in a JSONL file: one object a line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, check_record, json_lines, texts
from knscope.analysis.datasets.own_table import OPTIONAL, Source, check_table, stored_names
from knscope.store.errors import UserError


def load_jsonl(name: str, path: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Every column is text; `alternatives`, if there, is a list of texts, and `object` may be one, the right answers.

    Read line by line and not by polars, which would turn a number where text belongs into text.
    """
    check_file(path)
    lines: list[int] = []
    records: dict[str, list[Any]] = {column: [] for column in (*COLUMNS, *OPTIONAL)}
    for number, read in json_lines(path):
        names = stored_names(read)
        record = {names.get(column, column): cell for column, cell in read.items()}
        _check(f"{path}, line {number}", record)
        lines.append(number)
        for column, cells in records.items():
            cells.append(record.get(column))
    if not lines:
        raise UserError(f"{path} is empty: it has no line with a JSON object")
    schema = {column: pl.List(pl.String) if column == "alternatives" else pl.String for column in records}
    table = pl.DataFrame(records, schema=schema)
    table = table.drop(column for column in OPTIONAL if table[column].null_count() == table.height)
    rows, reports = check_table(table, Source(path, lambda: lines), langs, relations)
    return make_dataset(name, rows, reports, [path])


def _check(place: str, record: dict[str, Any]) -> None:
    """Raise UserError unless every cell is what it should be; of a list of right answers the first stays the object."""
    others = record.get("alternatives")
    if others is not None and not (isinstance(others, list) and texts(others) is not None):
        raise UserError(f"{place}: alternatives must be a list of texts")
    answers = record.get("object")
    if isinstance(answers, list) and texts(answers):
        record |= {"object": answers[0], "alternatives": [*answers[1:], *(others or [])]}
    check_record(place, record, COLUMNS)
    optional = [column for column in OPTIONAL if column != "alternatives" and record.get(column) is not None]
    check_record(place, record, optional)
