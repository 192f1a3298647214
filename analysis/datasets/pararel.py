"""ParaRel as published (English): `trex_lms_vocab/<relation>.jsonl` and `graphs_json/<relation>.jsonl`."""

from collections.abc import Sequence
from pathlib import Path

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.pairing import prompts
from knscope.analysis.datasets.published import read_facts, read_templates
from knscope.store.errors import UserError

LANG = "en"
FACT_FOLDERS = ("trex_lms_vocab", "data/trex_lms_vocab")
PATTERN_FOLDERS = ("graphs_json", "pattern_data/graphs_json", "data/graphs_json", "data/pattern_data/graphs_json")


def load_pararel(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Facts of LAMA on ParaRel's patterns. Facts have no line id, so a fact_id counts the lines from 0."""
    choose_langs([LANG], langs)
    places = _find(folder, FACT_FOLDERS)
    patterns = _find(folder, PATTERN_FOLDERS)
    files = {path.stem: path for path in sorted(places.glob("*.jsonl"))}
    if not files:
        raise UserError(f"{places}: no <relation>.jsonl there")
    fact_files = {(LANG, relation): files[relation] for relation in choose_relations(files, relations)}
    pattern_files = {
        key: path for key in fact_files if (path := patterns / f"{key[1]}.jsonl").exists() and path.stat().st_size
    }
    if not pattern_files:
        raise UserError(f"{patterns}: no <relation>.jsonl for what is in {places}")
    rows, left_out = prompts(read_facts(fact_files, by_line=True), read_templates(pattern_files, "pattern"))
    return make_dataset(name, rows, left_out, [*fact_files.values(), *pattern_files.values()])


def _find(folder: Path, places: Sequence[str]) -> Path:
    for place in places:
        if (folder / place).is_dir():
            return folder / place
    raise UserError(f"{folder}: no folder {' or '.join(places)} there")
