"""mLAMA as published: `<lang>/<relation>.jsonl` with the facts, `<lang>/templates.jsonl` with a template a relation."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import scan_published
from knscope.analysis.datasets.mpararel import NAMES, TUPLE, relation_files
from knscope.analysis.datasets.pairing import prompts
from knscope.store.errors import UserError


def load_mlama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts paired over languages by line id; several templates of one relation are all kept."""
    tuple_files = relation_files(folder, langs, relations)
    template_files = {(lang, ""): folder / lang / "templates.jsonl" for lang, _ in tuple_files}
    for path in template_files.values():
        if not path.exists():
            raise UserError(f"{path}: no such file; mLAMA keeps the templates of a language there")
    tuples = scan_published(tuple_files, TUPLE).rename(NAMES)
    templates = scan_published(template_files, {"relation": pl.String(), "template": pl.String()})
    wanted = sorted({relation for _, relation in tuple_files})
    rows, left_out = prompts(tuples, templates.filter(pl.col("relation").is_in(wanted)))
    return make_dataset(name, rows, left_out, [*tuple_files.values(), *template_files.values()])
