"""A live view of a store that others may be writing: new shards go into a DuckDB in memory, and every table answers SQL.

Nothing is ever locked: shards never change once committed, so a reader only looks for folders it has not seen. A second
copy of a result (two runs computed the same) is ignored by its key; a damaged shard is put aside and named, the rest
goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from store import schema
from store.errors import UserError
from store.layout import check
from store.shards import DamagedShardError, Shard, list_shards, read_shard
from store.view import FLOOR, View, sql_literal

_KEYED = {
    "prediction": (),
    "attribution": ("score", "path"),
    "scan": ("scan_neuron", "ablation"),
    "edit": (),
    "claim": ("claim_neuron",),
}
"""Tables with a key, and the tables whose rows belong to a row of theirs."""
_NATURAL = {
    "model": ("model",), "site": ("model", "layer", "call"), "method": ("method", "numerics_version"), "query": ("query",),
    "unusable": ("model", "query"), "edited_set": ("model", "set"), "irrelevant": ("model", "fact", "other"),
}  # fmt: skip
"""Tables without a key: their rows may come with every shard, and count once."""
_OWN = """
CREATE TABLE attribution_row AS SELECT 0::INTEGER AS aq, key, model, method, query FROM attribution LIMIT 0;
CREATE TABLE score_row (aq INTEGER, layer SMALLINT, neuron INTEGER, score FLOAT, rel DOUBLE);
CREATE VIEW score AS SELECT a.key, s.layer, s.neuron, s.score, s.rel FROM score_row s JOIN attribution_row a USING (aq);
"""


class Reader:
    """An open store. Thread-safe: every call takes a cursor of its own; ingesting and asking may overlap."""

    def __init__(self, path: Path | str, memory_limit: str = "2GB") -> None:
        self.path = check(path)
        self.generation = 0
        """Counts up whenever something new was taken in."""
        self.damaged: dict[str, str] = {}
        """Shards put aside, and why."""
        self._seen: set[str] = set()
        self._dense: dict[str, tuple[npt.NDArray[np.float32], int]] = {}
        self._keys: dict[str, set[str]] = {name: set() for name in _KEYED}
        self._lock = threading.Lock()
        self._instance = duckdb.connect(config={"memory_limit": memory_limit})
        for table in schema.tables().values():
            if table.name != "score":
                self._instance.execute(table.ddl)
        self._instance.execute(_OWN)
        self._instance.execute(schema.text("macros.sql"))
        self._comment()
        self.poll()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._instance.close()

    # --- what is new ---

    def poll(self) -> bool:
        """Take in shards committed since the last look; True when something new came. Cheap when there is nothing."""
        with self._lock:
            fresh = [path for path in list_shards(self.path) if path.name not in self._seen]
            shards = list(self._readable(fresh))
            if shards:
                self._take_in(shards)
                self.generation += 1
            return bool(shards)

    def _readable(self, paths: Sequence[Path]) -> Iterator[Shard]:
        for path in paths:
            self._seen.add(path.name)
            try:
                yield read_shard(path)
            except DamagedShardError as error:
                self.damaged[str(path)] = str(error)

    def _take_in(self, shards: Sequence[Shard]) -> None:
        cursor = self._instance.cursor()
        scores: list[pa.Table] = []
        for shard in shards:
            cursor.execute("BEGIN")
            for name, columns in _NATURAL.items():
                self._insert_distinct(cursor, name, columns, shard.tables.get(name))
            for name, children in _KEYED.items():
                self._insert_keyed(cursor, name, children, shard, scores)
            cursor.execute("COMMIT")
        if scores:
            # Highest rel first: row groups below a threshold are skipped unread.
            self._insert(cursor, "score_row", pa.concat_tables(scores).sort_by([("rel", "descending")]))
        cursor.close()

    def _insert_keyed(
        self,
        cursor: duckdb.DuckDBPyConnection,
        name: str,
        children: Sequence[str],
        shard: Shard,
        scores: list[pa.Table],
    ) -> None:
        rows = shard.tables.get(name)
        if rows is None:
            return
        known = self._keys[name]
        keys = rows["key"].to_pylist()
        fresh = [key not in known and key not in keys[:i] for i, key in enumerate(keys)]
        rows = rows.filter(pa.array(fresh, pa.bool_()))
        new_keys = rows["key"]
        self._insert(cursor, name, rows)
        for child in children:
            belonging = shard.tables.get(child)
            if belonging is not None and child != "score":
                self._insert(cursor, child, belonging.filter(pc.is_in(belonging["key"], new_keys.combine_chunks())))
        if name == "attribution":
            first = len(known)
            numbers = pa.array(np.arange(first, first + rows.num_rows, dtype=np.int32))
            self._insert(
                cursor, "attribution_row", rows.select(["key", "model", "method", "query"]).add_column(0, "aq", numbers)
            )
            scores.append(self._numbered(shard.tables["score"], new_keys, first))
            if shard.dense is not None:
                for key, row in zip(new_keys.to_pylist(), rows["dense_row"].to_pylist(), strict=True):
                    self._dense[key] = (shard.dense, row)
        known.update(new_keys.to_pylist())

    @staticmethod
    def _numbered(scores: pa.Table, keys: pa.ChunkedArray, first: int) -> pa.Table:
        """Score rows of `keys` with the key replaced by its number, counted from `first`."""
        place = pc.index_in(scores["key"], keys.combine_chunks())
        numbers = pc.add(pc.cast(place, pa.int32()), pa.scalar(first, pa.int32()))
        rows = scores.drop_columns(["key"]).add_column(0, "aq", numbers)
        return rows.filter(pc.is_valid(place))

    def _insert_distinct(
        self, cursor: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], rows: pa.Table | None
    ) -> None:
        if rows is None or not rows.num_rows:
            return
        match = " AND ".join(f't."{column}" = n."{column}"' for column in columns)
        with _registered(cursor, rows):
            listed = ", ".join(f'"{column}"' for column in columns)
            cursor.execute(
                f"INSERT INTO {name} SELECT DISTINCT ON ({listed}) * FROM incoming n "
                f"WHERE NOT EXISTS (FROM {name} t WHERE {match})"
            )

    @staticmethod
    def _insert(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
        if rows.num_rows:
            with _registered(cursor, rows):
                cursor.execute(f"INSERT INTO {name} FROM incoming")

    def _comment(self) -> None:
        for table in schema.tables().values():
            if table.name != "score":
                for column, comment in table.comments.items():
                    self._instance.execute(f'COMMENT ON COLUMN {table.name}."{column}" IS {sql_literal(comment)}')

    # --- asking ---

    def sql(self, text: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> pl.DataFrame:
        """Trusted SQL over every table and macro, as a polars frame."""
        with self.cursor() as cursor:
            frame = pl.from_arrow(cursor.sql(text, params=params).to_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of one's own: interrupt it from another thread to cancel what it runs."""
        cursor = self._instance.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def keys(self, table: str) -> frozenset[str]:
        """Keys stored of `prediction`, `attribution`, `scan`, `edit` or `claim`."""
        return frozenset(self._keys[table])

    def dense(self, key: str) -> npt.NDArray[np.float32]:
        """All scores of one attribution, (n_neurons,), mapped from disk. Raises KeyError."""
        matrix, row = self._dense[key]
        scores: npt.NDArray[np.float32] = matrix[row]
        return scores

    def models(self) -> list[str]:
        return self._column("SELECT model FROM model ORDER BY model")

    def methods(self, model: str | None = None) -> list[str]:
        """Methods with stored attributions, of one model or of any."""
        where = "" if model is None else f" WHERE model = {sql_literal(model)}"
        return self._column(f"SELECT DISTINCT method FROM attribution{where} ORDER BY method")

    def langs(self, model: str | None = None) -> list[str]:
        """Languages with stored predictions, English first."""
        where = "" if model is None else f" WHERE p.model = {sql_literal(model)}"
        found = self._column(
            f"SELECT DISTINCT q.lang FROM prediction p JOIN query q USING (query){where} ORDER BY q.lang"
        )
        return sorted(found, key=lambda lang: (not lang.startswith("en"), lang))

    def relations(self) -> list[str]:
        return self._column("SELECT DISTINCT relation FROM query ORDER BY relation")

    def _column(self, text: str) -> list[str]:
        return [str(value) for value in self.sql(text).to_series().to_list()]

    # --- macros with a View ---

    def macro_sql(self, name: str, view: View) -> str:
        """The exact SQL that `name` (queries, kn, likn, layer_hist, dkn) runs for a View."""
        if name == "queries":
            return queries_sql(view)
        values = macro_arguments(view)
        if name == "dkn":
            values += [view.t_low, view.t_high, view.delta, view.drop == "relative"]
        return f"FROM {name}({', '.join(sql_literal(value) for value in values)})"

    def kn(self, view: View) -> pl.DataFrame:
        """Eq. 6-7. Columns fact, relation, lang, layer, neuron, rel (highest over its queries), share (of its queries)."""
        return self._ask("kn", view)

    def likn(self, view: View) -> pl.DataFrame:
        """Eq. 8. Columns fact, relation, layer, neuron, rel and rel_max (lowest and highest over languages)."""
        return self._ask("likn", view)

    def layer_hist(self, view: View) -> pl.DataFrame:
        """Columns kind (a language, or LIKN), layer, n (pooled), share (mean over facts of the fact's own share)."""
        return self._ask("layer_hist", view, " ORDER BY kind, layer")

    def dkn(self, view: View) -> pl.DataFrame:
        """Eq. 9-10, a row a scanned pair. Columns role (kn, layer_control, drop_control), fact, relation, lang, query, layer_a, neuron_a,
        layer_b, neuron_b, p, p_a, p_b, p_ab, drop_a, drop_b, drop_ab, interaction, paper, strict, expressed."""
        return self._ask("dkn", view)

    def queries(self, view: View) -> pl.DataFrame:
        """One row a stored (model, query). Columns query, fact, relation, lang, template, subject, object, p, p_root, rank,
        known, n_kn and residual (these two null where not attributed with the View's method)."""
        return self._ask("queries", view)

    def _ask(self, name: str, view: View, ending: str = "") -> pl.DataFrame:
        self._check(view)
        return self.sql(self.macro_sql(name, view) + ending)

    def _check(self, view: View) -> None:
        """Raises UserError, listing what there is, where a View names what is not stored."""
        for what, value, there in (
            ("model", view.model, self.models()),
            ("method", view.method, self.methods(view.model)),
        ):
            if value not in there:
                raise UserError(f"{what} {value!r} is not in this store; it has {', '.join(there) or 'none yet'}")
        langs = self.langs(view.model)
        strange = [lang for lang in view.langs if lang not in langs]
        if strange:
            raise UserError(
                f"language {', '.join(strange)} is not stored for {view.model}; there is {', '.join(langs)}"
            )
        low = [lang for lang, tau in view.taus if tau < FLOOR]
        if low:
            raise UserError(f"τ {', '.join(low)} is below {FLOOR:g}, the lowest score kept in sparse form")


