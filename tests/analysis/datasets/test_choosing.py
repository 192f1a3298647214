"""Which facts, languages and templates are asked."""

import time
from pathlib import Path

import polars as pl
import pytest

from knscope.analysis.datasets import check_table, choose_langs, load, sample, usability
from knscope.store.errors import UserError


@pytest.fixture(scope="module")
def demo() -> pl.DataFrame:
    return load("demo").frame


def test_a_sample_has_the_same_facts_in_every_language_balanced_over_relations(demo: pl.DataFrame) -> None:
    drawn = sample(demo, facts=22, langs=["en", "zh", "de"])
    per_lang = {lang: set(rows["fact_id"]) for (lang,), rows in drawn.group_by("lang")}
    assert set(per_lang) == {"en", "zh", "de"}
    assert len(set(map(frozenset, per_lang.values()))) == 1
    sizes = drawn.group_by("relation").agg(pl.col("fact_id").n_unique())["fact_id"]
    assert sorted(sizes) == [5, 5, 6, 6]


def test_a_sample_depends_on_the_seed_alone_and_grows_without_change(demo: pl.DataFrame) -> None:
    shuffled = demo.sample(fraction=1.0, shuffle=True, seed=4)
    assert set(sample(demo, facts=20)["fact_id"]) == set(sample(shuffled, facts=20)["fact_id"])
    assert set(sample(demo, facts=20, seed=1)["fact_id"]) != set(sample(demo, facts=20)["fact_id"])
    assert set(sample(demo, facts=9)["fact_id"]) < set(sample(demo, facts=20)["fact_id"])


def test_sample_gives_the_share_of_exhausted_relations_to_the_others(mpararel: Path) -> None:
    patterns = mpararel / "patterns" / "en" / "P36.jsonl"
    patterns.write_text('{"pattern": "The capital of [X] is [Y]"}\n')
    frame = load(f"mpararel:{mpararel}", langs=["en"]).frame
    assert sample(frame, facts=3).unique("fact_id")["relation"].sort().to_list() == ["P36", "P47", "P47"]
    assert sample(frame, facts=99)["fact_id"].n_unique() == 5


def test_only_facts_paired_in_all_chosen_languages_are_drawn(mpararel: Path) -> None:
    frame = load(f"mpararel:{mpararel}").frame
    assert set(sample(frame, facts=9, langs=["en", "zh-hans"])["fact_id"]) == {"P47-0", "P47-2"}
    with pytest.raises(UserError, match="no fact has prompts in all of"):
        sample(frame, facts=9, langs=["zh-hans", "fr"])


def test_all_facts_include_those_without_a_pair(mpararel: Path) -> None:
    frame = load(f"mpararel:{mpararel}").frame
    assert sample(frame, langs=["en", "zh-hans"])["fact_id"].n_unique() == 5


def test_templates_can_be_limited_and_the_best_is_one_every_model_can_use(mpararel: Path) -> None:
    frame = load(f"mpararel:{mpararel}").frame
    best = sample(frame, templates="best")
    assert dict(best.select("lang", "template").unique().iter_rows()) == {
        "en": "[X] borders [Y].",
        "zh-hans": "[X]的邻国是[Y]",
        "fr": "Pour [X], un voisin est [Y]",
    }
    assert sample(frame, templates=1).equals(best)
    assert sample(frame, templates="2").equals(frame)
    for wrong in ("0", "some", "-1"):
        with pytest.raises(UserError, match="templates must be best, all or a number"):
            sample(frame, templates=wrong)


def test_unknown_relations_and_languages_are_refused_with_what_there_is(demo: pl.DataFrame) -> None:
    with pytest.raises(UserError, match=r"relation 'P99' is not in the data; it has P30, P36, P37, P38"):
        sample(demo, relations=["P99"])
    with pytest.raises(UserError, match=r"language 'ja' is not in the data; it has de, en, es, fr, zh"):
        sample(demo, langs=["ja"])
    with pytest.raises(UserError, match="at least 1"):
        sample(demo, facts=0)


