"""KLAR as published: `<lang>/<relation>.json`, one object with `prompt_templates` and `samples`, `index` pairing the languages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.datasets.dataset import Dataset, make_dataset
from knscope.analysis.datasets.files import check_file, is_text, json_value, text_lines
from knscope.analysis.datasets.pairing import ANSWER, SUBJECT, prompts
from knscope.analysis.datasets.published import FACT, NO_CELLS, PLACE, TEMPLATE, Fields, fact_cells, relation_files
from knscope.store.errors import UserError

FIELDS = Fields("subject", "object", number="index")


def load_klar(name: str, folder: Path, langs: Sequence[str], relations: Sequence[str]) -> Dataset:
    """Every sample on every template of its file. `<subject>` becomes [X] and `<mask>` [Y]; the relation is the file's name."""
    inner = folder / "klar" if (folder / "klar").is_dir() else folder
    files = relation_files(inner, langs, relations, suffix=".json")
    facts, templates = [], []
    for (lang, relation), path in files.items():
        place = f"{lang}/{path.name}"
        document = _document(path)
        for number, sample in enumerate(document["samples"], start=1):
            cells = fact_cells(sample, FIELDS) if isinstance(sample, dict) else (*NO_CELLS, json.dumps(sample)[:40])
            facts.append((relation, lang, f"{place}, sample {number}", *cells))
        for number, text in enumerate(document["prompt_templates"], start=1):
            template = text.replace("<subject>", SUBJECT).replace("<mask>", ANSWER) if is_text(text) else None
            wrong = None if is_text(text) else json.dumps(text)[:40]
            templates.append((relation, lang, f"{place}, template {number}", template, wrong))
    rows, left_out = prompts(
        pl.DataFrame(facts, schema=PLACE | FACT, orient="row"),
        pl.DataFrame(templates, schema=PLACE | TEMPLATE, orient="row"),
    )
    return make_dataset(name, rows, left_out, files.values())


def _document(path: Path) -> dict[str, Any]:
    """The object in a file, with its two lists. Raises UserError."""
    check_file(path)
    document = json_value("\n".join(line for _, line in text_lines(path)), path)
    for field in ("prompt_templates", "samples"):
        if not isinstance(document, dict) or not isinstance(document.get(field), list):
            raise UserError(f"{path}: KLAR keeps an object with a list {field!r} in a file")
    return dict(document)
