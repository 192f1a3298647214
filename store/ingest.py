"""How rows of shards become rows of a database: what is new, numbered, and what is derived from it (derived.sql)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from knscope.store import neurons, parquet
from knscope.store.database import NUMBERED
from knscope.store.shards import Shard

KEYED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prediction": (),
        "attribution": ("score", "path"),
        "scan": ("scan_neuron", "ablation"),
        "edit": (),
        "claim": ("claim_neuron",),
        "vocabulary": ("promoted",),
        "wiring": (),
        "activation": (),
    }
)
"""Tables with a key, and the tables whose rows belong to a row of theirs."""
NATURAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "model": ("model",),
        "site": ("model", "layer", "call"),
        "method": ("method", "numerics_version"),
        "query": ("query",),
        "template_order": ("relation", "lang", "template", "position"),
        "unusable": ("model", "query"),
        "edited_set": ("model", "set"),
        "note": ("model", "layer", "neuron", "written"),
        "irrelevant": ("model", "fact", "other"),
    }
)
"""Tables without a key: their rows may come with every shard, and count once."""


@dataclass(frozen=True)
class Fresh:
    """Rows of the keyed table `name` that were not there before; `first` numbers the first of them. `by_shard` says which keys came from
    where."""

    name: str
    rows: pa.Table
    first: int
    by_shard: Sequence[tuple[Shard, pa.Array]] = field(repr=False)

    def children(self, name: str) -> pa.Table | None:
        """Rows of a table that belong to the new ones: from the shard that each came with, never from a second copy."""
        numbered = self.numbered(name, "key")
        if numbered is None:
            return None
        place = pc.subtract(numbered["key"], pa.scalar(self.first, pa.int32()))
        return numbered.set_column(0, "key", self.rows["key"].combine_chunks().take(place.combine_chunks()))

    def numbered(self, name: str, column: str) -> pa.Table | None:
        """The same with their parent's number, `column`, in the place of the key."""
        parts = [
            rows if len(keys) == shard.tables[self.name].num_rows else rows.filter(pc.is_in(rows["key"], keys))
            for shard, keys in self.by_shard
            if (rows := shard.tables.get(name)) is not None
        ]
        if not parts:
            return None
        rows = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
        key = rows["key"].combine_chunks()
        found = pc.add(
            pc.index_in(key.dictionary, self.rows["key"].combine_chunks()), pa.scalar(self.first, pa.int32())
        )
        numbers = found.take(key.indices)
        rows = rows.set_column(0, column, numbers)
        return rows.filter(pc.is_valid(numbers)) if numbers.null_count else rows

    @property
    def keys(self) -> list[str]:
        listed: list[str] = self.rows["key"].to_pylist()
        return listed

    @property
    def numbers(self) -> pa.Array:
        return pa.array(np.arange(self.first, self.first + self.rows.num_rows, dtype=np.int32))


def fresh_rows(name: str, shards: Sequence[Shard], known: set[str], first: int = 0) -> Fresh | None:
    """Rows of a keyed table whose key is seen for the first time, numbered from `first`; a key's first copy wins."""
    parts, by_shard, seen = [], [], set()
    for shard in shards:
        rows = shard.tables.get(name)
        if rows is None:
            continue
        new = []
        for index, key in enumerate(rows["key"].to_pylist()):
            if key not in known and key not in seen:
                seen.add(key)
                new.append(index)
        if new:
            parts.append(rows.take(new) if len(new) < rows.num_rows else rows)
            by_shard.append((shard, parts[-1]["key"].combine_chunks()))
    return Fresh(name, pa.concat_tables(parts).combine_chunks(), first, by_shard) if parts else None


NUMBERS = {
    "attribution": "number, place, i.key, i.model, i.method, i.query, i.floor",
    "scan": "number, place, i.key, i.model, i.method, i.query, i.role, "
    "(SELECT bit_or(1::HUGEINT << n.position::INTEGER) FROM {large}scan_neuron_row n WHERE n.scan_no = number)",
}
"""Keyed tables whose rows are numbered in <name>_row, and its columns."""


def number_rows(cursor: duckdb.DuckDBPyConnection, name: str, fresh: Fresh, large: str) -> None:
    """attribution_row or scan_row."""
    _places(cursor)
    with registered(cursor, fresh.rows.add_column(0, "number", fresh.numbers)):
        cursor.execute(
            f"INSERT INTO {name}_row SELECT {NUMBERS[name].format(large=large)} "
            "FROM incoming i JOIN query q USING (query) JOIN place p ON p.fact = q.fact AND p.lang = q.lang"
        )


