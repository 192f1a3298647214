"""Read facts and templates of published datasets line by line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from knscope.analysis.datasets.files import check_file, is_text, json_lines, shown, texts
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.store.errors import UserError

Files = Mapping[tuple[str, str], Path]
"""(lang, relation) → file."""
Record = dict[str, Any]


class Fields(NamedTuple):
    """What a published layout calls the parts of a fact; one that it lacks is "" here."""

    subject: str
    object: str
    subject_uri: str = ""
    object_uri: str = ""
    number: str = ""
    others: str = ""
    """Further right answers."""


LAMA = Fields("sub_label", "obj_label", "sub_uri", "obj_uri", "lineid")

PLACE: dict[str, Any] = {"relation": pl.String, "lang": pl.String, "place": pl.String}
FACT: dict[str, Any] = {
    "lineid": pl.String, "subject": pl.String, "object": pl.String, "subject_uri": pl.String, "object_uri": pl.String,
    "alternatives": pl.List(pl.String), "not_text": pl.String,
}  # fmt: skip
NO_CELLS = (None,) * (len(FACT) - 1)
"""The values of a fact of which nothing can be read; what is wrong with it follows."""
TEMPLATE: dict[str, Any] = {"template": pl.String, "not_text": pl.String}


def relation_files(
    folder: Path,
    langs: Sequence[str],
    relations: Sequence[str],
    relation_of: Callable[[str], str] = str,
    suffix: str = ".jsonl",
) -> dict[tuple[str, str], Path]:
    """The files of a folder with one folder a language and one file a relation in it, by language and name of the file.

    `relation_of` makes of that name the relation that a person asks for. Raises UserError when there are none, or none of
    those asked for.
    """
    found = {(path.parent.name, path.stem): path for path in sorted(folder.glob(f"*/*{suffix}"))}
    found = {key: path for key, path in found.items() if key[1] != "templates"}
    if not found:
        raise UserError(f"{folder}: no <language>/<relation>{suffix} there")
    chosen_langs = choose_langs((lang for lang, _ in found), langs)
    chosen_relations = choose_relations((relation_of(name) for _, name in found), relations)
    order = {code: place for codes in (chosen_langs, chosen_relations) for place, code in enumerate(codes)}
    kept = [key for key in found if key[0] in chosen_langs and relation_of(key[1]) in chosen_relations]
    return {key: found[key] for key in sorted(kept, key=lambda key: (order[key[0]], order[relation_of(key[1])]))}


def read_facts(files: Files, by_line: bool = False) -> pl.DataFrame:
    """One row a line: relation, lang, place (file as in its dataset, and line, from 1), then the fact.

    `lineid` is the line id, or the `uuid` of a line without one; `by_line`: the number of the line, from 0. Of several
    right answers the first is the object, the others are `alternatives`. `not_text` names the first field that should be
    text and is not, with its value; the fact's own columns are null there.
    """

    def fact(record: Record, relation: str, line: int) -> tuple[Any, ...]:
        return relation, *fact_cells(record | {"lineid": line - 1} if by_line else record)

    return _read(files, fact, FACT)


def read_templates(files: Files, field: str) -> pl.DataFrame:
    """One row a line: relation, lang, place, template (the text in `field`) and `not_text`, as of `read_facts`.

    In a file of several relations (its key has none) each line names its own; one that names none has the relation "".
    """

    def template(record: Record, relation: str, _line: int) -> tuple[Any, ...]:
        wrong = no_text(record, [field])
        if not relation and not is_text(relation := record.get("relation", "")):
            relation, wrong = "", shown(record, "relation")
        return relation, None if wrong else record.get(field), wrong

    return _read(files, template, TEMPLATE)


def _read(files: Files, row: Callable[[Record, str, int], tuple[Any, ...]], columns: dict[str, Any]) -> pl.DataFrame:
    """`row` makes of a record, the relation of its file and its line the row's relation and the values of `columns`."""
    rows = []
    for (lang, file_relation), path in files.items():
        check_file(path)
        file = f"{path.parent.name}/{path.name}"
        for line, record in json_lines(path):
            relation, *values = row(record, file_relation, line)
            rows.append((relation, lang, f"{file}, line {line}", *values))
    return pl.DataFrame(rows, schema=PLACE | columns, orient="row")


def fact_cells(record: Record, fields: Fields = LAMA) -> tuple[Any, ...]:
    """The values of FACT that a record holds, its answers in `object` and `others` each a text or a list of texts."""
    answers, uris = texts(record.get(fields.object)), texts(record.get(fields.object_uri))
    others = texts(record.get(fields.others))
    wrong = no_text(record, (fields.subject, fields.subject_uri))
    if answers is None:
        wrong = wrong or shown(record, fields.object)
    if uris is None or (isinstance(record.get(fields.object_uri), list) and len(uris) != len(answers or ())):
        wrong = wrong or shown(record, fields.object_uri)
    if others is None:
        wrong = wrong or shown(record, fields.others)
    number = fields.number if fields.number in record else "uuid"
    lineid = record.get(number)
    if not (lineid is None or is_text(lineid) or type(lineid) is int):
        wrong = wrong or shown(record, number)
    if wrong or answers is None or uris is None or others is None:
        return *NO_CELLS, wrong
    first = [some[0] if some else None for some in (answers, uris)]
    lineid = None if lineid is None else str(lineid)
    alternatives = [*answers[1:], *others]
    return lineid, record.get(fields.subject), first[0], record.get(fields.subject_uri), first[1], alternatives, None


def no_text(record: Record, fields: Sequence[str]) -> str | None:
    """The first of the fields that holds something other than text, with what it holds."""
    for field in fields:
        value = record.get(field)
        if value is not None and not is_text(value):
            return shown(record, field)
    return None
