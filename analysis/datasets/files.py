"""Reading text files that other people wrote: fast where they are sound, exact about the place where they are not."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets nested as deep
            raise UserError(f"{path}, line {number}: this JSON cannot be read: {first_line(error)}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {number}: a JSON object is needed, {type(value).__name__} is there")
        yield number, value


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def is_text(value: object) -> bool:
    """Whether a JSON value is text that can be written down: half of a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(value: object) -> list[str] | None:
    """A JSON value as right answers: a text is one, a list of texts several, null none; None where it is anything else."""
    found: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    return found if all(is_text(one) for one in found) else None


def shown(record: Mapping[str, object], field: str) -> str:
    """`field` of a record and what it holds, in few characters."""
    return f"{field} {json.dumps(record.get(field))[:40]}"


def check_record(place: str, record: Mapping[str, object], columns: Sequence[str]) -> None:
    """Raise UserError unless each column is in the record and holds text."""
    for column in columns:
        if column not in record:
            raise UserError(f"{place}: {column!r} is missing; a row needs {', '.join(columns)}")
        if not is_text(record[column]):
            raise UserError(f"{place}: {column} must be text, {json.dumps(record[column])[:40]} is there")


def csv_lines(path: Path, delimiter: str) -> list[int]:
    """The line on which each data row ends: quoted cells may hold line breaks, and blank rows are no rows."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        return [reader.line_num for cells in reader if any(cells)][1:]
