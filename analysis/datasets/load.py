"""From what a person types as DATA to a dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets.csv_table import load_csv
from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.jsonl_table import load_jsonl
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.mlama import load_mlama
from knscope.analysis.datasets.mpararel import load_mpararel
from knscope.analysis.datasets.pararel import FACT_FOLDERS, load_pararel
from knscope.analysis.datasets.parquet_table import load_parquet
from knscope.analysis.demo.facts import FACTS_CSV, load_facts
from knscope.store.errors import UserError
from knscope.store.layout import expanded

Loader = Callable[[str, Path, Sequence[str], Sequence[str]], Dataset]

PUBLISHED: dict[str, Loader] = {"mlama": load_mlama, "mpararel": load_mpararel, "pararel": load_pararel}
TABLES: dict[str, Loader] = {
    ".csv": load_csv,
    ".tsv": load_csv,
    ".jsonl": load_jsonl,
    ".ndjson": load_jsonl,
    ".parquet": load_parquet,
}
FORMS = "demo, mlama:DIR, mpararel:DIR, pararel:DIR or a .csv, .jsonl or .parquet file"


def load(spec: str, *, langs: Sequence[str] = (), relations: Sequence[str] = ()) -> Dataset:
    """The facts `spec` names: demo, mlama:DIR, mpararel:DIR, pararel:DIR, or a CSV, JSONL or Parquet file.

    `langs` and `relations` (all when empty) limit what is read. Raises UserError for whatever keeps the data from
    being used, with file and line; single rows that cannot be used are in the dataset's report.
    """
    if spec == "demo":
        return _load_demo(langs, relations)
    kind, _, rest = spec.partition(":")
    if rest and kind in PUBLISHED:
        folder = expanded(rest)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such directory; {kind}: needs the directory of the dataset")
        return PUBLISHED[kind](spec, folder, langs, relations)
    path = expanded(spec)
    if path.suffix.lower() in TABLES and not path.is_dir():
        return TABLES[path.suffix.lower()](spec, path, langs, relations)
    if spec and path.is_dir():
        raise UserError(f"{path} is a directory; say what is in it: {_guess(path)}")
    raise UserError(f"{spec!r} is no dataset; give {FORMS}")


def _guess(folder: Path) -> str:
    """How to name a directory that looks like one of the published layouts."""
    if (folder / "tuples").is_dir():
        return f"mpararel:{folder}"
    if next(folder.glob("*/templates.jsonl"), None):
        return f"mlama:{folder}"
    if any((folder / place).is_dir() for place in FACT_FOLDERS):
        return f"pararel:{folder}"
    return FORMS


def _load_demo(langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    facts = load_facts()
    kept = facts.filter(
        pl.col("lang").is_in(choose_langs(facts["lang"].unique(maintain_order=True), langs)),
        pl.col("relation").is_in(choose_relations(facts["relation"].unique(maintain_order=True), relations)),
    )
    return make_dataset("demo", kept, [], [FACTS_CSV])