def insert_children(
    cursor: duckdb.DuckDBPyConnection, name: str, fresh: Fresh, large: str, extents: neurons.Extents
) -> None:
    """Rows that belong to new ones; scores of highest rel first, so that row groups below a threshold are skipped unread.

    Raises StrangeRowsError where they name neurons that their model has not.
    """
    numbered = name in NUMBERED
    rows = fresh.numbered(name, NUMBERED[name][1]) if numbered else fresh.children(name)
    if rows is not None:
        if name in neurons.NAMED:
            parents = rows.column(0).to_numpy() - fresh.first
            neurons.check(name, rows, parents, fresh.rows["model"].combine_chunks(), extents)
        ordered = rows.sort_by([("rel", "descending")]) if name == "score" else rows
        insert(cursor, f"{large}{name}_row" if numbered else f"{large}{name}", ordered)


def pair_up(cursor: duckdb.DuckDBPyConnection, fresh: Fresh, large: str) -> None:
    """Table pair, from the rows of new scans; the largest drops first, so that row groups below a threshold are skipped unread."""
    first, last = fresh.first, fresh.first + fresh.rows.num_rows - 1
    cursor.execute(
        f"""
        INSERT INTO {large}pair
        WITH done AS MATERIALIZED (FROM {large}ablation_row WHERE scan_no BETWEEN $first AND $last),
        one AS MATERIALIZED (
            SELECT a.scan_no, s.p AS before, n.position, a.layer_a AS layer, a.neuron_a AS neuron, a.p, a.argmax_kept
            FROM done a JOIN scan_row r USING (scan_no) JOIN scan s USING (key)
            JOIN {large}scan_neuron_row n ON n.scan_no = a.scan_no AND n.layer = a.layer_a AND n.neuron = a.neuron_a
            WHERE a.layer_b IS NULL AND n.scan_no BETWEEN $first AND $last AND r.scan_no BETWEEN $first AND $last
        )
        SELECT a.scan_no, a.position, b.position, a.layer, a.neuron, b.layer, b.neuron, a.before, a.p, b.p, c.p,
            drop_of(a.before, a.p), drop_of(a.before, b.p), drop_of(a.before, c.p) AS drop_ab,
            log_odds(c.p) - log_odds(a.p) - log_odds(b.p) + log_odds(a.before),
            a.argmax_kept AND b.argmax_kept AND NOT c.argmax_kept
        FROM done c
        JOIN one a ON a.scan_no = c.scan_no AND a.layer = c.layer_a AND a.neuron = c.neuron_a
        JOIN one b ON b.scan_no = c.scan_no AND b.layer = c.layer_b AND b.neuron = c.neuron_b
        WHERE c.layer_b IS NOT NULL
        ORDER BY drop_ab DESC
        """,
        {"first": first, "last": last},
    )


def _places(cursor: duckdb.DuckDBPyConnection) -> None:
    """Number every (fact, language) and every fact that is new among the queries."""
    cursor.execute(
        """
        INSERT INTO place
        WITH fresh AS (SELECT DISTINCT fact, relation, lang FROM query ANTI JOIN place USING (fact, lang)),
        old AS (SELECT fact, any_value(fact_no) AS fact_no FROM place GROUP BY fact),
        last AS (SELECT coalesce(max(place), -1) + 1 AS place, coalesce(max(fact_no), -1) + 1 AS fact_no FROM place),
        unseen AS (SELECT DISTINCT fact FROM fresh ANTI JOIN old USING (fact)),
        added AS (SELECT fact, row_number() OVER (ORDER BY fact) - 1 AS number FROM unseen)
        SELECT last.place + row_number() OVER (ORDER BY fresh.fact, fresh.lang) - 1,
            coalesce(old.fact_no, last.fact_no + added.number), fresh.*
        FROM fresh CROSS JOIN last LEFT JOIN old USING (fact) LEFT JOIN added USING (fact)
        """
    )


def insert_distinct(cursor: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], rows: pa.Table) -> None:
    """Insert rows of a table without keys, those not there yet by their natural key."""
    match = " AND ".join(f't."{column}" = n."{column}"' for column in columns)
    listed = ", ".join(f'"{column}"' for column in columns)
    with registered(cursor, rows):
        cursor.execute(
            f"INSERT INTO {name} SELECT DISTINCT ON ({listed}) * FROM incoming n WHERE NOT EXISTS (FROM {name} t WHERE {match})"
        )


def insert(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    if rows.num_rows:
        with registered(cursor, rows):
            cursor.execute(f"INSERT INTO {name} FROM incoming")


def together(shards: Iterable[Shard], name: str) -> pa.Table | None:
    """One table of several shards, without what is the very table of the shard before; None where none has it."""
    present: list[pa.Table] = []
    for shard in shards:
        rows = shard.tables.get(name)
        if rows is not None and not (present and rows is present[-1]):
            present.append(rows)
    return pa.concat_tables(present).combine_chunks() if present else None


@contextmanager
def registered(cursor: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    """`rows` as table `incoming` of this cursor. Raises ArrowInvalid where they are not what a run writes."""
    parquet.check(rows)
    cursor.register("incoming", rows)
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # where the transaction has failed: why is told
            cursor.unregister("incoming")
