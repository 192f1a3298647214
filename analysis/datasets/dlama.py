"""DLAMA as published: `<lang>/<relation>_<domain>_<region>.jsonl`, several files a relation, asked with mLAMA's templates."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.dataset import Dataset
from knscope.analysis.datasets.mlama import on_templates
from knscope.analysis.datasets.published import read_facts, relation_files
from knscope.store.errors import UserError


def load_dlama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts of all regions, paired over languages by `uuid`; of several right objects the first is asked.

    DLAMA has no templates: `<lang>/templates.jsonl` of mLAMA stands beside its files, or lies where its repository keeps
    mLAMA (`mlama/data/mlama1.1/`, for a folder such as `data/arab-west/dlama`).
    """
    files = relation_files(folder, langs, relations, _relation)
    facts = read_facts(files).with_columns(pl.col("relation").str.split("_").list.first())
    template_files = {(lang, ""): _templates(folder, lang) for lang, _ in files}
    return on_templates(name, files, facts, template_files)


def _relation(file: str) -> str:
    return file.partition("_")[0]


def _templates(folder: Path, lang: str) -> Path:
    beside = folder / lang / "templates.jsonl"
    repository = folder.resolve().parents[2:3]
    for path in (beside, *(top / "mlama" / "data" / "mlama1.1" / lang / "templates.jsonl" for top in repository)):
        if path.exists():
            return path
    raise UserError(
        f"{beside}: no such file; DLAMA is asked with mLAMA's templates: copy mlama1.1/{lang}/templates.jsonl there"
    )
