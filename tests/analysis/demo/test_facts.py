"""The bundled facts have the shape everything else counts on, and agree with themselves."""

import polars as pl
import pytest

from knscope.analysis.demo.facts import FACTS_CSV, load_facts

LANGS = {"en", "zh", "fr", "de", "es"}
RELATIONS = {"P30", "P36", "P37", "P38"}
EURO = {"AD", "AT", "BE", "BG", "CY", "DE", "EE", "ES", "FI", "FR", "GR", "HR", "IE", "IT"} | {
    *("LT", "LU", "LV", "MC", "ME", "MT", "NL", "PT", "SI", "SK", "SM")
}


@pytest.fixture(scope="module")
def facts() -> pl.DataFrame:
    return load_facts()


def test_the_file_is_plain_utf8_with_the_documented_header() -> None:
    text = FACTS_CSV.read_text(encoding="utf-8")
    assert text.startswith("fact_id,relation,lang,template,subject,object\n")
    assert "\r" not in text
    assert "\ufeff" not in text


def test_there_are_enough_countries_facts_and_languages(facts: pl.DataFrame) -> None:
    assert set(facts["lang"]) == LANGS
    assert set(facts["relation"]) == RELATIONS
    assert facts["fact_id"].str.split("-").list.get(1).n_unique() >= 130
    assert facts.group_by("relation").agg(pl.col("fact_id").n_unique())["fact_id"].min() >= 120  # type: ignore[operator]


def test_no_cell_is_empty_padded_or_repeated(facts: pl.DataFrame) -> None:
    assert facts.null_count().sum_horizontal().item() == 0
    for column in facts.columns:
        assert (facts[column] == facts[column].str.strip_chars()).all()
        assert (facts[column] != "").all()
    assert not facts.is_duplicated().any()
    assert facts.group_by("fact_id", "lang", "template").len()["len"].max() == 1


def test_every_language_asks_the_same_facts_on_all_its_templates(facts: pl.DataFrame) -> None:
    for (_relation,), rows in facts.group_by("relation"):
        fact_count = rows["fact_id"].n_unique()
        for (_lang,), own in rows.group_by("lang"):
            assert own["template"].n_unique() == 7
            assert own.height == 7 * fact_count


def test_a_fact_has_one_subject_and_one_object_in_each_language(facts: pl.DataFrame) -> None:
    names = facts.group_by("fact_id", "lang").agg(pl.col("subject", "object", "relation").n_unique())
    assert names.select(pl.col("subject", "object", "relation").max()).row(0) == (1, 1, 1)
    assert (facts["fact_id"].str.split("-").list.get(0) == facts["relation"]).all()


def test_a_country_is_called_the_same_in_every_relation_and_no_two_share_a_name(facts: pl.DataFrame) -> None:
    named = facts.select(pl.col("fact_id").str.split("-").list.get(1).alias("code"), "lang", "subject").unique()
    assert named.group_by("code", "lang").len()["len"].max() == 1
    assert named.group_by("lang", "subject").len()["len"].max() == 1


def test_six_templates_end_in_the_answer_and_the_seventh_does_not(facts: pl.DataFrame) -> None:
    templates = facts.select("relation", "lang", "template").unique(maintain_order=True)
    for _, own in templates.group_by("relation", "lang", maintain_order=True):
        assert own["template"].str.ends_with("[Y]").to_list() == [True] * 6 + [False]


def test_each_template_has_each_slot_once_and_chinese_has_no_spaces(facts: pl.DataFrame) -> None:
    for lang, template in facts.select("lang", "template").unique().iter_rows():
        assert template.count("[X]") == template.count("[Y]") == 1
        assert lang != "zh" or " " not in template


def test_answers_distinguish_the_same_facts_in_every_language(facts: pl.DataFrame) -> None:
    """Two facts with one answer in English have one answer in the others too; stated exceptions aside."""
    exceptions = {
        ("P37", "zh", "Korean"),  # named after each of the two countries
        ("P36", "en", "金斯敦"),  # Kingston and Kingstown are written alike in Chinese
    }
    one = facts.select("fact_id", "relation", "lang", "object").unique()
    english = one.filter(lang="en").select("fact_id", english="object")
    for lang in LANGS - {"en"}:
        pairs = one.filter(lang=lang).join(english, on="fact_id").select("relation", "object", "english").unique()
        split = pairs.filter(pl.struct("relation", "english").is_duplicated())
        merged = pairs.filter(pl.struct("relation", "object").is_duplicated())
        assert {(r, lang, e) for r, _, e in split.iter_rows()} <= exceptions
        assert {(r, "en", o) for r, o, _ in merged.iter_rows()} <= exceptions


def test_exactly_the_countries_that_use_the_euro_have_it(facts: pl.DataFrame) -> None:
    euro = facts.filter(relation="P38", lang="en", object="euro")["fact_id"].unique()
    assert {fact.removeprefix("P38-") for fact in euro} == EURO
    in_all = {"en": "euro", "zh": "欧元", "fr": "euro", "de": "Euro", "es": "euro"}
    rows = facts.filter(pl.col("fact_id").is_in(euro.implode()))
    assert dict(rows.select("lang", "object").unique().iter_rows()) == in_all


@pytest.mark.parametrize(
    ("fact", "lang", "subject", "answer"),
    [
        ("P36-TZ", "en", "Tanzania", "Dodoma"),
        ("P38-TZ", "zh", "坦桑尼亚", "坦桑尼亚先令"),
        ("P36-EG", "fr", "l'Égypte", "Le Caire"),
        ("P38-CH", "de", "die Schweiz", "Schweizer Franken"),
        ("P30-CA", "es", "Canadá", "América del Norte"),
        ("P37-BR", "zh", "巴西", "葡萄牙语"),
        ("P37-KP", "zh", "朝鲜", "朝鲜语"),
        ("P30-NA", "en", "Namibia", "Africa"),
    ],
)
def test_known_facts_are_there(facts: pl.DataFrame, fact: str, lang: str, subject: str, answer: str) -> None:
    row = facts.filter(fact_id=fact, lang=lang).select("subject", "object").unique().row(0)
    assert row == (subject, answer)


def test_disputed_facts_are_left_out(facts: pl.DataFrame) -> None:
    ids = set(facts["fact_id"])
    disputed = {"P36-BO", "P36-ZA", "P36-IL", "P36-LK", "P30-TR", "P30-RU", "P30-KZ", "P37-BE", "P37-CH", "P38-ZW"}
    assert not ids & disputed
