"""mLAMA as published: `<lang>/<relation>.jsonl` with the facts, `<lang>/templates.jsonl` with a template a relation."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.pairing import prompts
from knscope.analysis.datasets.published import Files, read_facts, read_templates, relation_files
from knscope.store.errors import UserError


def load_mlama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts paired over languages by line id; several templates of one relation are all kept."""
    files = relation_files(folder, langs, relations)
    template_files = {(lang, ""): folder / lang / "templates.jsonl" for lang, _ in files}
    for path in template_files.values():
        if not path.exists():
            raise UserError(f"{path}: no such file; mLAMA keeps the templates of a language there")
    return on_templates(name, files, read_facts(files), template_files)


def on_templates(name: str, files: Files, facts: pl.DataFrame, template_files: Files) -> Dataset:
    """Facts that were read from `files`, on the templates of their relations in files of all relations (LAMA's layout)."""
    wanted = ["", *facts["relation"].unique()]  # a template without a relation is reported, not passed over
    templates = read_templates(template_files, "template").filter(pl.col("relation").is_in(wanted))
    rows, left_out = prompts(facts, templates)
    return make_dataset(name, rows, left_out, dict.fromkeys((*files.values(), *template_files.values())))
