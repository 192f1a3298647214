"""Published facts that each have prompts of their own: filled in, or questions, which become templates here."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from knscope.analysis.datasets.pairing import ANSWER, SUBJECT, prompts
from knscope.analysis.datasets.published import FACT, PLACE, TEMPLATE

Row = tuple[str, str, str, tuple[Any, ...], Sequence[str]]
"""Relation, language, place (one row a place), the values of FACT and the fact's templates."""


def own_prompts(rows: Iterable[Row]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Each fact on its own templates, as `pairing.prompts` gives them back.

    Each row has at least one template; one that cannot be used is reported as such, not as missing, too.
    """
    facts: list[tuple[Any, ...]] = []
    templates: list[tuple[Any, ...]] = []
    for relation, lang, place, cells, texts in rows:
        facts.append((relation, lang, place, *cells))
        if cells[0] is not None and cells[-1] is None:
            templates += [(relation, lang, place, text, None) for text in dict.fromkeys(texts)]
    found, left_out = prompts(
        pl.DataFrame(facts, schema=PLACE | FACT, orient="row"),
        pl.DataFrame(templates, schema=PLACE | TEMPLATE, orient="row"),
        on=("relation", "lang", "place"),
    )
    return found, [one.filter(pl.col("reason") != "no-template") for one in left_out]


def with_subject_slot(text: str, subject: str) -> str:
    """A filled-in text with [X] for its subject: for whole words where it stands as such, else wherever it stands."""
    if not subject:
        return text
    whole = re.sub(rf"(?<!\w){re.escape(subject)}(?!\w)", lambda _: SUBJECT, text)
    return whole if SUBJECT in whole else text.replace(subject, SUBJECT)


def question(text: str, subject: str) -> str:
    """A question as a template that ends in its answer: `Q: Who wrote [X]? A: [Y]`."""
    return f"Q: {with_subject_slot(text, subject)} A: {ANSWER}"


def slug(text: str) -> str:
    """The words of a phrase, or of a template without its slots, as a code that options can name:
    `The capital of [X] is [Y]` -> `the-capital-of-is`."""
    return "-".join(re.findall(r"\w+", text.replace(SUBJECT, " ").replace(ANSWER, " ").lower()))
