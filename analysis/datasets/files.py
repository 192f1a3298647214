"""Read text files fast, and report the exact line of an error."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from knscope.analysis.datasets import unreadable
from knscope.store.errors import UserError

MAX_TEXT_BYTES = 1 << 30
"""Largest text file that is read; beyond it a table belongs in Parquet."""


def form(path: Path) -> str:
    """The suffix that says how a file is read, in small letters and without `.gz`: `.csv` of `Facts.CSV.gz`."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a file with something in it and of a size that can be read."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a directory, a file is needed")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty")
    if size > MAX_TEXT_BYTES and form(path) != ".parquet":
        raise UserError(
            f"{path} has {size / 2**30:.1f} GiB, more than the {MAX_TEXT_BYTES / 2**30:g} GiB of text read at once; "
            "keep only the relations and languages you need, or store it as Parquet"
        )


def opened(path: Path) -> io.BufferedReader | io.BytesIO:
    """The bytes of a file, of a `.gz` those that are packed in it.

    Raises UserError for a `.gz` that is broken, or that holds more than MAX_TEXT_BYTES, and for what is no text.
    """
    with path.open("rb") as stream:
        head = stream.read(unreadable.HEAD)
    if path.suffix.lower() != ".gz":
        unreadable.refuse_content(path, head)
        return path.open("rb")
    if head and not head.startswith(b"\x1f\x8b"):
        raise UserError(f"{path} is not packed with gzip; take the ending .gz off its name")
    try:
        with gzip.open(path) as packed:
            content = packed.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file: {first_line(error)}") from error
    if len(content) > MAX_TEXT_BYTES:
        raise UserError(
            f"{path} holds more than the {MAX_TEXT_BYTES / 2**30:g} GiB of text read at once; "
            "keep only the relations and languages you need, or store it as Parquet"
        )
    unreadable.refuse_content(path, content[: unreadable.HEAD])
    return io.BytesIO(content)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line. Raises UserError where the bytes are not UTF-8."""
    with opened(path) as stream:
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
    """Number and object of each non-blank line. Raises UserError at the first line that is not a JSON object."""
    for number, line in text_lines(path):
        if line.strip():
            yield number, _object(_line(line, path, number), f"{path}, line {number}")


def _line(line: str, path: Path, number: int) -> Any:
    """A line of JSON lines. Raises UserError for one that is none, which would be left out without a word otherwise."""
    try:
        return json_value(line, path, number)
    except UserError as error:
        raise UserError(f"{error}; mend this line, or take it out") from error


def json_array(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and object of each record of a file that is one JSON array of objects. Raises UserError."""
    value = json_value("\n".join(line for _, line in text_lines(path)), path)
    if not isinstance(value, list):
        raise UserError(f"{path}: a JSON array of objects is needed, {type(value).__name__} is there")
    for number, record in enumerate(value, start=1):
        yield number, _object(record, f"{path}, record {number}")


def json_value(text: str, path: Path, first: int = 1) -> Any:
    """A text of `path` that begins on line `first`, as JSON. Raises UserError with line and column where it is none."""
    try:
        return json.loads(text, object_pairs_hook=_with_keys_once)
    except json.JSONDecodeError as error:
        line, what = first + error.lineno - 1, error.msg.removesuffix(" at")  # "Unterminated string starting at"
        if what == "Extra data" and path.suffix != ".jsonl":
            what += " (a file with one object a line is called .jsonl)"
        raise UserError(f"{path}, line {line}: not valid JSON: {what} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets nested as deep
        raise UserError(f"{path}, line {first}: this JSON cannot be read: {first_line(error)}") from error


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in found if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, found {type(value).__name__}")
    return value


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def is_text(value: object) -> bool:
    """Whether a JSON value is a string that UTF-8 can encode, without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(value: object) -> list[str] | None:
    """A JSON value as right answers: a string is one, a list of strings several, null none. None for any other value."""
    found: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    return found if all(is_text(one) for one in found) else None


def shown(record: Mapping[str, object], field: str) -> str:
    """`field` of a record and its value, abbreviated."""
    return f"{field} {json.dumps(record.get(field))[:40]}"


def check_record(place: str, record: Mapping[str, object], columns: Sequence[str]) -> None:
    """Raise UserError unless every column is in the record and is a string."""
    for column in columns:
        if column not in record:
            raise UserError(
                f"{place}: {column!r} is missing; a row needs {', '.join(columns)} (--column {column}=NAME says which one it is)"
            )
        if not is_text(record[column]):
            raise UserError(f"{place}: {column} must be a string, not {json.dumps(record[column])[:40]}")


def delimiter(path: Path) -> str:
    """The separator the header line of a table has most of; spreadsheets write `;` in half of Europe."""
    _, header = next(text_lines(path))
    return max(",;\t", key=header.count)


def csv_lines(path: Path, separator: str) -> list[int]:
    """The line on which each data row ends: quoted cells may hold line breaks, and blank rows are no rows."""
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=separator)
        return [reader.line_num for cells in reader if any(cells)][1:]