@contextmanager
def _registered(cursor: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    cursor.register("incoming", rows)
    try:
        yield
    finally:
        cursor.unregister("incoming")


def macro_arguments(view: View) -> list[Any]:
    """Arguments every macro starts with."""
    return [
        view.model, view.method, list(view.langs), list(view.relations), list(view.facts), list(view.queries), view.known,
        view.tau, view.template_share,
    ]  # fmt: skip


def queries_sql(view: View) -> str:
    """The query table's SQL: predictions, with the number of neurons above τ and the residual where attributed."""
    conditions = [f"p.model = {sql_literal(view.model)}", f"list_contains({sql_literal(list(view.langs))}, q.lang)"]
    conditions += [
        f"list_contains({sql_literal(list(chosen))}, q.{column})"
        for column, chosen in (("relation", view.relations), ("fact", view.facts), ("query", view.queries))
        if chosen
    ]
    conditions += ["p.known"] if view.known else []
    return f"""\
WITH n AS (
    SELECT a.query, count(*) AS n FROM score_row s JOIN attribution_row a USING (aq) JOIN query q USING (query)
    WHERE a.model = {sql_literal(view.model)} AND a.method = {sql_literal(view.method)} AND s.rel > ({sql_literal(view.tau)})[q.lang]
    GROUP BY ALL
)
SELECT q.query, q.fact, q.relation, q.lang, q.template, q.subject, q.object, p.p, p.p_root, p.rank, p.known,
    CASE WHEN a.key IS NOT NULL THEN coalesce(n.n, 0) END AS n_kn, a.max_residual AS residual
FROM prediction p
JOIN query q USING (query)
LEFT JOIN attribution a ON a.model = p.model AND a.query = p.query AND a.method = {sql_literal(view.method)}
LEFT JOIN n ON n.query = p.query
WHERE {" AND ".join(conditions)}
ORDER BY q.relation, q.fact, q.lang, q.template"""
