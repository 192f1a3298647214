"""mLAMA as published: `<lang>/<relation>.jsonl` with the facts, `<lang>/templates.jsonl` with a template a relation."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.pairing import prompts
from knscope.analysis.datasets.published import read_facts, read_templates, relation_files
from knscope.store.errors import UserError


def load_mlama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts paired over languages by line id; several templates of one relation are all kept."""
    tuple_files = relation_files(folder, langs, relations)
    template_files = {(lang, ""): folder / lang / "templates.jsonl" for lang, _ in tuple_files}
    for path in template_files.values():
        if not path.exists():
            raise UserError(f"{path}: no such file; mLAMA keeps the templates of a language there")
    templates = read_templates(template_files, "template")
    wanted = [
        "",
        *sorted({relation for _, relation in tuple_files}),
    ]  # one without a relation is reported, not passed over
    rows, left_out = prompts(read_facts(tuple_files), templates.filter(pl.col("relation").is_in(wanted)))
    return make_dataset(name, rows, left_out, [*tuple_files.values(), *template_files.values()])
