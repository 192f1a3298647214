"""Published datasets that are one file of records: what such a record is, and from its records to a dataset."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import is_text
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.own_prompts import Row, own_prompts
from knscope.analysis.datasets.published import NO_CELLS, Fields, Record, fact_cells
from knscope.analysis.datasets.records import read_records
from knscope.store.errors import UserError

LANG = "en"


@dataclass(frozen=True)
class Asked:
    """One record: its relation, its fact's parts under the names of `fields`, and the templates that it is asked with."""

    relation: str
    fact: Record
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What the records of a published dataset hold (English all of them); `keys` are those that each record has."""

    keys: frozenset[str]
    fields: Fields
    ask: Callable[[Record], Asked]
    """Takes any JSON object with these keys, whatever they hold; says `relation` "" where the record names none."""


def of_record(keys: Collection[str], layouts: Sequence[Layout]) -> Layout | None:
    """The layout that a record with these keys has."""
    return next((layout for layout in layouts if layout.keys <= set(keys)), None)


def load_records(
    name: str, paths: Sequence[Path], layouts: Sequence[Layout], langs: Sequence[str], relations: Sequence[str]
) -> Dataset:
    """The records of files that have one of the layouts; a record without a number of its own is counted, over all files.

    Raises UserError for a file in another layout, and where the languages and relations asked for are not there.
    """
    choose_langs([LANG], langs)
    several = len(paths) > 1
    rows = [
        row
        for path in paths
        for row in _read(path, f"{path.parent.name}/{path.name}" if several else path.name, layouts)
    ]
    rows = [row if row[3][0] is not None else _numbered(row, place) for place, row in enumerate(rows)]
    wanted = choose_relations((row[0] for row in rows if row[0]), relations)
    prompts, left_out = own_prompts(row for row in rows if not row[0] or row[0] in wanted)
    return make_dataset(name, prompts, left_out, paths)


def _read(path: Path, file: str, layouts: Sequence[Layout]) -> list[Row]:
    unit, records = read_records(path)
    rows: list[Row] = []
    layout = None
    for number, record in records:
        place = f"{file}, {unit} {number}"
        layout = layout or of_record(record, layouts)
        if layout is None:
            needed = " or ".join(", ".join(sorted(one.keys)) for one in layouts)
            raise UserError(f"{path}, {unit} {number}: {needed} needed, there is {', '.join(record)}")
        if lacking := sorted(layout.keys - set(record)):
            rows.append(("", LANG, place, (*NO_CELLS, f"{lacking[0]} is missing"), ()))
            continue
        asked = layout.ask(record)
        cells = fact_cells(asked.fact, layout.fields)
        named = asked.relation.isprintable() and "," not in asked.relation  # what options and tables can write
        relation = asked.relation if named else ""
        if cells[-1] is None and not relation:
            cells = (*cells[:-1], "it names no relation")
        rows.append((relation, LANG, place, cells, asked.templates))
    return rows


def _numbered(row: Row, place: int) -> Row:
    relation, lang, where, cells, templates = row
    return relation, lang, where, (str(place), *cells[1:]), templates


def inner(record: Any, *path: str) -> Any:
    """What lies in objects in objects; None where one of them is no object or lacks the key."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def text(value: Any) -> str:
    """A value that is text, else "": what should be text and is none is reported with the fact it belongs to."""
    return value if is_text(value) else ""
