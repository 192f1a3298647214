"""Count the facts and templates of a dataset that can be used, without a model."""

import polars as pl

from knscope.analysis.datasets.languages import choose_langs
from knscope.analysis.datasets.sampling import ends_in_answer
from knscope.analysis.prompts.words import has_spaced_slot


def usability(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a relation and language of a facts frame.

    facts; paired: those with prompts in all of the languages; unpaired: the others;
    templates; decoder_templates: those with nothing after [Y]; prompts; decoder_prompts; several_answers: facts whose
    subject has other right objects; spaced_templates: those of `spaced_slots`. A relation that a language lacks
    altogether has a row of zeros.
    """
    kept = choose_langs(frame["lang"].unique(maintain_order=True), ())
    frame = frame.with_columns(
        _last=ends_in_answer(), _paired=pl.col("lang").n_unique().over("relation", "fact_id") == len(kept)
    )
    fact, template = pl.col("fact_id"), pl.col("template")
    several = pl.col("alternatives").list.len() > 0 if "alternatives" in frame.columns else pl.lit(False)
    counts = frame.group_by("relation", "lang").agg(
        facts=fact.n_unique(),
        paired=fact.filter("_paired").n_unique(),
        unpaired=fact.filter(pl.col("_paired").not_()).n_unique(),
        templates=template.n_unique(),
        decoder_templates=template.filter("_last").n_unique(),
        prompts=pl.len(),
        decoder_prompts=pl.col("_last").sum(),
        several_answers=fact.filter(several).n_unique(),
    )
    place = ["relation", "lang"]
    spaced = spaced_slots(frame).group_by(place).agg(spaced_templates=pl.len())
    counts = counts.join(spaced, on=place, how="left")
    grid = frame.select(pl.col("relation").unique().sort()).join(pl.DataFrame({"lang": kept}), how="cross")
    return grid.join(counts, on=place, how="left", maintain_order="left").with_columns(
        pl.exclude("relation", "lang").fill_null(0).cast(pl.Int64)
    )


def spaced_slots(frame: pl.DataFrame) -> pl.DataFrame:
    """Templates (relation, lang, template) with white space beside [X] or [Y] in a script written without spaces."""
    each = frame.unique(["relation", "lang", "template"], maintain_order=True)
    rows = each.select("template", "subject", "object").iter_rows()
    return each.select("relation", "lang", "template").filter(
        pl.Series([has_spaced_slot(*row) for row in rows], dtype=pl.Boolean)
    )
