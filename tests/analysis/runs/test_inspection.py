"""What is said of a model and some facts before anything is computed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from knscope.analysis.datasets import check_table
from knscope.analysis.runs import inspection
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import load_facts
from knscope.analysis.runs.inspection import check_data
from knscope.analysis.statistics.table import Table
from knscope.tui.printing.writing import content

ROWS = (
    "1,P36,en,the capital of [X] is [Y],france,paris",
    "1,P36,en,[Y] is the capital of [X],france,paris",
    "1,P36,fr,la capitale de [X] est [Y],france,paris",
    "2,P36,en,the capital of [X] is [Y],germany,berlin",
    "2,P36,fr,[Y] est la capitale de [X],germany,berlin",
    "3,P36,en,the capital of [X] is [Y],spain,Atlantis",
    "3,P36,fr,la capitale de [X] est [Y],spain,madrid",
    f"4,P36,en,{'the ' * 50}capital of [X] is [Y],germany,paris",
)


@pytest.fixture(scope="module")
def reports(tiny_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Any]]:
    data = tmp_path_factory.mktemp("check") / "facts.csv"
    data.write_text("fact_id,relation,lang,template,subject,object\n" + "\n".join(ROWS) + "\n", encoding="utf-8")
    return {
        kind: check_data(RunConfig((ModelSource(str(folder)),), str(data), facts=99))
        for kind, folder in tiny_models.items()
    }


def counts(report: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    names = ("facts", "usable", "paired", "prompts", "usable_prompts")
    return {row["lang"]: tuple(row[name] for name in names) for row in report["table"]}


def reasons(report: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(row["lang"], row["reason"]): (row["prompts"], row["facts"]) for row in report["reasons"]}


def test_facts_a_model_can_use_are_counted_by_language_with_the_reasons_for_the_others(
    reports: Mapping[str, dict[str, Any]],
) -> None:
    assert counts(reports["encoder"]) == {"en": (4, 2, 2, 5, 3), "fr": (3, 3, 2, 3, 3)}
    assert reasons(reports["encoder"]) == {
        ("en", "unknown-answer"): (1, 1),
        ("en", "too-long"): (1, 1),
        ("fr", "no-pair"): (1, 1),
    }


def test_a_decoder_cannot_use_text_after_the_answer_and_loses_facts_that_have_no_other_prompt(
    reports: Mapping[str, dict[str, Any]],
) -> None:
    assert counts(reports["decoder"]) == {"en": (4, 2, 1, 5, 2), "fr": (3, 2, 1, 3, 2)}
    found = reasons(reports["decoder"])
    assert found["en", "answer-not-last"] == (1, 0) and found["fr", "answer-not-last"] == (1, 1)
    assert found["en", "no-pair"] == (1, 1) and found["fr", "no-pair"] == (1, 1)


def test_words_are_counted_by_language_with_those_that_have_no_path(reports: Mapping[str, dict[str, Any]]) -> None:
    assert reports["decoder"]["words"] == [
        {"lang": "en", "usable_prompts": 2, "words": 10, "words_without_path": 0},
        {"lang": "fr", "usable_prompts": 2, "words": 10, "words_without_path": 0},
    ]
    assert "words_without_path" in check_table.of_model(reports["decoder"])[1].frame.columns


def test_a_known_fact_is_one_the_model_says_on_some_prompt(reports: Mapping[str, dict[str, Any]]) -> None:
    for report in reports.values():
        for row in report["table"]:
            assert 0 <= row["known"] <= row["usable"] and row["known"] <= row["known_prompts"]


def test_known_prompts_are_facts_in_the_projects_own_format(
    tiny_models: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of facts known in every language, or in one."""
    data = tmp_path / "facts.csv"
    data.write_text("fact_id,relation,lang,template,subject,object\n" + "\n".join(ROWS) + "\n", encoding="utf-8")
    config = RunConfig((ModelSource(str(tiny_models["encoder"])),), str(data))

    def answered(engine: Any, usable: Any, progress: Any) -> list[Any]:
        return [one.query for one in usable if (one.query.fact, one.query.lang) != ("2", "fr")]

    monkeypatch.setattr(inspection, "_known", answered)
    every, some = (check_data(replace(config, known=known))["known"] for known in ("every", "any"))
    assert [(row["fact_id"], row["lang"]) for row in every] == [("1", "en"), ("1", "en"), ("1", "fr")]
    assert [(row["fact_id"], row["lang"]) for row in some] == [
        ("1", "en"),
        ("1", "en"),
        ("1", "fr"),
        ("2", "en"),
        ("3", "fr"),
    ]
    again = tmp_path / "known.csv"
    again.write_bytes(content([Table("known", "known", pl.DataFrame(some))], "csv"))
    assert [query.template for query in load_facts(replace(config, data=str(again))).rows] == [
        row["template"] for row in some
    ]


def test_progress_of_a_check_reaches_all_prompts(tiny_models: Mapping[str, Path], tiny_facts: Path) -> None:
    seen: list[tuple[int, int]] = []
    config = RunConfig((ModelSource(str(tiny_models["decoder"])),), str(tiny_facts))
    report = check_data(config, lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] == sum(row["usable_prompts"] for row in report["table"])
