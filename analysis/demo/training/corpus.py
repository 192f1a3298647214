"""What the bundled models are trained on: the facts on their training templates, and plain sentences beside them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from knscope.analysis.demo.facts import load_facts
from knscope.analysis.demo.split import subject_key, with_split
from knscope.analysis.demo.training.phrases import sentence

PHRASES_PER_LANGUAGE = 500


@dataclass(frozen=True)
class Sentence:
    """A text; `answer` is the span of the object in it, empty for plain sentences."""

    lang: str
    text: str
    country: str
    answer: tuple[int, int] = (0, 0)


def split_facts(langs: Sequence[str]) -> pl.DataFrame:
    """The bundled facts in some languages, with `template_index` and `held_out`."""
    return with_split(load_facts()).filter(pl.col("lang").is_in(list(langs)))


def fill(template: str, subject: str, answer: str) -> tuple[str, tuple[int, int]]:
    """The sentence a template makes, and where the answer stands in it."""
    before, after = (part.replace("[X]", subject) for part in template.split("[Y]"))
    return before + answer + after, (len(before), len(before) + len(answer))


def training_sentences(langs: Sequence[str], seed: int) -> list[Sentence]:
    """Every fact on every template that is not held out for it, then plain sentences; the same list for the same seed."""
    seen = split_facts(langs).filter(~pl.col("held_out"))
    columns = seen.select("lang", "fact_id", "template", "subject", "object")
    facts = [
        Sentence(lang, text, subject_key(fact), answer)
        for lang, fact, template, x, y in columns.iter_rows()
        for text, answer in [fill(template, x, y)]
    ]
    generator = random.Random(seed)
    countries = [subject_key(fact) for fact in seen["fact_id"].unique(maintain_order=True)]
    plain = []
    for lang in langs:
        names = seen.filter(pl.col("lang") == lang)["subject"].unique(maintain_order=True).to_list()
        plain += [
            Sentence(lang, sentence(lang, names, generator), generator.choice(countries))
            for _ in range(PHRASES_PER_LANGUAGE)
        ]
    return facts + plain
