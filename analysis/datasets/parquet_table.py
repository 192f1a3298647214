"""Read facts from a Parquet file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, first_line, opened
from knscope.analysis.datasets.own_table import Source, check_table, missing_columns, our_columns
from knscope.store.errors import UserError

TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
TEXTS = pl.List(pl.String)


def load_parquet(
    name: str, paths: Sequence[Path], langs: Sequence[str], relations: Sequence[str], columns: Mapping[str, str]
) -> Dataset:
    """Columns of text (dictionary-encoded too); `alternatives`, if there, of lists of text, and `object` may be one of lists,
    the right answers. Rows are counted from 1, over all files where there are several."""
    tables = []
    for path in paths:
        check_file(path)
        with opened(path) as stream:
            try:
                tables.append(_read(path, stream, columns))
            except (pl.exceptions.PolarsError, OSError) as error:
                raise UserError(f"{path}: not a Parquet file: {first_line(error)}") from error
    table = pl.concat(tables, how="diagonal_relaxed")
    place = paths[0] if len(paths) == 1 else paths[0].parent
    if table.is_empty():
        raise UserError(f"{place} is empty: it has columns but no rows")
    rows, reports = check_table(table, Source(place, lambda: range(1, table.height + 1), "row"), langs, relations)
    return make_dataset(name, rows, reports, paths)


def _read(path: Path, stream: BinaryIO, given: Mapping[str, str]) -> pl.DataFrame:
    there = pl.read_parquet_schema(stream)
    stream.seek(0)
    found = our_columns(there, given, path)
    if said := missing_columns(found, there):
        raise UserError(f"{path}: {said}")
    schema = {ours: there[theirs] for ours, theirs in found.items()}
    for column, dtype in schema.items():
        fits = {"alternatives": (TEXTS,), "object": (*TEXT, TEXTS)}.get(column, TEXT)
        if dtype not in fits:
            raise UserError(f"{path}: column {column} must be text, it is {dtype}")
    table = pl.scan_parquet(stream).select(pl.col(theirs).alias(ours) for ours, theirs in found.items())
    table = table.cast({pl.Categorical: pl.String, pl.Enum: pl.String})
    if schema["object"] == TEXTS:
        answers = pl.col("object")
        given_others = pl.col("alternatives") if "alternatives" in schema else pl.lit(None, dtype=TEXTS)
        empty = pl.lit([], dtype=TEXTS)
        table = table.with_columns(
            object=answers.list.first(), alternatives=answers.list.slice(1).list.concat(given_others.fill_null(empty))
        )
    return table.collect()
