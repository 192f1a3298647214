"""A table of a shard as a Parquet file: small ones are read quickly, and only what this version writes is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from knscope.store import schema
from knscope.store.dense import DamagedShardError

FILE_BYTES, DECODED_BYTES = 1 << 30, 2 << 30
"""Of the largest table that is read: its file, and what it takes in memory. A compaction makes files of 128 MiB."""
CHILDREN = ("score", "path", "scan_neuron", "ablation", "promoted", "claim_neuron")
"""Tables whose rows belong to a keyed row; `key` is their first column."""
LATER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"prediction": ("words_without_path", "says", "says_p"), "irrelevant": ("kind",), "edit": ("rerouted",)}
)
"""Columns that shards of an older version lack: they are read as null."""
NAMES = (
    "key", "model", "method", "query", "fact", "lang", "relation", "role", "position", "rel", "layer", "neuron", "layer_a", "neuron_a",
    "width", "offset", "max_score", "floor",
)  # fmt: skip
"""Columns that are never empty: rows are found and counted by them."""


def fitting(name: str, frame: pa.Table | pl.DataFrame) -> pa.Table:
    """A frame as a table of the store, its columns in order. Raises ValueError where it does not fit the schema."""
    table = schema.tables().get(name)
    if table is None:
        raise ValueError(f"{name} is no table of the store; tables are {', '.join(schema.tables())}")
    rows: Any = frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame
    wanted = table.schema.names
    if set(rows.column_names) != set(wanted):
        different = sorted(set(rows.column_names) ^ set(wanted))
        raise ValueError(f"table {name}: columns {', '.join(different)} are missing or unknown")
    return rows.select(wanted).cast(table.schema)


def write(table: str, rows: pa.Table, path: Path) -> None:
    """Written so that many small files are read quickly: what describes a file costs more than its few rows.

    Numbers hardly repeat: a dictionary of them, or a slower codec, costs more than it saves beside the dense scores.
    """
    whole = [field.name for field in rows.schema if not pa.types.is_floating(field.type)]
    repeating = whole if table in CHILDREN else False
    with pa.OSFile(str(path), "wb") as file:  # a path would be looked up among kinds of file systems
        pq.write_table(
            rows, file, compression="snappy", use_dictionary=repeating, store_schema=False, write_statistics=False
        )


def parsed(table: str, content: bytes, expected: int, place: str) -> pa.Table:
    """The rows in a file's content. Keys of rows that belong to others are read as a dictionary: few texts, many rows.

    :param expected: how many rows there are
    :raises DamagedShardError: beginning with `place`, of anything but a table as this version writes it; `check` looks at its values
    """
    coded = ["key"] if table in CHILDREN else None
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=coded, pre_buffer=False) as file:
            metadata = file.metadata
            if metadata.num_rows != expected:
                raise DamagedShardError(f"{place} has {metadata.num_rows} rows, not {expected}")
            if not _fits(metadata, content):
                raise DamagedShardError(f"{place} would take more than {DECODED_BYTES >> 30} GiB of memory")
            rows = file.read(use_threads=False)
        if table == "method":
            for options in rows["options"].drop_null().to_pylist():
                json.loads(options)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise DamagedShardError(f"{place} cannot be read ({error})") from error
    wanted = _schema(table)
    for column in LATER.get(table, ()):
        if column not in rows.column_names:
            at = wanted.get_field_index(column)
            rows = rows.add_column(at, wanted.field(at), pa.nulls(rows.num_rows, wanted.field(at).type))
    if not rows.schema.equals(wanted):
        raise DamagedShardError(f"{place} has other columns than this version of knscope writes")
    return rows


@cache
def _schema(table: str) -> pa.Schema:
    """What a file of the table is read as."""
    wanted = schema.tables()[table].schema
    return wanted.set(0, pa.field("key", pa.dictionary(pa.int32(), pa.string()))) if table in CHILDREN else wanted


def check(rows: pa.Table) -> None:
    """Look at rows of one file, or of many together, which costs less.

    Raises ArrowInvalid where a text is not UTF-8, or a name is empty.
    """
    rows.validate(full=True)
    if empty := [column for column in rows.column_names if column in NAMES and rows[column].null_count]:
        raise pa.ArrowInvalid(f"rows without a {empty[0]}")


def _fits(metadata: pq.FileMetaData, content: bytes) -> bool:
    """Whether what a file holds fits in memory: a small one may repeat a long text, or a number, without end."""
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    chunks = [group.column(c) for group in groups for c in range(metadata.num_columns)]
    values = [chunk.num_values for chunk in chunks]
    size: int = 8 * sum(values)
    if size + sum(values) * sum(group.total_byte_size for group in groups) <= DECODED_BYTES:
        return True  # were every value as long as all of them together
    large = {
        chunk.path_in_schema
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY" and chunk.num_values * chunk.total_uncompressed_size > DECODED_BYTES
    }
    if size > DECODED_BYTES or not large:
        return size <= DECODED_BYTES
    with pq.ParquetFile(pa.BufferReader(content), read_dictionary=sorted(large)) as file:
        for column in file.read(columns=sorted(large), use_threads=False).itercolumns():
            for chunk in column.chunks:
                texts = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
                lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
                size += pc.sum(lengths.take(texts.indices)).as_py() or 0
    return size <= DECODED_BYTES
