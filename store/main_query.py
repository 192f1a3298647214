"""Which query of a fact carries its ablations, edits and claims (METHOD §1), and which of its scans count.

Other templates of a fact serve attribution, stability and held-out reading.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import polars as pl

from knscope.store.frames import frame_of
from knscope.store.ingest import registered
from knscope.store.view import FLOOR

QUERIES = """
    SELECT q.query, q.fact, q.relation, q.lang, q.template, q.subject, q.object, coalesce(q.prompt_note, '') AS prefix,
        q.alternatives, p.known, p.p, p.answer_tokens, t.position,
        p.query IN (SELECT query FROM scan WHERE model = $model AND role = 'kn') AS scanned
    FROM prediction p JOIN query q USING (query)
    LEFT JOIN (SELECT relation, lang, template, min(position) AS position FROM template_order GROUP BY ALL) t
        USING (relation, lang, template)
    WHERE p.model = $model
    ORDER BY q.fact, q.lang, q.template, q.query
"""
"""Every query that a model has answered, with the columns that `main_queries` reads."""


def main_queries(queries: pl.DataFrame) -> pl.DataFrame:
    """The main query of each fact in each language: one row each, in the order in which they are first named.

    It has the template on which most facts of the relation are known; of templates with equally many, the data's first
    (lowest `position`), then the first by text where no position is stored. A fact that was scanned keeps the query that
    was: facts that come later may make another template the best one, and do not have it scanned again. Where two of its
    queries were scanned, the same rule chooses between these.

    :param queries: columns query, fact, relation, lang, template, prefix, known, scanned, position
    """
    known = pl.col("known").sum().over("relation", "lang", "template", "prefix")
    ranked = queries.with_columns(facts_known=known).with_row_index("row").sort(
        "scanned", "facts_known", "position", "template", "prefix", "query",
        descending=[True, True, False, False, False, False], nulls_last=True,
    )  # fmt: skip
    named = pl.col("row").min().over("fact", "lang")
    best = ranked.with_columns(named=named).unique(["fact", "lang"], keep="first", maintain_order=True)
    return best.sort("named").select(queries.columns)


def template_order(templates: Iterable[tuple[str, str, str]]) -> pl.DataFrame:
    """Rows of table `template_order` of (relation, language, template), each once, in the data's order."""
    names = ("relation", "lang", "template")
    frame = pl.DataFrame(list(templates), schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int32).over("relation", "lang"))


def count_scans(cursor: duckdb.DuckDBPyConnection, models: Iterable[str]) -> None:
    """Fill table counted_scan anew for these models: what else is stored of a fact may change which of its scans counts."""
    for model in sorted(models):
        given = {"model": model}
        cursor.execute("DELETE FROM counted_scan WHERE model = $model", given)
        cursor.execute(_SCANNED_ONCE, given)
        queries = frame_of(cursor, _QUERIES_SCANNED_AGAIN, given)
        if queries.height:
            with registered(cursor, main_queries(queries).select("query").to_arrow()):
                cursor.execute(_SCANNED_AGAIN, given)


_STORED = """
    WITH stored AS MATERIALIZED (FROM scan_row WHERE model = $model),
    again AS MATERIALIZED (
        SELECT method, place FROM stored GROUP BY ALL HAVING count(*) > count(DISTINCT role) OR count(DISTINCT query) > 1
    )
"""
"""`again`: what was scanned on two queries, or with other neurons. As templates are added, other neurons have the highest
rel; another seed draws other controls."""
_SCANNED_ONCE = f"""
    INSERT INTO counted_scan {_STORED}
    SELECT $model, s.scan_no, o.scan_no
    FROM (FROM stored ANTI JOIN again USING (method, place)) s JOIN (FROM stored WHERE role = 'kn') o USING (method, place)
"""
_QUERIES_SCANNED_AGAIN = f"""
    {_STORED}
    FROM ({QUERIES}) SEMI JOIN (FROM place SEMI JOIN again USING (place)) USING (relation, lang)
"""
# Rel from FLOOR on counts: rows below it are there or not. Decimals add up alike in any order.
_SCANNED_AGAIN = f"""
    INSERT INTO counted_scan {_STORED},
    height AS MATERIALIZED (
        SELECT a.method, a.place, r.layer, r.neuron, sum(r.rel::DECIMAL(18, 12)) AS total, max(r.rel) AS highest
        FROM attribution_row a SEMI JOIN again USING (method, place) JOIN score_row r USING (aq)
        WHERE a.model = $model AND r.rel >= {FLOOR} GROUP BY ALL
    ),
    scanned AS MATERIALIZED (
        SELECT s.scan_no, s.method, s.place, s.role, s.query, s.key, n.position, n.layer, a.p,
            coalesce(h.total, 0) AS total, coalesce(h.highest, 0) AS highest
        FROM stored s SEMI JOIN again USING (method, place) JOIN scan_neuron_row n USING (scan_no)
        JOIN ablation_row a ON a.scan_no = s.scan_no AND a.layer_a = n.layer AND a.neuron_a = n.neuron AND a.layer_b IS NULL
        LEFT JOIN height h ON h.method = s.method AND h.place = s.place AND h.layer = n.layer AND h.neuron = n.neuron
    ),
    best AS MATERIALIZED ( -- on the main query; of several there, the scan whose neurons have the highest rel over all templates
        SELECT method, place, query, scan_no
        FROM (SELECT method, place, query, scan_no, key, sum(total) AS total FROM scanned WHERE role = 'kn' GROUP BY ALL)
        QUALIFY row_number() OVER (
            PARTITION BY method, place ORDER BY query IN (SELECT query FROM incoming) DESC, total DESC, key
        ) = 1
    ),
    control AS (
        SELECT c.scan_no, b.scan_no AS own, c.method, c.place, c.role, c.key, count(*) FILTER (c.layer = o.layer) AS level,
            count(*) FILTER (c.highest > 0) AS kept, max(c.highest) > 0.2 AS serving,
            sum(abs(c.p - o.p)::DECIMAL(18, 12)) / count(*) AS apart
        FROM scanned c JOIN best b USING (method, place, query) LEFT JOIN scanned o ON o.scan_no = b.scan_no AND o.position = c.position
        WHERE c.role <> 'kn' GROUP BY ALL
    )
    SELECT $model, scan_no, scan_no FROM best
    UNION ALL ( -- most neurons in the same layers, then fewest from the floor on, on any query
        SELECT $model, scan_no, own FROM control WHERE role = 'layer_control'
        QUALIFY row_number() OVER (PARTITION BY method, place ORDER BY level DESC, kept, key) = 1
    )
    UNION ALL ( -- none above rel 0.2, then drops most alike
        SELECT $model, scan_no, own FROM control WHERE role <> 'layer_control'
        QUALIFY row_number() OVER (PARTITION BY method, place, role ORDER BY serving, apart, key) = 1
    )
"""