def test_simplified_and_traditional_chinese_are_never_taken_for_one_another() -> None:
    assert choose_langs(["en", "zh-hans"], ["zh", "en"]) == ("zh-hans", "en")
    assert choose_langs(["zh-hans", "zh-hant"], ["zh-hant"]) == ("zh-hant",)
    with pytest.raises(UserError, match="may mean zh-hans or zh-hant"):
        choose_langs(["zh-hans", "zh-hant"], ["zh"])
    with pytest.raises(UserError, match="'zh-hant' is not in the data"):
        choose_langs(["en", "zh-hans"], ["zh-hant"])


def test_usability_counts_pairs_and_what_a_decoder_can_use(mpararel: Path) -> None:
    counts = usability(load(f"mpararel:{mpararel}", langs=["en", "zh-hans"]).frame)
    assert counts.to_dicts() == [
        {
            "relation": "P47",
            "lang": "en",
            "facts": 4,
            "paired": 2,
            "unpaired": 2,
            "templates": 2,
            "decoder_templates": 1,
            "prompts": 8,
            "decoder_prompts": 4,
            "several_answers": 2,
            "spaced_templates": 0,
        },
        {
            "relation": "P47",
            "lang": "zh-hans",
            "facts": 3,
            "paired": 2,
            "unpaired": 1,
            "templates": 2,
            "decoder_templates": 1,
            "prompts": 6,
            "decoder_prompts": 3,
            "several_answers": 1,
            "spaced_templates": 0,
        },
    ]


def test_data_check_warns_of_spaces_beside_a_slot_where_a_script_has_none(tmp_path: Path) -> None:
    data = tmp_path / "facts.csv"
    rows = ["zh,[X] 的首都是 [Y],秘鲁,利马", "zh,[X]的首都是[Y],秘鲁,利马", "en,The capital of [X] is [Y],Peru,Lima"]
    data.write_text("fact_id,relation,lang,template,subject,object\n" + "".join(f"1,P36,{row}\n" for row in rows))
    table = check_table.build(str(data))[0]
    assert dict(table.frame.select("lang", "spaced_templates").iter_rows()) == {"zh": 1, "en": 0}
    (warning,) = (note for note in table.notes if note.startswith("warning"))
    assert warning.startswith("warning: zh: white space stands beside [X] or [Y] in 1 of the templates")
    assert "'[X] 的首都是 [Y]'" in warning


def test_demo_pairs_every_fact_and_has_one_template_with_text_after_the_answer(demo: pl.DataFrame) -> None:
    counts = usability(demo)
    assert counts["unpaired"].sum() == 0
    assert counts["several_answers"].sum() == 0
    assert set(counts["templates"]) == {7}
    assert set(counts["decoder_templates"]) == {6}


def test_forty_four_thousand_tuples_in_two_languages_load_within_three_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    for lang in ("en", "zh-hans"):
        for kind in ("tuples", "patterns"):
            (folder / kind / lang).mkdir(parents=True)
        for relation in range(22):
            patterns = "".join(f'{{"pattern": "wording {i} of [X] is [Y]"}}\n' for i in range(8))
            (folder / "patterns" / lang / f"R{relation}.jsonl").write_text(patterns)
            rows = (
                f'{{"sub_uri": "Q{i}", "obj_uri": "Q{i % 90}", "obj_label": "{lang} {i % 90}", '
                f'"sub_label": "{lang} subject {i}", "lineid": {i}}}\n'
                for i in range(1000)
            )
            (folder / "tuples" / lang / f"R{relation}.jsonl").write_text("".join(rows))
    start = time.process_time()
    frame = load(f"mpararel:{folder}").frame
    # CPU time on up to two threads; the claim is about the clock, which other work on the machine would disturb.
    assert time.process_time() - start < 2 * 3
    assert frame.height == 44_000 * 8
