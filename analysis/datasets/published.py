"""Files of published datasets, read line by line: facts and templates as text, and what in them is no text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.datasets.files import check_file, is_text, json_lines, shown, texts
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.store.errors import UserError

Files = Mapping[tuple[str, str], Path]
"""(lang, relation) → file."""
Record = Mapping[str, Any]

_PLACE: dict[str, Any] = {"relation": pl.String, "lang": pl.String, "file": pl.String, "line": pl.Int64}
_FACT: dict[str, Any] = {
    "lineid": pl.String,
    "subject": pl.String,
    "object": pl.String,
    "subject_uri": pl.String,
    "object_uri": pl.String,
    "alternatives": pl.List(pl.String),
    "not_text": pl.String,
}
_TEMPLATE: dict[str, Any] = {"template": pl.String, "not_text": pl.String}


def relation_files(folder: Path, langs: Sequence[str], relations: Sequence[str]) -> dict[tuple[str, str], Path]:
    """The files of a folder with one folder a language and one file a relation in it.

    Raises UserError when there are none, or none of those asked for.
    """
    found = {(path.parent.name, path.stem): path for path in sorted(folder.glob("*/*.jsonl"))}
    found = {key: path for key, path in found.items() if key[1] != "templates"}
    if not found:
        raise UserError(f"{folder}: no <language>/<relation>.jsonl there")
    chosen_langs = choose_langs((lang for lang, _ in found), langs)
    chosen_relations = choose_relations((relation for _, relation in found), relations)
    return {
        (lang, relation): found[lang, relation]
        for lang in chosen_langs
        for relation in chosen_relations
        if (lang, relation) in found
    }


def read_facts(files: Files) -> pl.DataFrame:
    """One row a line: relation, lang, file (name as in its dataset), line (from 1), then the fact.

    `lineid` is the line id, or the `uuid` of a line without one. Of several right answers the first is the object, the
    others are `alternatives`. `not_text` names the first field that should be text and is not, with its value; the
    fact's own columns are null there.
    """
    return _read(files, lambda record, relation: (relation, *_fact(record)), _FACT)


def read_templates(files: Files, field: str) -> pl.DataFrame:
    """One row a line: relation, lang, file, line, template (the text in `field`) and `not_text`, as of `read_facts`.

    In a file of several relations (its key has none) each line names its own; one that names none has the relation "".
    """

    def template(record: Record, relation: str) -> tuple[Any, ...]:
        wrong = _no_text(record, [field])
        if not relation and not is_text(relation := record.get("relation", "")):
            relation, wrong = "", shown(record, "relation")
        return relation, None if wrong else record.get(field), wrong

    return _read(files, template, _TEMPLATE)


def _read(files: Files, row: Callable[[Record, str], tuple[Any, ...]], columns: dict[str, Any]) -> pl.DataFrame:
    """`row` makes of a record and the relation of its file the row's relation and the values of `columns`."""
    rows = []
    for (lang, file_relation), path in files.items():
        check_file(path)
        file = f"{path.parent.name}/{path.name}"
        for line, record in json_lines(path):
            relation, *values = row(record, file_relation)
            rows.append((relation, lang, file, line, *values))
    return pl.DataFrame(rows, schema=_PLACE | columns, orient="row")


def _fact(record: Record) -> tuple[Any, ...]:
    answers, uris = texts(record.get("obj_label")), texts(record.get("obj_uri"))
    wrong = _no_text(record, ("sub_label", "sub_uri"))
    if answers is None:
        wrong = wrong or shown(record, "obj_label")
    if uris is None or (isinstance(record.get("obj_uri"), list) and len(uris) != len(answers or ())):
        wrong = wrong or shown(record, "obj_uri")
    lineid = record.get("lineid", record.get("uuid"))
    if not (lineid is None or is_text(lineid) or type(lineid) is int):
        wrong = wrong or shown(record, "lineid" if "lineid" in record else "uuid")
    if wrong or answers is None or uris is None:
        return (None,) * (len(_FACT) - 1) + (wrong,)
    first = [some[0] if some else None for some in (answers, uris)]
    number = None if lineid is None else str(lineid)
    return number, record.get("sub_label"), first[0], record.get("sub_uri"), first[1], answers[1:], None


def _no_text(record: Record, fields: Sequence[str]) -> str | None:
    """The first of the fields that holds something other than text, with what it holds."""
    for field in fields:
        value = record.get(field)
        if value is not None and not is_text(value):
            return shown(record, field)
    return None
