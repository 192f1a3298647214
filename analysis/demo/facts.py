"""The bundled facts: countries with their capital, continent, official language and currency, in five languages."""

from pathlib import Path

import polars as pl

FACTS_CSV = Path(__file__).with_name("facts.csv")


def load_facts() -> pl.DataFrame:
    """All bundled facts, one row a prompt: fact_id, relation, lang, template, subject, object, all strings.

    A fact_id is `<relation>-<country code>`. Within a relation and language the templates come in a fixed order,
    the ones that end in [Y] first; `split` counts on that order.
    """
    return pl.read_csv(FACTS_CSV, infer_schema=False)
