"""Which (template, country) pairs the bundled models never see in training, and the sample the demo analyses.

Countries fall into three folds. Of the six templates of a relation and language that end in [Y], the fold k is
held out of the templates 2k and 2k+1; the seventh, with text after [Y], holds out fold 0. So every country is
learned from other templates and asked about in ones whose answer for it was never shown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from knscope.analysis.datasets.sampling import draw_balanced
from knscope.analysis.demo.facts import load_facts

FOLDS = 3
PROMPT_TEMPLATES = 6
"""Templates of a relation and language that end in [Y]; they come first."""

# A linear map modulo a prime, written out: the folds must be the same on every machine and Python version. The
# prime exceeds every pair of letters, so no two countries collide before the reduction to three.
_MULTIPLIER, _OFFSET, _PRIME = 9_973, 29, 65_537


def subject_key(fact_id: str) -> str:
    """The country code in a fact_id: `P36-TZ` gives `TZ`."""
    return fact_id.rsplit("-", 1)[-1]


def fold(key: str) -> int:
    """The fold of a country, 0, 1 or 2. The same for all relations, languages and templates."""
    return (int.from_bytes(key.encode()) * _MULTIPLIER + _OFFSET) % _PRIME % FOLDS


def with_split(facts: pl.DataFrame) -> pl.DataFrame:
    """Add `template_index` (0-based place of the template in its relation and language) and boolean `held_out`.

    `facts` is any selection of rows of the bundled facts, in any order.
    """
    templates = (
        load_facts()
        .select("relation", "lang", "template")
        .unique(maintain_order=True)
        .with_columns(template_index=pl.int_range(pl.len()).over("relation", "lang"))
    )
    folds = {fact: fold(subject_key(fact)) for fact in facts["fact_id"].unique()}
    held_fold = pl.when(pl.col("template_index") < PROMPT_TEMPLATES).then(pl.col("template_index") // 2).otherwise(0)
    return facts.join(templates, on=["relation", "lang", "template"], how="left", maintain_order="left").with_columns(
        held_out=pl.col("fact_id").replace_strict(folds, return_dtype=pl.Int64) == held_fold
    )


def demo_sample(facts: int | None = 60, seed: int = 0) -> pl.DataFrame:
    """Facts for the demo, each on its two held-out templates that end in [Y], in all languages.

    `facts` of them, as evenly over the relations as the number allows and the same in every language, are drawn
    from fold 0, so that their held-out templates coincide; None gives all facts of all folds. Of every three facts drawn
    of a relation the first two have the same answer while there are such facts: control (c) of shared neurons needs
    them. Columns and row order of `load_facts`.
    """
    asked = with_split(load_facts()).filter("held_out", pl.col("template_index") < PROMPT_TEMPLATES)
    if facts is not None:
        asked = asked.filter(pl.col("fact_id").is_in(_drawn(asked, facts, seed)))
    return asked.drop("template_index", "held_out")


def _drawn(asked: pl.DataFrame, count: int, seed: int) -> list[str]:
    """`count` facts of fold 0, the relations taking turns."""
    answers = asked.sort("lang").group_by("relation", "fact_id").agg(pl.col("object"))
    answer = {fact: (relation, *objects) for relation, fact, objects in answers.iter_rows() if _in_sample(fact)}
    shuffled = draw_balanced(((relation, fact) for fact, (relation, *_) in answer.items()), len(answer), seed)
    relations = dict.fromkeys(answer[fact][0] for fact in shuffled)
    ordered = [_in_threes([f for f in shuffled if answer[f][0] == relation], answer) for relation in relations]
    turns = sorted((turn, place, f) for place, facts in enumerate(ordered) for turn, f in enumerate(facts))
    return [fact for *_, fact in turns[:count]]


def _in_sample(fact_id: str) -> bool:
    return fold(subject_key(fact_id)) == 0


def _in_threes(facts: Sequence[str], answer: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The facts in turns of three: two that have the same answer, while there are such two, and the next one in line."""
    left = list(facts)
    found: list[str] = []
    while left:
        answers = Counter(answer[fact] for fact in left)
        shared = next((answer[fact] for fact in left if answers[answer[fact]] > 1), None)
        turn = [fact for fact in left if answer[fact] == shared][:2]
        turn += [fact for fact in left if fact not in turn][:1]
        found += turn
        left = [fact for fact in left if fact not in turn]
    return found
