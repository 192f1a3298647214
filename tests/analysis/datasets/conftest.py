"""Small datasets in the published layouts, written by hand."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

Record = Mapping[str, object]


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def fact(line: int, subject: str, answer: str, subject_uri: str, object_uri: str) -> Record:
    uris = {"sub_uri": subject_uri, "obj_uri": object_uri}
    return {**uris, "obj_label": answer, "sub_label": subject, "lineid": line}


EN_BORDERS = [
    fact(0, "Peru", "Chile", "Q419", "Q298"),
    fact(1, "Peru", "Brazil", "Q419", "Q155"),
    fact(2, "Spain", "France", "Q29", "Q142"),
    fact(3, "Nepal", "India", "Q837", "Q668"),
]
ZH_BORDERS = [
    fact(0, "秘鲁", "智利", "Q419", "Q298"),
    fact(2, "西班牙", "法国", "Q29", "Q142"),
    fact(3, "不丹", "印度", "Q917", "Q668"),
    fact(4, "玻利维亚", "巴西", "Q750", "Q155"),
]
FR_BORDERS = [fact(3, "le Népal", "Inde", "Q837", "Q668")]


@pytest.fixture
def mpararel(tmp_path: Path) -> Path:
    """Borders (P47) in three languages with a wrong pairing, a broken pattern and a relation without patterns."""
    folder = tmp_path / "mpararel"
    for lang, rows in (("en", EN_BORDERS), ("zh-hans", ZH_BORDERS), ("fr", FR_BORDERS)):
        write_jsonl(folder / "tuples" / lang / "P47.jsonl", rows)
    write_jsonl(folder / "tuples" / "en" / "P36.jsonl", [fact(0, "Peru", "Lima", "Q419", "Q2868")])
    patterns = {
        "en": ["[X] borders [Y].", "[Y] lies beside [X]", "a neighbour of Peru is [Y]"],
        "zh-hans": ["[X]的邻国是[Y]", "[X]与[Y]接壤"],
        "fr": ["Pour [X], un voisin est [Y]"],
    }
    for lang, texts in patterns.items():
        records = [{"pattern": text, "checked-by-human": False} for text in texts]
        write_jsonl(folder / "patterns" / lang / "P47.jsonl", records)
    return folder


@pytest.fixture
def mlama(tmp_path: Path) -> Path:
    folder = tmp_path / "mlama"
    for lang, rows in (("en", EN_BORDERS), ("zh", ZH_BORDERS)):
        write_jsonl(folder / lang / "P47.jsonl", rows)
    write_jsonl(folder / "en" / "templates.jsonl", [{"relation": "P47", "template": "[X] borders [Y] ."}])
    templates = [{"relation": "P47", "template": "[X]的邻国是[Y]"}, {"relation": "P36", "template": "[X]的首都是[Y]"}]
    write_jsonl(folder / "zh" / "templates.jsonl", templates)
    return folder


@pytest.fixture
def pararel(tmp_path: Path) -> Path:
    folder = tmp_path / "pararel"
    rows = [
        {"sub_label": "Peru", "obj_label": "Lima", "uuid": "a"},
        {"sub_label": "Nepal", "obj_label": "Kathmandu", "uuid": "b"},
        {"sub_label": "Peru", "obj_label": "Lima", "uuid": "c"},
    ]
    write_jsonl(folder / "data" / "trex_lms_vocab" / "P36.jsonl", rows)
    patterns = [{"pattern": "The capital of [X] is [Y].", "lemma": "capital", "tense": "present"}]
    write_jsonl(folder / "data" / "pattern_data" / "graphs_json" / "P36.jsonl", patterns)
    return folder
