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

from store.database import prepare
from store.dense import DamagedShardError
from store.errors import UserError
from store.ingest import Intake
from store.layout import check
from store.shards import Shard, list_shards, read_shard
from store.view import FLOOR, View, sql_literal


class Reader:
    """An open store. Thread-safe: every call takes a cursor of its own; ingesting and asking may overlap."""

    def __init__(self, path: Path | str, memory_limit: str = "2GB") -> None:
        self.path = check(path)
        self.generation = 0
        """Counts up whenever something new was taken in."""
        self.damaged: dict[str, str] = {}
        """Shards put aside, and why."""
        self._seen: set[str] = set()
        self._intake = Intake()
        self._lock = threading.Lock()
        self._known_catalog: tuple[int, dict[str, list[Any]]] = (-1, {})
        # Locked before anything is read: ad-hoc SQL runs on this instance too, and must reach neither files nor settings.
        self._instance = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "enable_external_access": "false",
                "python_enable_replacements": "false",
            }
        )
        prepare(self._instance)
        self._instance.execute("SET lock_configuration = true")
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
        with self.cursor() as cursor:
            self._intake.take_in(cursor, shards)

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
        return frozenset(self._intake.keys[table])

    def dense(self, key: str) -> npt.NDArray[np.float32]:
        """All scores of one attribution, (n_neurons,), mapped from disk. Raises KeyError."""
        matrix, row = self._intake.dense[key][0]
        scores: npt.NDArray[np.float32] = matrix.block([row])[0]
        return scores

    def models(self) -> list[str]:
        return sorted({model for model, _, _ in self._catalog()["attributed"]} | set(self._catalog()["models"]))

    def methods(self, model: str | None = None) -> list[str]:
        """Methods with stored attributions, of one model or of any."""
        return sorted({method for name, method, _ in self._catalog()["attributed"] if model in (None, name)})

    def langs(self, model: str | None = None) -> list[str]:
        """Languages with stored predictions, English first."""
        found = {lang for name, lang in self._catalog()["langs"] if model in (None, name)}
        return sorted(found, key=lambda lang: (not lang.startswith("en"), lang))

    def relations(self) -> list[str]:
        return sorted(self._catalog()["relations"])

    def _catalog(self) -> dict[str, list[Any]]:
        """What there is to choose from; asked once a generation, since every View is checked against it."""
        generation, catalog = self._known_catalog
        if generation != self.generation:
            with self.cursor() as cursor:
                catalog = {
                    "models": [row[0] for row in cursor.execute("SELECT model FROM model").fetchall()],
                    "relations": [row[0] for row in cursor.execute("SELECT DISTINCT relation FROM query").fetchall()],
                    "attributed": cursor.execute(
                        "SELECT model, method, count(*) FROM attribution GROUP BY ALL"
                    ).fetchall(),
                    "langs": cursor.execute(
                        "SELECT DISTINCT p.model, q.lang FROM prediction p JOIN query q USING (query)"
                    ).fetchall(),
                }
            self._known_catalog = (self.generation, catalog)
        return catalog

    # --- macros with a View ---

    def macro_sql(self, name: str, view: View) -> str:
        """The exact SQL that `name` (queries, kn, likn, layer_hist, dkn, dkn_rate) runs for a View."""
        if name == "queries":
            return queries_sql(view)
        values = macro_arguments(view)
        if name in ("dkn", "dkn_rate"):
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
        """Eq. 9-10: the degenerate pairs, of knowledge neurons and of the controls.

        Columns role (kn, layer_control, drop_control), fact, relation, lang, query, layer_a, neuron_a, layer_b, neuron_b,
        p, p_a, p_b, p_ab, drop_a, drop_b, drop_ab, interaction (in logits), paper (true), strict, expressed.
        """
        return self._ask("dkn", view, " ORDER BY role, fact, lang, drop_ab DESC")

    def dkn_rate(self, view: View) -> pl.DataFrame:
        """Columns role, lang, facts (with an eligible pair), pairs (eligible), paper, strict, expressed, facts_with (a pair)."""
        return self._ask("dkn_rate", view, " ORDER BY role DESC, lang")

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
