"""Sample facts and templates: seeded, balanced over relations, the same facts in every language."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.store.errors import UserError

AFTER_ANSWER = r"(?s)^.*\[Y\]"


def ends_in_answer() -> pl.Expr:
    """Whether a decoder can use the `template`: nothing but punctuation and space stands after [Y]."""
    return pl.col("template").str.replace(AFTER_ANSWER, "").str.contains(r"[^\p{P}\p{Z}\s]").not_()


def sample(
    frame: pl.DataFrame,
    *,
    facts: int | None = None,
    seed: int = 0,
    relations: Sequence[str] = (),
    langs: Sequence[str] = (),
    templates: str | int = "all",
) -> pl.DataFrame:
    """Rows of a facts frame, in its order.

    `facts` are drawn with `seed` from those present in every chosen language, in equal numbers from each relation as
    far as it has them; a larger number contains the smaller one's. None keeps all, also those without a pair.
    `templates` is `all`, `best` (one a relation and language) or a number of them, best first (`rank_templates`).
    Raises UserError for a language or relation that is not there, or if there is no fact to draw.
    """
    kept_langs = choose_langs(frame["lang"].unique(maintain_order=True), langs)
    kept_relations = choose_relations(frame["relation"].unique(maintain_order=True), relations)
    frame = frame.filter(pl.col("lang").is_in(kept_langs), pl.col("relation").is_in(kept_relations))
    frame = _limit_templates(frame, templates)
    if facts is None:
        return frame
    if facts < 1:
        raise UserError(f"the number of facts must be at least 1, not {facts}")
    paired = (
        frame.group_by("relation", "fact_id")
        .agg(pl.col("lang").n_unique())
        .filter(pl.col("lang") == len(kept_langs))
        .select("relation", "fact_id")
    )
    if paired.is_empty():
        raise UserError(f"no fact has prompts in all of {', '.join(kept_langs)}; choose other --langs or --relations")
    chosen = draw_balanced(paired.iter_rows(), facts, seed)
    return frame.filter(pl.col("fact_id").is_in(chosen))


def draw_balanced(facts: Iterable[tuple[str, str]], count: int, seed: int) -> list[str]:
    """`count` fact_ids of (relation, fact_id) pairs, taken in turn from each relation's shuffled list."""
    rng = random.Random(seed)
    # Sorting by draws instead of shuffling: only random() itself is promised to stay the same over Python versions.
    shuffled = [pair for _, pair in sorted((rng.random(), pair) for pair in sorted(facts))]
    taken: Counter[str] = Counter()
    turns = []
    for relation, fact in shuffled:
        turns.append((taken[relation], relation, fact))
        taken[relation] += 1
    return [fact for _, _, fact in sorted(turns)[:count]]


def rank_templates(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns relation, lang, template, rank (from 0, within relation and language), best first.

    The best template ends in [Y], as any model can use it; among equals it is the one with more facts, then the earlier.
    """
    keys = ["relation", "lang", "template"]
    ranked = frame.group_by(keys, maintain_order=True).agg(facts=pl.len()).with_columns(last=ends_in_answer())
    order = ranked.sort("last", "facts", descending=True, maintain_order=True)
    return order.select(*keys, rank=pl.int_range(pl.len()).over("relation", "lang")).sort(
        "relation", "lang", "rank", maintain_order=True
    )


def _limit_templates(frame: pl.DataFrame, templates: str | int) -> pl.DataFrame:
    if templates == "all":
        return frame
    text = "1" if templates == "best" else str(templates)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"templates must be best, all or a number from 1, not {templates!r}")
    best = rank_templates(frame).filter(pl.col("rank") < int(text))
    return frame.join(best, on=["relation", "lang", "template"], how="semi", maintain_order="left")
