"""How new shards become rows of the reader's tables: what is new, numbered, and what is derived from it (derived.sql)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from store.shards import Shard

Row = tuple[npt.NDArray[np.float32], int]
"""A dense matrix and the row of it that belongs to a key."""


@dataclass(frozen=True)
class Fresh:
    """Rows of a keyed table that were not there before; `first` numbers the first of them."""

    rows: pa.Table
    first: int
    dense: Mapping[str, Row]

    def of_parent(self, children: pa.Table) -> pa.Table:
        """Those children whose key is among the new ones."""
        return children.filter(pc.is_in(children["key"], self._keys))

    def numbered(self, children: pa.Table, column: str) -> pa.Table:
        """The same with the key replaced by its parent's number."""
        place = pc.index_in(children["key"], self._keys)
        numbers = pc.add(pc.cast(place, pa.int32()), pa.scalar(self.first, pa.int32()))
        return children.drop_columns(["key"]).add_column(0, column, numbers).filter(pc.is_valid(place))

    @property
    def numbers(self) -> pa.Array:
        return pa.array(np.arange(self.first, self.first + self.rows.num_rows, dtype=np.int32))

    @property
    def _keys(self) -> pa.Array:
        return self.rows["key"].combine_chunks()


def fresh_rows(name: str, shards: Sequence[Shard], known: set[str]) -> Fresh | None:
    """Rows of a keyed table whose key is seen for the first time, and marks them as known. A key's first copy wins, with its dense row."""
    first, parts, dense = len(known), [], {}
    for shard in shards:
        rows = shard.tables.get(name)
        if rows is None:
            continue
        new = []
        for index, key in enumerate(rows["key"].to_pylist()):
            if key not in known:
                known.add(key)
                new.append(index)
                if name == "attribution" and shard.dense is not None:
                    dense[key] = (shard.dense, rows["dense_row"][index].as_py())
        if new:
            parts.append(rows.take(new) if len(new) < rows.num_rows else rows)
    return Fresh(pa.concat_tables(parts), first, dense) if parts else None


def derive_scores(cursor: duckdb.DuckDBPyConnection, fresh: Fresh, scores: pa.Table | None) -> None:
    """attribution_row and score_row; the rows of highest rel first, so that row groups below a threshold are skipped unread."""
    _places(cursor)
    with registered(
        cursor, fresh.rows.select(["key", "model", "method", "query"]).add_column(0, "number", fresh.numbers)
    ):
        cursor.execute(
            "INSERT INTO attribution_row SELECT number, place, i.key, i.model, i.method, i.query "
            "FROM incoming i JOIN query q USING (query) JOIN place p ON p.fact = q.fact AND p.lang = q.lang"
        )
    if scores is not None:
        insert(cursor, "score_row", fresh.numbered(scores, "aq").sort_by([("rel", "descending")]))


def derive_pairs(cursor: duckdb.DuckDBPyConnection, fresh: Fresh) -> None:
    """scan_row, scan_neuron_row and pair, from the rows of scan, scan_neuron and ablation just inserted."""
    _places(cursor)
    numbered = fresh.rows.select(["key", "model", "method", "query", "role", "p"]).add_column(
        0, "number", fresh.numbers
    )
    with registered(cursor, numbered):
        cursor.execute(
            "INSERT INTO scan_row SELECT number, place, i.key, i.model, i.method, i.query, i.role "
            "FROM incoming i JOIN query q USING (query) JOIN place p ON p.fact = q.fact AND p.lang = q.lang"
        )
        cursor.execute(
            "INSERT INTO scan_neuron_row SELECT number, n.position, n.layer, n.neuron FROM scan_neuron n JOIN incoming i USING (key)"
        )
        cursor.execute(
            """
            INSERT INTO pair
            WITH one AS MATERIALIZED (
                SELECT i.number, i.p AS before, n.position, a.layer_a AS layer, a.neuron_a AS neuron, a.p, a.argmax_kept
                FROM ablation a JOIN incoming i USING (key)
                JOIN scan_neuron n ON n.key = a.key AND n.layer = a.layer_a AND n.neuron = a.neuron_a
                WHERE a.layer_b IS NULL
            )
            SELECT a.number, a.position, b.position, a.layer, a.neuron, b.layer, b.neuron, a.before, a.p, b.p, c.p,
                log_odds(c.p) - log_odds(a.p) - log_odds(b.p) + log_odds(a.before),
                a.argmax_kept AND b.argmax_kept AND NOT c.argmax_kept
            FROM ablation c JOIN incoming i USING (key)
            JOIN one a ON a.number = i.number AND a.layer = c.layer_a AND a.neuron = c.neuron_a
            JOIN one b ON b.number = i.number AND b.layer = c.layer_b AND b.neuron = c.neuron_b
            WHERE c.layer_b IS NOT NULL
            """
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


def together(parts: Iterable[pa.Table | None]) -> pa.Table | None:
    """Tables of one shape as one; None where there is none."""
    present = [part for part in parts if part is not None]
    return pa.concat_tables(present) if present else None


@contextmanager
def registered(cursor: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    """`rows` as table `incoming` of this cursor."""
    cursor.register("incoming", rows)
    try:
        yield
    finally:
        cursor.unregister("incoming")
