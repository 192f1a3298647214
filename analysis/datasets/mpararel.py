"""mParaRel as published: `tuples/<lang>/<relation>.jsonl` and `patterns/<lang>/<relation>.jsonl`."""

from collections.abc import Sequence
from pathlib import Path

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.pairing import prompts
from knscope.analysis.datasets.published import read_facts, read_templates, relation_files
from knscope.store.errors import UserError


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
    rows, left_out = prompts(read_facts(tuple_files), read_templates(pattern_files, "pattern"))
    return make_dataset(name, rows, left_out, [*tuple_files.values(), *pattern_files.values()])
