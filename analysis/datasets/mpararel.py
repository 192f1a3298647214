"""mParaRel as published: `tuples/<lang>/<relation>.jsonl` and `patterns/<lang>/<relation>.jsonl`."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import scan_published
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.pairing import prompts
from knscope.store.errors import UserError

TUPLE = {
    "lineid": pl.Int64(),
    "sub_label": pl.String(),
    "obj_label": pl.String(),
    "sub_uri": pl.String(),
    "obj_uri": pl.String(),
}
NAMES = {"sub_label": "subject", "obj_label": "object", "sub_uri": "subject_uri", "obj_uri": "object_uri"}


def load_mpararel(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts paired over languages by line id. A relation without a pattern file in a language is reported."""
    tuple_files = relation_files(folder / "tuples", langs, relations)
    pattern_files = {
        key: path
        for key in tuple_files
        if (path := folder / "patterns" / key[0] / f"{key[1]}.jsonl").exists() and path.stat().st_size
    }
    if not pattern_files:
        raise UserError(f"{folder / 'patterns'}: no <language>/<relation>.jsonl for what is in {folder / 'tuples'}")
    tuples = scan_published(tuple_files, TUPLE).rename(NAMES)
    templates = scan_published(pattern_files, {"pattern": pl.String()}).rename({"pattern": "template"})
    rows, left_out = prompts(tuples, templates)
    return make_dataset(name, rows, left_out, [*tuple_files.values(), *pattern_files.values()])


def relation_files(folder: Path, langs: Sequence[str], relations: Sequence[str]) -> dict[tuple[str, str], Path]:
    """(lang, relation) → file, for a folder with one folder a language and one file a relation in it.

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
