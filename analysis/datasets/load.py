"""Load the dataset that DATA names."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from knscope.analysis.datasets import (
    bmlama,
    counterfact,
    dlama,
    hub,
    klar,
    lama,
    pararel,
    popqa,
    records,
    unreadable,
    zsre,
)
from knscope.analysis.datasets.csv_table import load_csv
from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import form
from knscope.analysis.datasets.json_table import load_json
from knscope.analysis.datasets.languages import choose_langs, choose_relations
from knscope.analysis.datasets.layouts import Layout, load_records, of_record
from knscope.analysis.datasets.mlama import load_mlama
from knscope.analysis.datasets.mpararel import load_mpararel
from knscope.analysis.datasets.own_table import named_columns
from knscope.analysis.datasets.parquet_table import load_parquet
from knscope.analysis.demo.facts import FACTS_CSV
from knscope.store.errors import UserError
from knscope.store.layout import expanded

FOLDERS: dict[str, Callable[[str, Path, Sequence[str], Sequence[str]], Dataset]] = {
    "mlama": load_mlama,
    "mpararel": load_mpararel,
    "pararel": pararel.load_pararel,
    "lama": lama.load_lama,
    "dlama": dlama.load_dlama,
    "klar": klar.load_klar,
    "bmlama": bmlama.load_bmlama,
}
"""Published datasets that are a folder, as in `mlama:DIR`."""
FILES: dict[str, Sequence[Layout]] = {"counterfact": counterfact.LAYOUTS, "zsre": zsre.LAYOUTS, "popqa": popqa.LAYOUTS}
"""Published datasets that are a file, as in `counterfact:FILE`."""
HUB = "hf"
TABLES: dict[str, Callable[[str, Path, Sequence[str], Sequence[str], Mapping[str, str]], Dataset]] = {
    ".csv": load_csv,
    ".tsv": load_csv,
    ".jsonl": load_json,
    ".ndjson": load_json,
    ".json": load_json,
}
"""A person's own facts in text, each also with `.gz` behind it."""
BUNDLED: dict[str, Path] = {"demo": FACTS_CSV, "agreement": Path(__file__).with_name("agreement.csv")}
"""Data that come with the project: facts, and a control without knowledge (agreement in number and gender)."""
FORMS = (
    ", ".join(
        (*BUNDLED, *(f"{kind}:DIR" for kind in FOLDERS), *(f"{kind}:FILE" for kind in FILES), f"{HUB}:owner/name")
    )
    + " or a .csv, .tsv, .jsonl, .json (each also .gz) or .parquet file"
)


def load(
    spec: str, *, langs: Sequence[str] = (), relations: Sequence[str] = (), columns: Sequence[str] = ()
) -> Dataset:
    """The facts `spec` names: bundled (demo, agreement), a published dataset (`mlama:DIR`, `popqa:FILE`, …), `hf:owner/name`, or a
    file of one's own.

    `langs` and `relations` (all when empty) limit what is read. `columns` says what a table of one's own calls its columns
    (`subject=s`). Raises UserError for whatever keeps the data from being used, with file and line;
    single rows of published data that cannot be used are in the dataset's report.
    """
    named = named_columns(columns)
    kind, _, rest = spec.partition(":")
    published = spec in BUNDLED or (bool(rest) and kind in (*FOLDERS, *FILES))
    if published and named:
        raise UserError(f"--column names the columns of a table of your own; {spec} has a layout that is known")
    if spec in BUNDLED:
        return _load_bundled(spec, langs, relations)
    if rest and kind in FOLDERS:
        folder = expanded(rest)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such directory; {kind}: needs the directory of the dataset")
        return _hinted(spec, folder, lambda: FOLDERS[kind](spec, folder, langs, relations))
    if rest and kind in FILES:
        path = expanded(rest)
        if path.is_file():
            unreadable.refuse_file(path)
        return _hinted(spec, path, lambda: load_records(spec, [path], FILES[kind], langs, relations))
    if rest and kind == HUB:
        return _of_parquet(spec, hub.fetch(rest), langs, relations, named)
    return _load_own(spec, langs, relations, named)


