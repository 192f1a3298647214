"""mLAMA, mParaRel and ParaRel as they are published become one frame."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from knscope.analysis.datasets import COLUMNS, Dataset, load
from knscope.store.errors import UserError


def reasons(dataset: Dataset) -> dict[tuple[str, str, str], int]:
    rows = dataset.report.select("relation", "lang", "reason", "count").iter_rows()
    return {(relation, lang, reason): count for relation, lang, reason, count in rows}


def test_mpararel_gives_every_fact_on_every_pattern_paired_by_line_id(mpararel: Path) -> None:
    frame = load(f"mpararel:{mpararel}").frame
    assert tuple(frame.columns[:6]) == COLUMNS
    spain = frame.filter(fact_id="P47-2")
    assert spain.select("lang", "template", "subject", "object").rows() == [
        ("en", "[X] borders [Y].", "Spain", "France"),
        ("en", "[Y] lies beside [X]", "Spain", "France"),
        ("zh-hans", "[X]的邻国是[Y]", "西班牙", "法国"),
        ("zh-hans", "[X]与[Y]接壤", "西班牙", "法国"),
    ]
    assert spain.select("subject_uri", "object_uri").unique().row(0) == ("Q29", "Q142")


def test_pairing_reports_a_line_id_that_names_another_fact_in_one_language(mpararel: Path) -> None:
    dataset = load(f"mpararel:{mpararel}")
    assert set(dataset.frame.filter(fact_id="P47-3")["lang"]) == {"en", "fr"}
    row = dataset.report.filter(reason="uri-mismatch").row(0, named=True)
    assert (row["lang"], row["count"], row["example"]) == ("zh-hans", 1, "zh-hans/P47.jsonl, line 3: 不丹 → 印度")


def test_every_row_left_out_is_in_the_report(mpararel: Path) -> None:
    assert reasons(load(f"mpararel:{mpararel}")) == {
        ("P47", "zh-hans", "uri-mismatch"): 1,
        ("P47", "en", "no-subject-slot"): 1,
        ("P36", "en", "no-template"): 1,
    }


def test_other_right_answers_of_a_subject_are_alternatives_in_every_language(mpararel: Path) -> None:
    frame = load(f"mpararel:{mpararel}").frame
    others = dict(
        frame.select("fact_id", "lang", "alternatives")
        .unique(["fact_id", "lang"])
        .select(pl.concat_str("fact_id", "lang", separator=" "), "alternatives")
        .iter_rows()
    )
    assert others["P47-0 en"] == ["Brazil"]
    assert others["P47-1 en"] == ["Chile"]
    # Only the English file says that Peru borders Brazil; Chinese has a name for Brazil from another fact.
    assert others["P47-0 zh-hans"] == ["巴西"]
    assert others["P47-2 en"] == []


def test_only_the_languages_and_relations_asked_for_are_read(mpararel: Path) -> None:
    (mpararel / "tuples" / "fr" / "P47.jsonl").write_text("broken", encoding="utf-8")
    dataset = load(f"mpararel:{mpararel}", langs=["en", "zh"], relations=["P47"])
    assert dataset.langs == ("en", "zh-hans")
    assert dataset.relations == ("P47",)


def test_mlama_takes_the_template_of_the_relation_from_the_languages_own_file(mlama: Path) -> None:
    frame = load(f"mlama:{mlama}").frame
    assert frame.filter(fact_id="P47-2").select("lang", "template", "object").rows() == [
        ("en", "[X] borders [Y] .", "France"),
        ("zh", "[X]的邻国是[Y]", "法国"),
    ]


def test_pararel_counts_facts_by_line_and_keeps_a_repeated_one_once(pararel: Path) -> None:
    dataset = load(f"pararel:{pararel}")
    assert dataset.frame.select("fact_id", "lang", "subject", "object").rows() == [
        ("P36-0", "en", "Peru", "Lima"),
        ("P36-1", "en", "Nepal", "Kathmandu"),
    ]
    assert reasons(dataset) == {("P36", "en", "duplicate-fact"): 1}


def test_dataset_hash_depends_on_content_and_not_on_location(mpararel: Path, tmp_path: Path) -> None:
    before = load(f"mpararel:{mpararel}").hash
    moved = mpararel.rename(tmp_path / "elsewhere")
    assert load(f"mpararel:{moved}").hash == before
    with (moved / "tuples" / "fr" / "P47.jsonl").open("a") as stream:
        stream.write('{"sub_label": "le Bhoutan", "obj_label": "Inde", "lineid": 9}\n')
    assert load(f"mpararel:{moved}").hash != before


def test_invalid_json_error_names_file_and_line(mpararel: Path) -> None:
    path = mpararel / "tuples" / "zh-hans" / "P47.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(":", "", 1)
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"zh-hans/P47\.jsonl, line 3: not valid JSON"):
        load(f"mpararel:{mpararel}")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("obj_label", "", "empty-answer"),
        ("obj_label", None, "empty-answer"),
        ("sub_label", "  ", "empty-subject"),
        ("sub_label", "Pe\x1b[2Jru", "control-character"),
        ("obj_label", "Chi\x9ble", "control-character"),
        ("lineid", None, "no-line-id"),
        ("lineid", 2.5, "not-text"),
        ("lineid", True, "not-text"),
        ("sub_label", ["Iran", "Persia"], "not-text"),
        ("sub_label", 5, "not-text"),
        ("sub_uri", {"en": "Q794"}, "not-text"),
        ("obj_label", False, "not-text"),
        ("obj_label", 1e21, "not-text"),
        ("obj_label", {"en": "Iraq"}, "not-text"),
        ("obj_label", ["Iraq", 5], "not-text"),
        ("obj_label", [["Iraq"]], "not-text"),
        ("obj_label", "\ud800", "not-text"),
        ("obj_label", [], "empty-answer"),
        ("obj_label", ["Iraq", "Chi\x9ble"], "control-character"),
        ("obj_uri", ["Q796", "Q797"], "not-text"),
        ("obj_uri", 796, "not-text"),
        ("lineid", 2, "duplicate-id"),
    ],
)
def test_single_unusable_facts_are_reported_and_the_rest_is_kept(
    mpararel: Path, field: str, value: object, reason: str
) -> None:
    record = {"sub_label": "Iran", "obj_label": "Iraq", "lineid": 9, "sub_uri": "Q794", "obj_uri": "Q796"}
    with (mpararel / "tuples" / "en" / "P47.jsonl").open("a") as stream:
        stream.write(json.dumps({**record, field: value}) + "\n")
    dataset = load(f"mpararel:{mpararel}")
    assert reasons(dataset)["P47", "en", reason] == 1
    if reason == "not-text":
        assert dataset.report.filter(reason=reason)["example"].item().startswith(f"en/P47.jsonl, line 5: {field} ")
    assert "Iran" not in dataset.frame["subject"]
    assert "Spain" in dataset.frame["subject"]


def test_a_list_of_right_answers_is_one_answer_with_the_others_as_alternatives(mpararel: Path) -> None:
    with (mpararel / "tuples" / "en" / "P47.jsonl").open("a") as stream:
        row = {"sub_label": "Iran", "obj_label": ["Iraq", "Turkey"], "sub_uri": "Q794", "obj_uri": ["Q796", "Q43"]}
        stream.write(json.dumps({**row, "lineid": 9}) + "\n")
        other = {"sub_label": "Iran", "obj_label": "Armenia", "sub_uri": "Q794", "obj_uri": "Q399", "lineid": 10}
        stream.write(json.dumps(other) + "\n")
    frame = load(f"mpararel:{mpararel}", langs=["en"]).frame.filter(subject="Iran").unique(maintain_order=True)
    found = {row["object"]: (row["object_uri"], row["alternatives"]) for row in frame.iter_rows(named=True)}
    assert found == {"Iraq": ("Q796", ["Armenia", "Turkey"]), "Armenia": ("Q399", ["Iraq", "Turkey"])}


def test_facts_without_a_line_id_are_paired_by_uuid(mlama: Path) -> None:
    for lang, subject, answer in (("en", "Iran", "Iraq"), ("zh", "伊朗", "伊拉克")):
        row = {
            "sub_label": subject,
            "obj_label": [answer],
            "sub_uri": "Q794",
            "obj_uri": ["Q796"],
            "uuid": "P47_ASIA_0",
        }
        (mlama / lang / "P47.jsonl").write_text(json.dumps(row) + "\n")
    frame = load(f"mlama:{mlama}").frame
    assert frame.select("fact_id", "lang", "object").rows() == [
        ("P47-P47_ASIA_0", "en", "Iraq"),
        ("P47-P47_ASIA_0", "zh", "伊拉克"),
    ]


@pytest.mark.parametrize("value", [["[X] and [Y]"], True, 3, {"en": "[X] and [Y]"}])
def test_a_template_that_is_no_text_is_reported(mpararel: Path, mlama: Path, pararel: Path, value: object) -> None:
    for path, record in (
        (mpararel / "patterns" / "en" / "P47.jsonl", {"pattern": value}),
        (mlama / "en" / "templates.jsonl", {"relation": "P47", "template": value}),
        (mlama / "zh" / "templates.jsonl", {"relation": value, "template": "[X]和[Y]"}),
        (pararel / "data" / "pattern_data" / "graphs_json" / "P36.jsonl", {"pattern": value}),
    ):
        path.write_text(path.read_text() + json.dumps(record) + "\n")
    for kind, folder, count in (("mpararel", mpararel, 1), ("mlama", mlama, 2), ("pararel", pararel, 1)):
        dataset = load(f"{kind}:{folder}")
        assert dataset.report.filter(reason="not-text")["count"].sum() == count
        assert dataset.frame["template"].str.contains_any(["[X] and", "[X]和", "true", "3"]).not_().all()


def test_a_published_folder_is_read_whatever_its_name(mlama: Path, mpararel: Path, tmp_path: Path) -> None:
    for name in ("got[1]", "all*", "is?", "{a,b}", "it's", "a:b"):
        for kind, folder in (("mlama", mlama), ("mpararel", mpararel)):
            copy = shutil.copytree(folder, tmp_path / name / kind)
            assert load(f"{kind}:{copy}").frame.equals(load(f"{kind}:{folder}").frame)


def test_templates_with_control_characters_are_reported(mpararel: Path) -> None:
    path = mpararel / "patterns" / "fr" / "P47.jsonl"
    path.write_text(path.read_text() + json.dumps({"pattern": "\x1b[2J[X] et [Y]"}) + "\n")
    dataset = load(f"mpararel:{mpararel}")
    assert reasons(dataset)["P47", "fr", "control-character"] == 1
    assert not dataset.frame["template"].str.contains("\x1b", literal=True).any()


def test_a_published_folder_in_another_layout_is_refused_with_what_is_needed(mpararel: Path, mlama: Path) -> None:
    with pytest.raises(UserError, match=r"tuples: no <language>/<relation>\.jsonl there"):
        load(f"mpararel:{mlama}")
    with pytest.raises(UserError, match=r"en/templates\.jsonl: no such file"):
        load(f"mlama:{mpararel / 'tuples'}")
    with pytest.raises(UserError, match="no folder trex_lms_vocab"):
        load(f"pararel:{mpararel}")
    with pytest.raises(UserError, match="no such directory"):
        load("mlama:nowhere")


def test_load_suggests_the_kind_of_a_directory(mpararel: Path, mlama: Path, pararel: Path) -> None:
    for folder, kind in ((mpararel, "mpararel"), (mlama, "mlama"), (pararel, "pararel")):
        with pytest.raises(UserError, match=f"is a directory; say what is in it: {kind}:"):
            load(str(folder))


def test_a_dataset_of_which_nothing_can_be_used_says_why(pararel: Path) -> None:
    patterns = pararel / "data" / "pattern_data" / "graphs_json" / "P36.jsonl"
    patterns.write_text('{"pattern": "The capital of [X]."}\n')
    with pytest.raises(UserError, match=r"no fact can be used .*no-answer-slot: graphs_json/P36\.jsonl, line 1"):
        load(f"pararel:{pararel}")
