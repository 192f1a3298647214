"""A person's own facts in a Parquet file."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, first_line
from knscope.analysis.datasets.own_table import OPTIONAL, Source, check_table, stored_names
from knscope.store.errors import UserError


def load_parquet(name: str, path: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Columns of text (dictionary-encoded too), `alternatives`, if there, of lists of text. Rows are counted from 1."""
    check_file(path)
    try:
        schema = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a Parquet file: {first_line(error)}") from error
    renamed = stored_names(schema)
    schema = {renamed.get(column, column): dtype for column, dtype in schema.items()}
    missing = [column for column in COLUMNS if column not in schema]
    if missing:
        raise UserError(f"{path}: columns {', '.join(missing)} missing; it has {', '.join(schema)}")
    wanted = [column for column in (*COLUMNS, *OPTIONAL) if column in schema]
    for column in wanted:
        dtype = schema[column]
        texts = (pl.List(pl.String),) if column == "alternatives" else (pl.String, pl.Categorical, pl.Enum, pl.Null)
        if dtype not in texts:
            raise UserError(f"{path}: column {column} must be text, it is {dtype}")
    table = (
        pl.scan_parquet(path)
        .rename(renamed)
        .select(wanted)
        .cast({pl.Categorical: pl.String, pl.Enum: pl.String})
        .collect()
    )
    if table.is_empty():
        raise UserError(f"{path} is empty: it has columns and no rows")
    rows, reports = check_table(table, Source(path, lambda: range(1, table.height + 1), "row"), langs, relations)
    return make_dataset(name, rows, reports, [path])
