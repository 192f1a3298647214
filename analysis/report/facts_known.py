"""How much of what was asked the models know: the ground every other table stands on."""

from __future__ import annotations

from knscope.analysis.prompts.words import WITHOUT_PATH
from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader

_SQL = """
    WITH usable AS (
        SELECT p.model, q.lang, count(DISTINCT q.fact) AS facts, count(*) AS queries, avg(p.known::INT) AS known_share,
            count(DISTINCT CASE WHEN p.known THEN q.fact END) AS facts_known, median(p.p) AS median_p,
            quantile_cont(p.p, 0.1) AS p_10, quantile_cont(p.p, 0.9) AS p_90, max(len(p.p_steps)) AS most_tokens,
            sum(p.n_words) AS words, sum(p.words_without_path) AS words_without_path
        FROM prediction p JOIN query q USING (query) GROUP BY p.model, q.lang
    ), unusable_rows AS (
        SELECT u.model, q.lang, count(DISTINCT u.query) AS unusable FROM unusable u JOIN query q USING (query) GROUP BY ALL
    )
    SELECT coalesce(usable.model, u.model) AS model, coalesce(usable.lang, u.lang) AS lang, coalesce(facts, 0) AS facts,
        coalesce(queries, 0) AS queries, facts_known, known_share, median_p, p_10, p_90, most_tokens, words, words_without_path,
        coalesce(unusable, 0) AS unusable
    FROM usable FULL JOIN unusable_rows u ON usable.model = u.model AND usable.lang = u.lang
    ORDER BY ALL
"""
_REASONS = """
    SELECT u.model, u.reason, count(DISTINCT u.query) AS queries, first(u.detail) AS detail
    FROM unusable u GROUP BY ALL ORDER BY ALL
"""


def build(reader: Reader) -> Table:
    """One row a model and language, over everything stored; what could not be used is in the notes, with its reason."""
    notes = (
        "known: every answer token is the model's first choice; facts_known: on at least one of its templates",
        WITHOUT_PATH,
        *unusable(reader),
    )
    return Table("facts_known", "facts known", reader.sql(_SQL), notes)


def unusable(reader: Reader) -> list[str]:
    """One line a model and reason: how many queries it cannot use, and one of them."""
    return [
        f"{row['model']}: {row['queries']:,} queries unusable ({row['reason']}), such as {row['detail']}"
        for row in reader.sql(_REASONS).iter_rows(named=True)
    ]
