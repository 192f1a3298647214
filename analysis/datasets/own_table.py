"""Check a user's table of facts, whatever its format. Errors name the line."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import COLUMNS, count_left_out
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.store.errors import UserError

RESERVED = ("LIKN", "DKN", "all")
"""What tables call columns and rows that are of no single language."""
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\u{9f}]"
"""What a terminal obeys instead of showing it."""
OPTIONAL = ("subject_uri", "object_uri", "alternatives", "split")


def named_columns(texts: Iterable[str]) -> dict[str, str]:
    """`["subject=s"]` -> `{"subject": "s"}`. Raises UserError for what names no column of ours, or one twice."""
    found: dict[str, str] = {}
    for text in texts:
        ours, sign, theirs = text.partition("=")
        if ours not in (*COLUMNS, *OPTIONAL) or not sign or not theirs or ours in found:
            known = ", ".join((*COLUMNS, *OPTIONAL))
            raise UserError(
                f"--column {text}: write one of ours, each once, and what your table calls it, as in subject=s; ours are {known}"
            )
        found[ours] = theirs
    return found


def our_columns(columns: Collection[str], given: Mapping[str, str], place: object) -> dict[str, str]:
    """The column of a table (or key of a record) that holds each of COLUMNS and OPTIONAL that is there.

    :param given: what a person says: `{"subject": "s"}` takes `s` as the subject
    :raises UserError: for a column that is said to be there and is not
    """
    for ours, theirs in given.items():
        if theirs not in columns:
            raise UserError(
                f"{place}: --column {ours}={theirs}: there is no column {theirs!r}, but {', '.join(columns)}"
            )
    stored = {"fact_id": "fact"} if "fact_id" not in columns else {}  # what came out of a store calls it `fact`
    names = {ours: given.get(ours, stored.get(ours, ours)) for ours in (*COLUMNS, *OPTIONAL)}
    return {ours: theirs for ours, theirs in names.items() if theirs in columns}


def missing_columns(found: Collection[str], columns: Collection[str]) -> str:
    """What to say of a table that lacks some of COLUMNS; empty where it has them all."""
    missing = [column for column in COLUMNS if column not in found]
    if not missing:
        return ""
    return (
        f"column{'s' * (len(missing) > 1)} {', '.join(missing)} missing; the header needs {','.join(COLUMNS)}, it has "
        f"{','.join(columns)} (--column {missing[0]}=NAME says which one it is)"
    )


@dataclass(frozen=True)
class Source:
    """The file a table came from, to say where a row of it stands."""

    path: Path
    numbers: Callable[[], Sequence[int]]
    """Line numbers of all rows; asked for only when something is wrong."""
    unit: str = "line"

    @cached_property
    def lines(self) -> Sequence[int]:
        return self.numbers()

    def at(self, row: int) -> str:
        """`facts.csv, line 7` for the row (0-based)."""
        return f"{self.path}, {self.unit} {self.lines[row]}"


def check_table(
    table: pl.DataFrame, source: Source, langs: Sequence[str], relations: Sequence[str]
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The rows of the languages and relations asked for, sound, and a report of repeated rows left out.

    `table` has the columns COLUMNS and any of OPTIONAL, in file order. Raises UserError for an empty cell, a template
    without its slots, an id that stands for two facts and a relation that lacks one of the languages.
    """
    table = table.with_row_index("row").with_columns(pl.col(COLUMNS).str.strip_chars())
    _check_cells(table, source)
    _check_codes(table, source)
    _check_ids(table, source)
    table = table.filter(
        pl.col("lang").is_in(choose_langs(table["lang"].unique(maintain_order=True), langs)),
        pl.col("relation").is_in(choose_relations(table["relation"].unique(maintain_order=True), relations)),
    )
    _check_languages(table, source)
    repeated = pl.struct("fact_id", "lang", "template").is_first_distinct().not_()
    copies = table.filter(repeated)
    copies = copies.with_columns(place=pl.Series([source.at(row) for row in copies["row"]], dtype=pl.String))
    text = pl.format("{} → {}", "subject", "object")
    reports = [count_left_out(copies, "duplicate-row", "prompt", text)] if copies.height else []
    return table.filter(repeated.not_()).drop("row"), reports


def _check_cells(table: pl.DataFrame, source: Source) -> None:
    for column in COLUMNS:
        empty = table.filter(pl.col(column).fill_null("") == "")
        if empty.height:
            raise UserError(f"{source.at(empty['row'][0])}: {column} is empty")
    _check_characters(table, source)
    for slot, meaning in (("[X]", "the subject"), ("[Y]", "the object")):
        wrong = table.filter(pl.col("template").str.count_matches(slot, literal=True) != 1)
        if wrong.height:
            template = wrong["template"][0]
            count = "no" if slot not in template else "more than one"
            raise UserError(
                f"{source.at(wrong['row'][0])}: the template has {count} {slot} for {meaning}: {template!r}"
            )


def _check_characters(table: pl.DataFrame, source: Source) -> None:
    """Refuse control characters."""
    for column in (name for name in (*COLUMNS, *OPTIONAL) if name in table.columns):
        text = pl.col(column).list.join(" ") if table.schema[column] == pl.List(pl.String) else pl.col(column)
        control = table.filter(text.cast(pl.String).str.contains(CONTROL))
        if control.height:
            found = control.select(text).item(0, 0)
            raise UserError(
                f"{source.at(control['row'][0])}: {column} holds a control character: {found!r}; take it out"
            )


def _check_codes(table: pl.DataFrame, source: Source) -> None:
    """Refuse codes that --langs, --tau and --relations cannot name, and names of table columns."""
    for column in ("lang", "relation"):
        signs = ",=" if column == "lang" else ","
        bad = table.filter(
            pl.col(column).str.contains(f"[{signs}]") | (pl.lit(column == "lang") & pl.col(column).is_in(RESERVED))
        )
        if bad.height:
            raise UserError(
                f"{source.at(bad['row'][0])}: {column} {bad[column][0]!r} cannot be used as a code: no {' or '.join(signs)} in it"
                + (f", and not {', '.join(RESERVED)}" if column == "lang" else "")
            )


def _check_ids(table: pl.DataFrame, source: Source) -> None:
    """Refuse an id with two relations, or two subjects or objects in a language."""
    for group, column in ((["fact_id"], "relation"), (["fact_id", "lang"], "subject"), (["fact_id", "lang"], "object")):
        clash = table.filter(pl.col(column) != pl.col(column).first().over(group))
        if clash.height:
            row = clash.row(0, named=True)
            same = table.filter(*(pl.col(name) == row[name] for name in group)).row(0, named=True)
            raise UserError(
                f"{source.at(row['row'])}: fact_id {row['fact_id']!r} has the {column} {row[column]!r} here and "
                f"{same[column]!r} at {source.unit} {source.lines[same['row']]}; give every fact an id of its own "
                "(other right answers of one subject are facts of their own)"
            )


def _check_languages(table: pl.DataFrame, source: Source) -> None:
    """Refuse a relation that lacks one of the languages: they could not be compared."""
    langs = table["lang"].unique(maintain_order=True).to_list()
    for (relation,), rows in table.group_by("relation", maintain_order=True):
        missing = [lang for lang in langs if lang not in rows["lang"]]
        if missing:
            have = ", ".join(rows["lang"].unique(maintain_order=True))
            raise UserError(
                f"{source.at(rows['row'][0])}: relation {relation!r} has templates in {have} only, none in "
                f"{', '.join(missing)}; add them, or choose with --langs or --relations"
            )
