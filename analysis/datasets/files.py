"""Reading text files that other people wrote: fast where they are sound, exact about the place where they are not."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from knscope.store.errors import UserError

MAX_TEXT_BYTES = 1 << 30
"""Largest text file that is read; beyond it a table belongs in Parquet."""


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a file of text with something in it and of a size that can be read."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(
            f"{path} is a directory; for a published dataset write mlama:{path}, mpararel:{path} or pararel:{path}, "
            "otherwise name one CSV, JSONL or Parquet file"
        )
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty")
    if size > MAX_TEXT_BYTES and path.suffix != ".parquet":
        raise UserError(
            f"{path} has {size / 2**30:.1f} GiB, more than the {MAX_TEXT_BYTES / 2**30:g} GiB of text read at once; "
            "keep only the relations and languages you need, or store it as Parquet"
        )


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line. Raises UserError where the bytes are not UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; "
                    "save the file with the encoding UTF-8"
                ) from error


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of each line that is not blank. Raises UserError at the first that is no JSON object."""
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            what = error.msg.removesuffix(" at")  # "Unterminated string starting at"
            raise UserError(f"{path}, line {number}: not valid JSON: {what} at column {error.colno}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {number}: a JSON object is needed, {type(value).__name__} is there")
        yield number, value


def scan_published(files: Mapping[tuple[str, str], Path], fields: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Read JSONL files, one a language and relation, together.

    `files` maps (lang, relation) to a path, `fields` names what each line should have (null where it does not) and
    its type. Gives those columns after relation (the field of that name, if it is among them), lang, file (name as in
    its dataset) and line (from 1).
    """
    for path in files.values():
        check_file(path)
    paths = list(files.values())
    origin = pl.LazyFrame(
        {
            "path": [str(path) for path in paths],
            "lang": [lang for lang, _ in files],
            "relation": [relation for _, relation in files],
            "file": [f"{path.parent.name}/{path.name}" for path in paths],
        },
        schema=dict.fromkeys(("path", "lang", "relation", "file"), pl.String),
    ).drop(fields.keys() & {"relation"})
    rows = pl.scan_ndjson(paths, schema=dict(fields), include_file_paths="path")
    try:
        return (
            rows.join(origin, on="path", how="left", maintain_order="left")
            .with_columns(line=pl.int_range(1, pl.len() + 1).over("path"))
            .select(*dict.fromkeys(("relation", "lang", "file", "line", *fields)))
            .collect()
        )
    except pl.exceptions.PolarsError as error:
        for path in paths:
            for number, record in json_lines(path):
                _check_types(f"{path}, line {number}", record, fields)
        raise UserError(f"{paths[0].parent}: cannot be read as JSON lines: {first_line(error)}") from error


def _check_types(place: str, record: Mapping[str, object], fields: Mapping[str, pl.DataType]) -> None:
    for name, dtype in fields.items():
        value = record.get(name)
        kind, word = (int, "a whole number") if dtype == pl.Int64 else (str, "text")
        if value is not None and not isinstance(value, kind):
            raise UserError(f"{place}: {name} must be {word}, {json.dumps(value, ensure_ascii=False)[:40]} is there")


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def check_record(place: str, record: Mapping[str, object], columns: Sequence[str]) -> None:
    """Raise UserError unless each column is in the record and holds text."""
    for column in columns:
        if column not in record:
            raise UserError(f"{place}: {column!r} is missing; a row needs {', '.join(columns)}")
        if not isinstance(record[column], str):
            raise UserError(f"{place}: {column} must be text, {json.dumps(record[column])[:40]} is there")


def csv_lines(path: Path, delimiter: str) -> list[int]:
    """The line on which each data row ends: quoted cells may hold line breaks, and blank rows are no rows."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        return [reader.line_num for cells in reader if any(cells)][1:]
