"""LAMA, DLAMA, KLAR and BMLAMA are read as their folders are published, and say what in them cannot be used."""

import json
from pathlib import Path

import pytest

from knscope.analysis.datasets import Dataset, load
from knscope.store.errors import UserError
from tests.analysis.datasets.conftest import fact, write_jsonl


def reasons(dataset: Dataset) -> list[tuple[str, str, str]]:
    return sorted(dataset.report.select("lang", "reason", "example").rows())


def prompts(dataset: Dataset, **where: str) -> list[tuple[str, ...]]:
    return dataset.frame.filter(**where).select("fact_id", "lang", "template", "subject", "object").rows()


@pytest.fixture
def lama(tmp_path: Path) -> Path:
    folder = tmp_path / "LAMA"
    evidence = {"evidences": [{"masked_sentence": "[MASK] is the capital of Peru."}], "predicate_id": "P36"}
    rows = [
        {"uuid": "a1", "sub_label": "Peru", "obj_label": "Lima", "sub_uri": "Q419", "obj_uri": "Q2868", **evidence},
        {"uuid": "a2", "sub_label": "Nepal", "obj_label": "Kathmandu", "sub_uri": "Q837", "obj_uri": "Q3037"},
        {"sub_label": "Chad", "obj_label": "N'Djamena"},
    ]
    write_jsonl(folder / "data" / "TREx" / "P36.jsonl", rows)
    write_jsonl(folder / "data" / "TREx" / "P47.jsonl", [{"uuid": "b1", "sub_label": "Peru", "obj_label": "Chile"}])
    relation = {"relation": "P36", "template": "The capital of [X] is [Y] .", "label": "capital", "type": "1-1"}
    write_jsonl(folder / "data" / "relations.jsonl", [relation])
    return folder


def test_lama_asks_its_t_rex_facts_with_the_template_of_their_relation(lama: Path) -> None:
    dataset = load(f"lama:{lama}")
    assert prompts(dataset) == [
        ("P36-a1", "en", "The capital of [X] is [Y] .", "Peru", "Lima"),
        ("P36-a2", "en", "The capital of [X] is [Y] .", "Nepal", "Kathmandu"),
    ]
    assert reasons(dataset) == [
        ("en", "no-line-id", "TREx/P36.jsonl, line 3: Chad → N'Djamena"),
        ("en", "no-template", "TREx/P47.jsonl, line 1: Peru → Chile"),
    ]
    assert load(f"lama:{lama / 'data'}", relations=["P36"]).frame.equals(dataset.frame)
    with pytest.raises(UserError, match="no folder TREx"):
        load(f"lama:{lama / 'data' / 'TREx'}")


