"""LAMA's T-REx part as published (English): `TREx/<relation>.jsonl`, and `relations.jsonl` with a template a relation."""

from collections.abc import Sequence
from pathlib import Path

from knscope.analysis.datasets.dataset import Dataset
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.mlama import on_templates
from knscope.analysis.datasets.published import read_facts
from knscope.store.errors import UserError

LANG = "en"
PLACES = ("", "data")
"""Where in the folder that is named the two lie."""


def load_lama(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts are named by their `uuid`. Google-RE, ConceptNet and SQuAD have no templates with a subject and are not read."""
    choose_langs([LANG], langs)
    inner = next((folder / place for place in PLACES if (folder / place / "TREx").is_dir()), None)
    if inner is None:
        raise UserError(f"{folder}: no folder TREx or data/TREx there")
    files = {path.stem: path for path in sorted((inner / "TREx").glob("*.jsonl"))}
    if not files:
        raise UserError(f"{inner / 'TREx'}: no <relation>.jsonl there")
    fact_files = {(LANG, relation): files[relation] for relation in choose_relations(files, relations)}
    return on_templates(name, fact_files, read_facts(fact_files), {(LANG, ""): inner / "relations.jsonl"})
