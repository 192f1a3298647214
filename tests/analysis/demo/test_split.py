"""What is held out of training, and what the demo asks."""

import subprocess
import sys

import polars as pl
import pytest

from knscope.analysis.demo.facts import load_facts
from knscope.analysis.demo.split import PROMPT_TEMPLATES, demo_sample, fold, subject_key, with_split


def is_held_out(fact_id: str, template_index: int) -> bool:
    """Whether the prompt of this fact on the template (0-based, in the file's order) is kept out of training."""
    held_fold = template_index // 2 if template_index < PROMPT_TEMPLATES else 0
    return fold(subject_key(fact_id)) == held_fold


def test_a_country_belongs_to_one_fold_that_never_changes() -> None:
    assert [fold(key) for key in ("TZ", "FR", "CN", "BR", "NA", "DK")] == [0, 1, 2, 0, 1, 0]
    assert subject_key("P36-TZ") == "TZ"


def test_each_fold_holds_about_a_third_of_every_relation() -> None:
    for _, rows in load_facts().group_by("relation"):
        ids = rows["fact_id"].unique()
        for number in range(3):
            share = sum(fold(subject_key(fact)) == number for fact in ids) / len(ids)
            assert 0.27 < share < 0.40


def test_a_fact_is_held_out_on_two_prompt_templates_and_learned_on_four() -> None:
    for fact in ("P36-DK", "P37-FR", "P38-CN"):
        held = [index for index in range(6) if is_held_out(fact, index)]
        number = fold(subject_key(fact))
        assert held == [2 * number, 2 * number + 1]
        assert is_held_out(fact, 6) == (number == 0)


def test_the_frame_column_agrees_with_the_function_whatever_rows_are_given() -> None:
    rows = with_split(load_facts().sample(500, seed=3))
    assert rows.height == 500
    for fact, index, held in rows.select("fact_id", "template_index", "held_out").iter_rows():
        assert held == is_held_out(fact, index)


def test_every_template_keeps_held_out_countries_and_trained_ones() -> None:
    shares = with_split(load_facts()).group_by("relation", "lang", "template").agg(pl.col("held_out").mean())
    assert shares["held_out"].is_between(0.25, 0.42).all()


def test_the_demo_asks_the_same_facts_in_every_language_balanced_over_relations() -> None:
    sample = demo_sample(60)
    assert sample.columns == load_facts().columns
    assert sample.height == 60 * 5 * 2
    by_lang = {lang: set(rows["fact_id"]) for (lang,), rows in sample.group_by("lang")}
    assert len(set(map(frozenset, by_lang.values()))) == 1
    per_relation = sample.group_by("relation").agg(pl.col("fact_id").n_unique())
    assert per_relation["fact_id"].to_list() == [15] * 4


@pytest.mark.parametrize("facts", [7, 60, None])
def test_the_demo_asks_only_what_was_held_out_on_templates_a_decoder_can_use(facts: int | None) -> None:
    sample = demo_sample(facts)
    assert with_split(sample)["held_out"].all()
    assert sample["template"].str.ends_with("[Y]").all()
    assert sample.group_by("fact_id", "lang").len()["len"].unique().to_list() == [2]
    assert sample["fact_id"].n_unique() == (facts or load_facts()["fact_id"].n_unique())


def test_the_sample_depends_on_the_seed_alone() -> None:
    assert demo_sample(20, seed=1).equals(demo_sample(20, seed=1))
    assert set(demo_sample(20, seed=1)["fact_id"]) != set(demo_sample(20, seed=2)["fact_id"])


def test_a_larger_sample_contains_the_smaller_one() -> None:
    assert set(demo_sample(12)["fact_id"]) < set(demo_sample(40)["fact_id"])


def test_the_split_needs_no_torch() -> None:
    code = "import sys, knscope.analysis.demo.split; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_at_least_half_of_the_sample_has_a_partner_of_the_same_answer_in_every_language() -> None:
    pairs = demo_sample(60).sort("lang").unique(["fact_id", "lang"], maintain_order=True)
    answers = pairs.group_by("relation", "fact_id").agg(pl.col("object"))
    shared = answers.filter(pl.len().over("relation", "object") > 1)
    assert shared.height >= 30
    assert set(shared["relation"]) == {"P30", "P37", "P38"}, "no two countries have one capital"