@pytest.fixture
def dlama(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "data" / "arab-west" / "dlama"
    for lang, names in (("en", ("Egypt", "Cairo", "Jordan", "Amman")), ("ar", ("مصر", "القاهرة", "الأردن", "عمان"))):
        region = {
            "sub_label": names[0],
            "obj_label": [names[1], "Giza"],
            "sub_uri": "Q79",
            "obj_uri": ["Q85", "Q81788"],
        }
        write_jsonl(folder / lang / "P36_general_ARAB_REGION.jsonl", [{**region, "uuid": "P36_general_ARAB_REGION_0"}])
        other = {"sub_label": names[2], "obj_label": [names[3]], "sub_uri": "Q810", "obj_uri": ["Q3805"]}
        write_jsonl(folder / lang / "P36_general_OTHERS.jsonl", [{**other, "uuid": "P36_general_OTHERS_0"}])
    return folder


def test_dlama_joins_the_regions_of_a_relation_and_asks_with_the_templates_of_mlama(dlama: Path) -> None:
    with pytest.raises(UserError, match=r"DLAMA is asked with mLAMA's templates: copy mlama1\.1/ar/templates\.jsonl"):
        load(f"dlama:{dlama}")
    for lang, template in (("en", "The capital of [X] is [Y] ."), ("ar", "عاصمة [X] هي [Y] .")):
        place = dlama.parents[2] / "mlama" / "data" / "mlama1.1" / lang
        write_jsonl(place / "templates.jsonl", [{"relation": "P36", "template": template}])
    dataset = load(f"dlama:{dlama}", relations=["P36"])
    assert dataset.relations == ("P36",)
    assert prompts(dataset, lang="en") == [
        ("P36-P36_general_ARAB_REGION_0", "en", "The capital of [X] is [Y] .", "Egypt", "Cairo"),
        ("P36-P36_general_OTHERS_0", "en", "The capital of [X] is [Y] .", "Jordan", "Amman"),
    ]
    assert dataset.frame.filter(subject="Egypt")["alternatives"].to_list() == [["Giza"]]
    assert dataset.frame.filter(lang="ar").height == 2
    write_jsonl(dlama / "en" / "templates.jsonl", [{"relation": "P36", "template": "[X] is ruled from [Y]"}])
    assert load(f"dlama:{dlama}", langs=["en"]).frame["template"].unique().to_list() == ["[X] is ruled from [Y]"]


@pytest.fixture
def klar(tmp_path: Path) -> Path:
    folder = tmp_path / "KLAR"
    texts = {
        "en": (
            ["In which continent is <subject>? The answer is: <mask>", " <subject> lies in <mask>"],
            ["Turkey", "Asia"],
        ),
        "zh": (["<subject>位于哪个大洲？答案是：<mask>"], ["土耳其", "亚洲"]),
    }
    for lang, (templates, (subject, answer)) in texts.items():
        sample = {"subject": subject, "object": answer, "object_candidates": f"Europe, {answer}", "index": 3462}
        document = {"name": "continent", "prompt_templates": templates, "relation_id": "P30", "samples": [sample]}
        path = folder / "klar" / lang / "continent.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return folder


def test_klar_pairs_samples_by_index_and_asks_each_on_all_templates(klar: Path) -> None:
    dataset = load(f"klar:{klar}")
    assert prompts(dataset) == [
        ("continent-3462", "en", "In which continent is [X]? The answer is: [Y]", "Turkey", "Asia"),
        ("continent-3462", "en", "[X] lies in [Y]", "Turkey", "Asia"),
        ("continent-3462", "zh", "[X]位于哪个大洲？答案是：[Y]", "土耳其", "亚洲"),
    ]
    assert load(f"klar:{klar / 'klar'}", langs=["zh"]).frame.equals(dataset.frame.filter(lang="zh"))


def test_klar_reports_samples_and_templates_that_cannot_be_used(klar: Path) -> None:
    path = klar / "klar" / "en" / "continent.json"
    document = json.loads(path.read_text())
    document["samples"] += [{"subject": ["Peru"], "object": "Asia", "index": 1}, 7, {"subject": "Peru", "index": 2}]
    document["prompt_templates"] += [5, "Where is <subject>?"]
    path.write_text(json.dumps(document))
    assert reasons(load(f"klar:{klar}")) == [
        ("en", "empty-answer", "en/continent.json, sample 4: Peru → ?"),
        ("en", "no-answer-slot", "en/continent.json, template 4: Where is [X]?"),
        ("en", "not-text", 'en/continent.json, sample 2: subject ["Peru"]'),
        ("en", "not-text", "en/continent.json, template 3: 5"),
    ]
    for broken, message in (("[]", "an object with a list 'prompt_templates'"), ('{"a" 1}', "line 1: not valid JSON")):
        path.write_text(broken)
        with pytest.raises(UserError, match=message):
            load(f"klar:{klar}")


BMLAMA = {
    "en": [
        "Bono was born in <mask>.\tDublin\tParis, Dublin\tBono",
        "Plato was born in <mask>.\tAthens\tRome, Athens\tPlato",
        "The capital of Peru is <mask>.\tLima\tRome, Lima\tPeru",
        "One is a part of <mask>.\ttwo\ttwo, three\tone hundred",
    ],
    "zh": [
        "博诺出生于<mask>。\t都柏林\t巴黎, 都柏林\t博诺",
        "出生于<mask>。\t雅典\t罗马, 雅典\t柏拉图",
        "秘鲁的首都是<mask>。\t利马\t罗马, 利马\t秘鲁",
        "一\t二",
    ],
}


@pytest.fixture
def bmlama(tmp_path: Path) -> Path:
    folder = tmp_path / "BMLAMA53"
    folder.mkdir()
    headers = {"en": "Prompt\tAns\tCandidate Ans\tSubject", "zh": "Prompt\tAns\tCandidate\tAns\tSubject"}
    for lang, lines in BMLAMA.items():
        (folder / f"{lang}.tsv").write_text("\n".join([headers[lang], *lines]) + "\n", encoding="utf-8")
    return folder


def test_bmlama_makes_templates_of_its_prompts_and_relations_of_their_english_words(bmlama: Path) -> None:
    dataset = load(f"bmlama:{bmlama}")
    assert prompts(dataset) == [
        ("was-born-in-2", "en", "[X] was born in [Y].", "Bono", "Dublin"),
        ("was-born-in-3", "en", "[X] was born in [Y].", "Plato", "Athens"),
        ("the-capital-of-is-4", "en", "The capital of [X] is [Y].", "Peru", "Lima"),
        ("was-born-in-2", "zh", "[X]出生于[Y]。", "博诺", "都柏林"),
        ("the-capital-of-is-4", "zh", "[X]的首都是[Y]。", "秘鲁", "利马"),
    ]
    assert reasons(dataset) == [
        ("en", "not-text", "en.tsv, line 5: line 5 of en.tsv names no relation"),
        ("zh", "no-subject-slot", "zh.tsv, line 3: 出生于[Y]。"),
        ("zh", "not-text", "zh.tsv, line 5: 2 cells, 4 are needed"),
    ]
    chinese = load(f"bmlama:{bmlama}", langs=["zh"], relations=["the-capital-of-is"])
    assert prompts(chinese) == [("the-capital-of-is-4", "zh", "[X]的首都是[Y]。", "秘鲁", "利马")]


def test_bmlama_cells_with_quotes_are_read_as_tables_write_them(bmlama: Path) -> None:
    with (bmlama / "en.tsv").open("a") as stream:
        stream.write('"William ""El Jove"" was born in <mask>."\tHayes, London\tRome, London\t"William ""El Jove"""\n')
    frame = load(f"bmlama:{bmlama}", langs=["en"]).frame.filter(object="Hayes")
    assert frame.select("template", "subject", "alternatives").row(0) == (
        "[X] was born in [Y].",
        'William "El Jove"',
        ["London"],
    )


def test_load_suggests_the_kind_of_a_published_folder(lama: Path, klar: Path, bmlama: Path, dlama: Path) -> None:
    for folder, kind in ((lama, "lama"), (klar, "klar"), (bmlama, "bmlama"), (dlama, "dlama")):
        with pytest.raises(UserError, match=f"is a directory; say what is in it: {kind}:{folder}"):
            load(str(folder))
        with pytest.raises(UserError, match=f"it looks like {kind}: write {kind}:{folder}"):
            load(f"mpararel:{folder}")
    with pytest.raises(UserError, match=f"write bmlama:{bmlama}"):
        load(f"mlama:{bmlama.parent}")


def test_a_kind_that_is_misspelt_gets_the_nearest_one(lama: Path) -> None:
    with pytest.raises(UserError, match=f"did you mean lama:{lama}"):
        load(f"llama:{lama}")


def test_dlama_pairs_are_checked_by_uri_across_regions(dlama: Path) -> None:
    write_jsonl(dlama / "en" / "templates.jsonl", [{"relation": "P36", "template": "The capital of [X] is [Y] ."}])
    write_jsonl(dlama / "ar" / "templates.jsonl", [{"relation": "P36", "template": "عاصمة [X] هي [Y] ."}])
    row = fact(0, "Peru", "Lima", "Q419", "Q2868")
    write_jsonl(dlama / "fr" / "P36_general_OTHERS.jsonl", [{**row, "lineid": "P36_general_OTHERS_0"}])
    write_jsonl(dlama / "fr" / "templates.jsonl", [{"relation": "P36", "template": "[X] : [Y]"}])
    assert ("fr", "uri-mismatch", "fr/P36_general_OTHERS.jsonl, line 1: Peru → Lima") in reasons(load(f"dlama:{dlama}"))
