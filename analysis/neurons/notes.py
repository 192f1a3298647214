"""What a person writes about neurons: a name, tags and a note. A tag is a list: all neurons that carry it.

Notes are rows of the store like all others, so they travel with it. They lie beside the runs, in a folder of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from knscope.analysis.api.neuron_set import PICKLES, NeuronSet
from knscope.analysis.statistics.table import Table
from knscope.store.errors import UserError
from knscope.store.layout import expanded
from knscope.store.reader import Reader
from knscope.store.shards import write_shard
from knscope.store.view import sql_literal

FOLDER = "notes"
"""In the place of a run: it has no run.json, so nobody takes it for one."""
LONGEST = 10_000
"""Characters of a name, of all tags, or of a note."""


@dataclass(frozen=True)
class Note:
    """All of it empty takes a note back."""

    name: str = ""
    tags: tuple[str, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        if max(len(self.name), len(" ".join(self.tags)), len(self.text)) > LONGEST:
            raise UserError(f"a note may have {LONGEST:,} characters; keep longer texts in a file")


def tags_of(text: str) -> tuple[str, ...]:
    """Tags as typed: separated by commas, each once."""
    return tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))


def write(store: Path, model: str, layer: int, neuron: int, note: Note) -> None:
    """Keep a note of one neuron in the place of what was written before.

    :raises UserError: the store cannot be written
    """
    row = {"model": model, "layer": layer, "neuron": neuron, "name": note.name.strip(), "tags": list(note.tags)}
    frame = pl.DataFrame([{**row, "text": note.text.strip(), "written": time.time()}])
    write_shard(store, FOLDER, {"note": frame.with_columns(pl.col("tags").cast(pl.List(pl.String)))})


def read(reader: Reader, model: str, layer: int, neuron: int) -> Note:
    """The note of one neuron; an empty one where there is none."""
    rows = reader.sql(f"SELECT name, tags, text FROM ({latest_sql(model)}) WHERE layer = {layer} AND neuron = {neuron}")
    for name, tags, text in rows.iter_rows():
        return Note(name, tuple(tags), text)
    return Note()


def latest_sql(model: str) -> str:
    """SQL: layer, neuron, name, tags, text of every neuron of a model that has a note."""
    return (
        f"SELECT layer, neuron, name, tags, text FROM (FROM note WHERE model = {sql_literal(model)} QUALIFY "
        "row_number() OVER (PARTITION BY layer, neuron ORDER BY written DESC) = 1) "
        "WHERE name <> '' OR text <> '' OR len(tags) > 0"
    )


def lists(reader: Reader, model: str) -> dict[str, int]:
    """The lists of a model, that is its tags, with how many neurons each holds."""
    sql = f"SELECT unnest(tags) AS tag, count(*) AS n FROM ({latest_sql(model)}) GROUP BY tag ORDER BY tag"
    return dict(reader.sql(sql).iter_rows())


def names_file(text: Path | str) -> bool:
    """Whether a set is named by its file, and not as a list."""
    place = expanded(text)
    return place.suffix in (".json", ".safetensors", *PICKLES) or place.exists()


def set_of(reader: Reader, model: str, text: str) -> NeuronSet:
    """The neurons of a list, or of a file of neurons, that `text` names.

    :raises UserError: neither of them, a file that holds no set, or one of another model
    """
    known = lists(reader, model)
    if text not in known and not names_file(text):
        there = (
            f"the lists of {model} are {', '.join(known)}" if known else f"{model} has no list yet: tag neurons with w"
        )
        raise UserError(f"{text!r} is no list of neurons, and no file .json or .safetensors; {there}")
    if text not in known:
        found = NeuronSet.load(text)
        found.flat(reader.addresses(model), model)
        return found
    rows = reader.sql(
        f"SELECT layer, neuron FROM ({latest_sql(model)}) WHERE list_contains(tags, $tag) ORDER BY layer, neuron",
        {"tag": text},
    )
    return NeuronSet.of(rows.rows(), model, name=text)


def notes(reader: Reader, model: str, words: Iterable[str] = ()) -> Table:
    """Every note of a model, those that hold all the words in their name, tags or text."""
    frame = reader.sql(f"{latest_sql(model)} ORDER BY layer, neuron")
    line = pl.concat_str("name", pl.col("tags").list.join(" "), "text", separator=" ").str.to_lowercase()
    for word in words:
        frame = frame.filter(line.str.contains(word.lower(), literal=True))
    return Table("notes", f"notes on neurons of {model}", frame)
