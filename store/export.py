"""Any frame as CSV, JSON or Parquet, to a file or as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from store.errors import UserError

FORMATS = ("csv", "json", "parquet")


def write_table(frame: pl.DataFrame, path: Path, format: str | None = None) -> None:  # noqa: A002 - as a person types it
    """Write a file whole or not at all. The format goes by the name's ending where none is given. Raises UserError."""
    chosen = format or path.suffix.lstrip(".").lower()
    if chosen not in FORMATS:
        raise UserError(f"{path}: cannot tell the format; end the name in .csv, .json or .parquet, or name the format")
    with whole(path) as temporary:
        if chosen == "parquet":
            frame.write_parquet(temporary)
        else:
            temporary.write_text(as_text(frame, chosen), encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes its name once written. Raises UserError where that fails."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def as_text(frame: pl.DataFrame, format: str) -> str:  # noqa: A002 - as a person types it
    """CSV (lists as JSON) or one JSON array of objects."""
    if format == "csv":
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        flat = frame.with_columns(pl.col(name).map_elements(_json, return_dtype=pl.String) for name in nested)
        return flat.write_csv()
    return json.dumps(frame.to_dicts(), ensure_ascii=False, indent=1, default=str) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, ensure_ascii=False, default=str)
