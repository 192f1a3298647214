"""What a database has taken in of a store: which keys, of which numerics version, and where their dense scores lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from knscope.store import parquet, versions
from knscope.store.dense import DamagedShardError, DenseRow, MissingShardError, Scores
from knscope.store.ingest import (
    KEYED,
    NATURAL,
    NUMBERS,
    Fresh,
    fresh_rows,
    insert,
    insert_children,
    insert_distinct,
    number_rows,
    pair_up,
    together,
)
from knscope.store.main_query import count_scans
from knscope.store.neurons import StrangeRowsError, extents
from knscope.store.shards import Shard

ROWS_AT_ONCE = 1_000_000
SHARDS_AT_ONCE = 2_500


def portions(shards: Iterable[Shard]) -> Iterator[list[Shard]]:
    """Shards to take in together: few large ones, or many small ones, since each time costs something whatever there is to take."""
    some, rows = list[Shard](), 0
    for shard in shards:
        some.append(shard)
        rows += sum(table.num_rows for table in shard.tables.values())
        if rows >= ROWS_AT_ONCE or len(some) >= SHARDS_AT_ONCE:
            yield some
            some, rows = [], 0
    if some:
        yield some


def _fault(shard: Shard) -> str:
    """What is wrong with a shard's rows by themselves."""
    try:
        for rows in shard.tables.values():
            parquet.check(rows)
    except pa.ArrowInvalid as error:
        return f"{shard.path}: its rows cannot be used ({error})"
    return ""


_SITES = 'SELECT model, layer, width, "offset" FROM site'


class Intake:
    """What a database (store/database.py) has taken in so far. One caller at a time.

    :param large: schema, with its dot, of the tables of many rows; empty where they lie beside the others
    """

    def __init__(self, large: str = "") -> None:
        self.large = large
        self.keys: dict[str, set[str]] = {name: set() for name in KEYED}
        self.taken = dict.fromkeys(KEYED, 0)
        """How many rows were ever taken in; the next one's number."""
        self.numerics: dict[str, int] = {}
        """The numerics version of each model's results."""
        self.dense: dict[str, list[DenseRow]] = {}
        """Every stored copy of an attribution's dense scores."""

    def take_in(self, cursor: duckdb.DuckDBPyConnection, shards: Sequence[Shard]) -> tuple[set[str], dict[Path, str]]:
        """Take in shards; the models of which there is more now, and shards whose rows no run writes, with the reason.

        Raises duckdb.OutOfMemoryException.
        """
        try:
            return self._together(cursor, shards), {}
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, pa.ArrowException, StrangeRowsError, UnicodeDecodeError) as error:
            if len(shards) == 1:
                return set(), {shards[0].path: f"{shards[0].path}: its rows cannot be used ({error})"}
        models, refused = set[str](), {shard.path: why for shard in shards if (why := _fault(shard))}
        rest, half = [shard for shard in shards if shard.path not in refused], len(shards) // 2
        for some in [rest] if refused else [shards[:half], shards[half:]]:
            if some:
                more, others = self.take_in(cursor, some)
                models, refused = models | more, refused | others
        return models, refused

    def _together(self, cursor: duckdb.DuckDBPyConnection, shards: Sequence[Shard]) -> set[str]:
        """One insert a table for all shards together, all of them or none: the models of which there is more now.

        A key's second copy is ignored. Raises duckdb.Error, ArrowException, StrangeRowsError.

        Of each model only results of the newest numerics version stay, those that were there before included.
        """
        shards, latest = versions.current(shards, self.numerics)
        older = [model for model, version in self.numerics.items() if latest[model] > version]
        cursor.execute("BEGIN")
        try:
            gone = [versions.retire(cursor, model, self.large) for model in older]
            fresh = self._insert(cursor, shards)
            changed = {model for rows in fresh.values() for model in rows.rows["model"].unique().to_pylist()}
            changed.update(older)
            # The order decides between templates on which equally many facts are known.
            if together(shards, "template_order") is not None:
                changed |= {model for (model,) in cursor.execute("SELECT DISTINCT model FROM scan").fetchall()}
            count_scans(cursor, changed)
            cursor.execute("COMMIT")
        except Exception:
            cursor.execute("ROLLBACK")
            raise
        self.numerics = latest
        for name, keys in ((name, keys) for each in gone for name, keys in each.items()):
            self.keys[name] -= keys
            if name == "attribution":
                self.dense = {key: found for key, found in self.dense.items() if key not in keys}
        for name, rows in fresh.items():
            self.keys[name].update(rows.keys)
            self.taken[name] += rows.rows.num_rows
        for shard in shards:
            attributions = shard.tables.get("attribution")
            if shard.dense is not None and attributions is not None:
                for key, row in zip(*(attributions[c].to_pylist() for c in ("key", "dense_row")), strict=True):
                    if row is not None:
                        self.dense.setdefault(key, []).append((shard.dense, row))
        return changed

    def _insert(self, cursor: duckdb.DuckDBPyConnection, shards: Sequence[Shard]) -> dict[str, Fresh]:
        for name, columns in NATURAL.items():
            rows = together(shards, name)
            if rows is not None:
                insert_distinct(cursor, name, columns, rows)
        found = {}
        sites = extents(cursor.execute(_SITES).fetchall())
        for name, children in KEYED.items():
            fresh = fresh_rows(name, shards, self.keys[name], self.taken[name])
            if fresh is None:
                continue
            found[name] = fresh
            insert(cursor, name, fresh.rows)
            for child in children:
                insert_children(cursor, child, fresh, self.large, sites)
            if name in NUMBERS:
                number_rows(cursor, name, fresh, self.large)
            if name == "scan":
                pair_up(cursor, fresh, self.large)
        return found

    def scores(self, key: str, damaged: dict[str, str]) -> Scores:
        """The newest copy of an attribution's scores that is as it was written; shards of damaged ones are noted in `damaged`.

        Raises KeyError, DamagedShardError, MissingShardError.
        """
        trouble: DamagedShardError | None = None
        for matrix, row in reversed(self.dense[key]):
            try:
                scores: Scores = matrix.block([row])[0]
                return scores
            except DamagedShardError as error:
                if not isinstance(error, MissingShardError):
                    damaged[str(matrix.path.parent)] = str(error)
                if trouble is None or isinstance(trouble, MissingShardError):
                    trouble = error
        raise trouble or KeyError(key)
