"""The answer of DuckDB as a polars frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl

# A relation would copy less, but plans every statement twice, which for the macros costs more than their rows do.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")


def frame_of(
    cursor: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, Any] | Sequence[Any] | None = None
) -> pl.DataFrame:
    """Run a statement and return its rows."""
    frame = pl.from_arrow(cursor.execute(text, values).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame
