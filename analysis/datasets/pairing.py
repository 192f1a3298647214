"""From published tuples and templates to prompts: languages paired by line id and checked by URI."""

from collections.abc import Callable, Sequence

import polars as pl

from knscope.analysis.datasets.dataset import count_left_out
from knscope.analysis.datasets.own_table import CONTROL

SUBJECT, ANSWER = "[X]", "[Y]"


def prompts(
    tuples: pl.DataFrame, templates: pl.DataFrame, on: Sequence[str] = ("relation", "lang")
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Every usable fact on every usable template of its relation and language (or of what else the two have in common, `on`).

    `tuples` and `templates` have the columns of `read_facts` and `read_templates`. The fact_id is
    `<relation>-<lineid>`; a row whose URIs differ from those most languages have under that id is another fact and
    left out. Returns the prompts and the reports of what was left out and why.
    """
    facts, left_out = _usable_facts(tuples)
    good, bad = _usable_templates(templates, on)
    with_template = good.select(on).unique()
    silent = facts.join(with_template, on=on, how="anti")
    left_out += bad
    if silent.height:
        left_out.append(count_left_out(silent, "no-template", "fact", _fact_text()))
    rows = facts.join(good.select(*on, "template"), on=on, maintain_order="left_right").select(
        pl.format("{}-{}", "relation", "lineid").alias("fact_id"),
        *("relation", "lang", "template", "subject", "object", "subject_uri", "object_uri", "alternatives"),
    )
    return rows, left_out


def _fact_text() -> pl.Expr:
    return pl.format("{} → {}", pl.col("subject").fill_null("?"), pl.col("object").fill_null("?"))


def _usable_facts(tuples: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    tuples = tuples.with_columns(pl.col("subject", "object").str.strip_chars())
    uris = pl.concat_str("subject_uri", "object_uri", separator=" ")
    # The pair of URIs most languages have; of several equally frequent ones the smallest, on every machine.
    agreed = uris.drop_nulls().mode().min().over("relation", "lineid")
    same_fact = ["relation", "lang", "subject", "object", "subject_uri", "object_uri"]
    checks: dict[str, pl.Expr] = {
        "not-text": pl.col("not_text").is_not_null(),
        "no-line-id": pl.col("lineid").is_null(),
        "empty-subject": pl.col("subject").fill_null("") == "",
        "empty-answer": pl.col("object").fill_null("") == "",
        "control-character": pl.concat_str("subject", "object", pl.col("alternatives").list.join("")).str.contains(
            CONTROL
        ),
        "duplicate-id": pl.struct("relation", "lang", "lineid").is_first_distinct().not_(),
        "duplicate-fact": pl.struct(same_fact).is_first_distinct().not_(),
        "uri-mismatch": uris.is_not_null() & (uris != agreed),
    }
    return _sift(tuples, checks, "fact", _fact_text)


def _usable_templates(templates: pl.DataFrame, on: Sequence[str]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    templates = templates.with_columns(pl.col("template").str.strip_chars().fill_null(""))
    subjects = pl.col("template").str.count_matches(SUBJECT, literal=True)
    answers = pl.col("template").str.count_matches(ANSWER, literal=True)
    checks: dict[str, pl.Expr] = {
        "not-text": pl.col("not_text").is_not_null(),
        "no-subject-slot": subjects == 0,
        "no-answer-slot": answers == 0,
        "control-character": pl.col("template").str.contains(CONTROL),
        "repeated-slot": (subjects > 1) | (answers > 1),
        "duplicate-template": pl.struct(*on, "template").is_first_distinct().not_(),
    }
    return _sift(templates, checks, "template", lambda: pl.col("template"))


def _sift(
    rows: pl.DataFrame, checks: dict[str, pl.Expr], item: str, text: Callable[[], pl.Expr]
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Take out, check after check, the rows that fail it, and report them."""
    reports = []
    for reason, fails in checks.items():
        marked = rows.with_columns(_fails=fails.fill_null(False))
        failing = marked.filter("_fails")
        if failing.height:
            reports.append(count_left_out(failing, reason, item, pl.coalesce("not_text", text())))
            rows = marked.filter(pl.col("_fails").not_()).drop("_fails")
    return rows, reports
