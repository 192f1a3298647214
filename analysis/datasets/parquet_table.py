"""A person's own facts in a Parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, first_line
from knscope.analysis.datasets.own_table import OPTIONAL, Source, check_table, stored_names
from knscope.store.errors import UserError

TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
TEXTS = pl.List(pl.String)


def load_parquet(name: str, path: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Columns of text (dictionary-encoded too); `alternatives`, if there, of lists of text, and `object` may be one of lists,
    the right answers. Rows are counted from 1."""
    check_file(path)
    with path.open("rb") as stream:
        try:
            table = _read(path, stream)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{path}: not a Parquet file: {first_line(error)}") from error
    if table.is_empty():
        raise UserError(f"{path} is empty: it has columns and no rows")
    rows, reports = check_table(table, Source(path, lambda: range(1, table.height + 1), "row"), langs, relations)
    return make_dataset(name, rows, reports, [path])


def _read(path: Path, stream: BinaryIO) -> pl.DataFrame:
    schema = pl.read_parquet_schema(stream)
    stream.seek(0)
    renamed = stored_names(schema)
    schema = {renamed.get(column, column): dtype for column, dtype in schema.items()}
    missing = [column for column in COLUMNS if column not in schema]
    if missing:
        raise UserError(f"{path}: columns {', '.join(missing)} missing; it has {', '.join(schema)}")
    wanted = [column for column in (*COLUMNS, *OPTIONAL) if column in schema]
    for column in wanted:
        fits = {"alternatives": (TEXTS,), "object": (*TEXT, TEXTS)}.get(column, TEXT)
        if schema[column] not in fits:
            raise UserError(f"{path}: column {column} must be text, it is {schema[column]}")
    table = pl.scan_parquet(stream).rename(renamed).select(wanted).cast({pl.Categorical: pl.String, pl.Enum: pl.String})
    if schema["object"] == TEXTS:
        answers = pl.col("object")
        given = pl.col("alternatives") if "alternatives" in wanted else pl.lit(None, dtype=TEXTS)
        empty = pl.lit([], dtype=TEXTS)
        table = table.with_columns(
            object=answers.list.first(), alternatives=answers.list.slice(1).list.concat(given.fill_null(empty))
        )
    return table.collect()
