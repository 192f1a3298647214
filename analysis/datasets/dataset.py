"""The result of every loader: one frame of prompts, and a report of the rows that were left out."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.files import opened
from knscope.store.errors import UserError

COLUMNS = ("fact_id", "relation", "lang", "template", "subject", "object")
"""The facts frame, one row a prompt, all strings. [X] in the template is the subject's place, [Y] the object's."""

REPORT = {
    "relation": pl.String, "lang": pl.String, "reason": pl.String, "item": pl.String, "count": pl.Int64,
    "example": pl.String,
}  # fmt: skip
"""Rows left out of a frame, counted by reason: `item` is what was left out (fact or template), `example` the first
of them with its file and line."""


@dataclass(frozen=True)
class Dataset:
    """Facts as prompts for a model.

    `frame` has the columns COLUMNS, then `subject_uri` and `object_uri` (null where the source has none),
    `alternatives` (list of strings: the subject's other right objects in that language) and, where the source has
    it, `split`. `report` counts what was left out, with the columns REPORT. `hash` is that of the files read,
    wherever they lie.
    """

    name: str
    frame: pl.DataFrame
    report: pl.DataFrame
    hash: str

    @property
    def langs(self) -> tuple[str, ...]:
        return tuple(self.frame["lang"].unique(maintain_order=True))

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(self.frame["relation"].unique(maintain_order=True))


def make_dataset(name: str, frame: pl.DataFrame, left_out: Sequence[pl.DataFrame], files: Iterable[Path]) -> Dataset:
    """Build a Dataset: collect the right answers, join the reports, hash the files.

    Raises UserError if no prompt is left.
    """
    report = pl.concat([pl.DataFrame(schema=REPORT), *left_out])
    if frame.is_empty():
        reasons = "; ".join(f"{reason}: {example}" for reason, example in report.select("reason", "example").rows())
        raise UserError(f"{name}: no fact can be used ({reasons or 'there is none'})")
    return Dataset(name, with_alternatives(frame), report, hash_files(files))


def count_left_out(rows: pl.DataFrame, reason: str, item: str, text: pl.Expr) -> pl.DataFrame:
    """Count rows that are left out (columns relation, lang, place) in the shape of REPORT.

    `text` is what to show of such a row.
    """
    return (
        rows.group_by("relation", "lang", maintain_order=True)
        .agg(count=pl.len().cast(pl.Int64), example=pl.format("{}: {}", "place", text.fill_null("")).first())
        .select("relation", "lang", pl.lit(reason).alias("reason"), pl.lit(item).alias("item"), "count", "example")
    )


def with_alternatives(frame: pl.DataFrame) -> pl.DataFrame:
    """Add or extend `alternatives`: what else is right for the same relation and subject, in the row's language.

    Subjects are the same when their URIs are, in any language, or their names within one; an object known only from
    another language's row counts under the name it has in this one. So a wrong fact drawn outside of object and
    alternatives is wrong.
    """
    frame = _with_optional_columns(frame)
    fact = ["relation", "lang", "subject", "object"]
    facts = frame.select(*fact, "subject_uri", "object_uri").unique()
    given = frame.select(*fact[:3], answer="alternatives").filter(pl.col("answer").list.len() > 0).unique()
    answers = pl.concat(
        [_right_answers(facts), given.explode("answer").with_columns(pl.col("answer").str.strip_chars())]
    )
    several = answers.unique().filter(pl.col("answer") != "", pl.len().over(fact[:3]) > 1)
    others = (
        facts.select(fact)
        .unique()
        .join(several, on=fact[:3])
        .filter(pl.col("answer") != pl.col("object"))
        .group_by(fact)
        .agg(alternatives=pl.col("answer").sort())
    )
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return (
        frame.drop("alternatives")
        .join(others, on=fact, how="left", maintain_order="left")
        .with_columns(pl.col("alternatives").fill_null(nothing))
        .select(frame.columns)
    )


def _right_answers(facts: pl.DataFrame) -> pl.DataFrame:
    """Right answers (relation, lang, subject, answer) by name, and by URI those that only another language's row has."""
    linked = facts.drop_nulls(["subject_uri", "object_uri"])
    pairs = linked.select("relation", "subject_uri", "object_uri").unique()
    several = pairs.filter(pl.len().over("relation", "subject_uri") > 1)
    names = linked.select("lang", "object_uri", answer="object").unique()
    by_uri = (
        linked.select("relation", "lang", "subject", "subject_uri")
        .unique()
        .join(several, on=["relation", "subject_uri"])
        .join(names, on=["lang", "object_uri"])
        .select("relation", "lang", "subject", "answer")
    )
    return pl.concat([facts.select("relation", "lang", "subject", answer="object"), by_uri])


def _with_optional_columns(frame: pl.DataFrame) -> pl.DataFrame:
    optional: dict[str, pl.DataType] = {
        "subject_uri": pl.String(),
        "object_uri": pl.String(),
        "alternatives": pl.List(pl.String),
    }
    frame = frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in optional.items() if name not in frame.columns
    )
    split = ["split"] if "split" in frame.columns else []
    return frame.select(*COLUMNS, *optional, *split)


def hash_files(files: Iterable[Path]) -> str:
    """sha256 over bytes of the files (those packed in a `.gz`), and names where there are several, in order of name: the same
    wherever the dataset lies."""
    digest = hashlib.sha256()
    ordered = sorted(files)
    for path in ordered:
        with opened(path) as stream:
            if len(ordered) > 1:
                digest.update(f"{path.parent.name}/{path.name}\0".encode())
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