def _load_own(spec: str, langs: Sequence[str], relations: Sequence[str], columns: Mapping[str, str]) -> Dataset:
    """A table of one's own, or what to write instead."""
    path = expanded(spec)
    if spec and path.is_dir():
        unreadable.refuse_folder(path)
        if guess := _guess(path):
            raise UserError(f"{path} is a directory; say what is in it: {guess}")
        raise UserError(f"{path} is a directory that looks like no dataset that is known; give {FORMS}")
    if form(path) == ".parquet":
        return _hinted(spec, path, lambda: load_parquet(spec, [path], langs, relations, columns))
    if loader := TABLES.get(form(path)):
        return _hinted(spec, path, lambda: loader(spec, path, langs, relations, columns))
    unreadable.refuse_file(path)
    kind, found, rest = spec.partition(":")
    close = difflib.get_close_matches(kind, (*FOLDERS, *FILES, HUB), 1) if found else []
    raise UserError(f"{spec!r} is no dataset; " + (f"did you mean {close[0]}:{rest}?" if close else f"give {FORMS}"))


def _of_parquet(
    spec: str, paths: Sequence[Path], langs: Sequence[str], relations: Sequence[str], columns: Mapping[str, str]
) -> Dataset:
    """Facts of the hub: in the layout of a published dataset where the columns are those, else as a table of one's own."""
    there = pl.read_parquet_schema(paths[0])
    layouts = next((one for one in FILES.values() if of_record(there, one)), None)
    if layouts and not columns:
        return load_records(spec, paths, layouts, langs, relations)
    return load_parquet(spec, paths, langs, relations, columns)


def _hinted(spec: str, path: Path, read: Callable[[], Dataset]) -> Dataset:
    """What `read` gives; where it fails and `path` looks like another kind of data, its error says which one."""
    try:
        return read()
    except UserError as error:
        other = _guess(path)
        if not other or other == spec:
            raise
        raise UserError(f"{error}\nit looks like {other.partition(':')[0]}: write {other}") from error


def _guess(path: Path) -> str:
    """How to name what looks like one of the published datasets; "" where it looks like none."""
    if path.is_dir():
        kind, inner = _guess_folder(path)
        return f"{kind}:{inner}" if kind else ""
    try:
        _, numbered = records.read_records(path)
        _, record = next(numbered, (0, {}))
    except (UserError, OSError, ValueError):
        return ""
    return next((f"{kind}:{path}" for kind, layouts in FILES.items() if of_record(record, layouts)), "")


def _guess_folder(folder: Path) -> tuple[str, Path]:
    """Which published dataset a folder looks like, and the folder of it that is to be named."""
    signs = (
        ("mpararel", folder, "tuples/*/*.jsonl"),
        ("dlama", folder, "*/P[0-9]*_*.jsonl"),
        ("mlama", folder, "*/templates.jsonl"),
        *(("lama", folder, f"{place}relations.jsonl") for place in ("", "data/")),
        *(("pararel", folder, f"{place}/*.jsonl") for place in pararel.FACT_FOLDERS),
        *(("klar", folder, f"{place}*/*.json") for place in ("klar/", "")),
        *(("bmlama", folder / place, "*.tsv") for place in ("", "BMLAMA17", "BMLAMA53")),
    )
    return next(((kind, inner) for kind, inner, sign in signs if next(inner.glob(sign), None)), ("", folder))


def _load_bundled(name: str, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    facts = pl.read_csv(BUNDLED[name], infer_schema=False)
    kept = facts.filter(
        pl.col("lang").is_in(choose_langs(facts["lang"].unique(maintain_order=True), langs)),
        pl.col("relation").is_in(choose_relations(facts["relation"].unique(maintain_order=True), relations)),
    )
    return make_dataset(name, kept, [], [BUNDLED[name]])
