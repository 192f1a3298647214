"""Judging a list of neurons: on which facts, against what, and with which verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import knscope
from knscope.analysis.judge import measure as judge_measure
from knscope.analysis.judge import table as judge_table
from knscope.analysis.judge.choose import chosen
from knscope.analysis.prompts.encode import Query
from knscope.analysis.statistics.bootstrap import Interval
from knscope.store.errors import UserError
from knscope.tui.cli import run_app
from tests.analysis.runs import inline_job

UP, FLAT, NONE = Interval(0.2, 0.1, 0.3), Interval(0.0, -0.1, 0.1), Interval(0.2, None, None)


def row(fact: str, kind: str, before: float, after: float, random: list[float]) -> dict:
    return {
        "fact": fact,
        "lang": "en",
        "subject": fact,
        "kind": kind,
        "before": before,
        "after": after,
        "random": random,
    }


def test_table_means_the_relative_drops_of_the_set_and_of_each_random_set() -> None:
    rng = np.random.default_rng(0)
    rows = [row(f"f{i}", "own", 0.5, 0.5 * a, [0.5 * b, 0.5 * c]) for i, (a, b, c) in enumerate(rng.random((8, 3)))]
    rows += [row(f"g{i}", "same relation", 0.4, 0.4 * a, [0.4, 0.4]) for i, a in enumerate(rng.random(7))]
    document = {"model": "m", "neurons": 3, "rows": rows, "asked": 20, "unusable": 2, "unknown": 3}
    own, same = judge_table.build(document).frame.iter_rows(named=True)
    drop = [1 - one["after"] / one["before"] for one in rows[:8]]
    random = [[1 - p / one["before"] for p in one["random"]] for one in rows[:8]]
    means = [float(np.mean([one[draw] for one in random])) for draw in range(2)]
    assert own["drop"] == pytest.approx(np.mean(drop)) and own["random"] == pytest.approx(np.mean(means))
    assert own["above_random"] == pytest.approx(np.mean(drop) - np.mean(means))
    assert own["p_random"] == (1 + sum(mean >= np.mean(drop) for mean in means)) / 3
    assert own["above_random_low"] < own["above_random"] < own["above_random_high"]
    assert same["own_above"] == pytest.approx(own["above_random"] - same["above_random"])
    assert own["verdict"] and same["verdict"] is None


@pytest.mark.parametrize(
    ("above", "beyond", "expected"),
    [
        (UP, {}, "better than random"),
        (FLAT, {}, "no better than random"),
        (NONE, {}, "undecided"),
        (UP, {"same relation": UP, "other relations": UP}, "specific"),
        (UP, {"same relation": FLAT, "other relations": UP}, "of the relation"),
        (UP, {"same relation": FLAT, "other relations": FLAT}, "generic"),
        (UP, {"same relation": NONE, "other relations": UP}, "undecided"),
        (FLAT, {"same relation": UP, "other relations": UP}, "no better than random"),
    ],
)
def test_verdict_follows_the_intervals(above: Interval, beyond: Mapping[str, Interval], expected: str) -> None:
    assert judge_table.verdict(above, beyond) == expected


def test_a_verdict_that_a_file_brings_is_put_beside_the_one_that_is_found() -> None:
    found = {"verdict": "specific", "question": {"data": "abc", "own": ["a"], "seed": 0}}
    for before, said in (
        (found, "the file says the same, of the same facts and draws"),
        (found | {"verdict": "generic"}, "the file says generic, of the same facts and draws"),
        (found | {"question": {"data": "other"}}, "the file says specific, of other facts or with other draws"),
    ):
        assert judge_table.beside(before, found) == said


def test_other_facts_share_neither_subject_nor_answer_with_the_own_ones() -> None:
    def query(fact: str, relation: str, subject: str, answer: str, template: str = "[X] [Y]") -> Query:
        return Query(fact, relation, "en", template, subject, answer)

    rows = [
        query("a", "P1", "kenya", "nairobi"), query("a", "P1", "kenya", "nairobi", "[X] is [Y]"),
        query("b", "P1", "peru", "lima"), query("same answer", "P1", "old kenya", "nairobi"),
        query("c", "P2", "peru", "america"), query("same subject", "P2", "Kenya", "africa"), query("same subject 2", "P2", "kenya", "x"),
    ]  # fmt: skip
    found = {one.query.fact: one.kind for one in chosen(rows, ["a"], 9, 0)}
    assert found.pop("same subject", "other relations") == "other relations"  # names differ in case
    assert found == {"a": "own", "b": "same relation", "c": "other relations"}
    assert [one.query.template for one in chosen(rows, ["a"], 0, 0)] == ["[X] [Y]"]
    assert {one.kind for one in chosen(rows, [], 9, 0)} == {"own"}
    with pytest.raises(UserError, match="--fact nope is not in the data"):
        chosen(rows, ["nope"], 9, 0)


def test_judge_measures_the_set_and_random_ones_alike_wherever_it_is_run(
    tiny_models: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = knscope.load(str(tiny_models["decoder"]), device="cpu")
    subjects = ("france", "germany", "spain", "paris", "berlin", "a")
    said = {one: model.ask(f"the capital of {one} is", 1)["answer"][0] for one in subjects}
    data, place = tmp_path / "facts.csv", tmp_path / "set.json"
    lines = [f"{one},P36,en,the capital of [X] is [Y],{one},{answer}" for one, answer in said.items()]
    data.write_text("\n".join(["fact_id,relation,lang,template,subject,said", *lines]) + "\n")
    neurons = model.attribute("the capital of france is", said["france"], method="bkn+nodes=4").top(10)
    neurons.save(place)
    task = {
        "model": str(tiny_models["decoder"]), "neurons": neurons.neurons, "made_for": neurons.model, "data": str(data),
        "own": [], "langs": [], "relations": [], "columns": ["object=said"], "draws": 3, "device": "cpu",
    }  # fmt: skip
    document = judge_measure.measure(judge_measure.Task.from_json(json.dumps(task)), lambda *_: None)
    assert len(document["rows"]) == 6 and document["unknown"] == document["unusable"] == 0
    for one in document["rows"]:
        edit = model.ablate(neurons)
        expected = model.predict(f"the capital of {one['fact']} is", said[one["fact"]], edit=edit)
        assert one["after"] == pytest.approx(expected.p, rel=1e-6) and len(one["random"]) == 3
    asked = ["judge", str(place), str(tiny_models["decoder"]), "--data", str(data), "--draws", "3", "--json"]
    asked += ["--column", "object=said"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sent = elsewhere / "judged.safetensors"
    assert run_app([*asked, "--device", "cpu", "--save", str(sent)]) == 0
    [table] = json.loads(capsys.readouterr().out)["tables"]
    expected_rows = judge_table.build(document).frame.to_dicts()
    assert table["rows"][0]["verdict"] == expected_rows[0]["verdict"]
    assert table["rows"][0]["drop"] == pytest.approx(expected_rows[0]["drop"])
    moved = shutil.copytree(tiny_models["decoder"], elsewhere / "another-place")
    shutil.copy(data, elsewhere / "copied.csv")
    asked_there = [
        "judge",
        str(sent),
        str(moved),
        "--data",
        str(elsewhere / "copied.csv"),
        *asked[5:],
        "--device",
        "cpu",
    ]
    assert run_app(asked_there) == 0
    [there] = json.loads(capsys.readouterr().out)["tables"]
    assert there["rows"] == table["rows"]
    assert there["notes"][0] == "the file says the same, of the same facts and draws"
    judged = knscope.NeuronSet.load(sent)
    assert judged.neurons == neurons.neurons and judged.model == neurons.model
    assert judged.about["verdict"]["verdict"] == table["rows"][0]["verdict"]
    monkeypatch.setattr("knscope.tui.commands.common.child", inline_job.child)
    assert run_app([*asked[:2], str(tiny_models["encoder"]), *asked[3:]]) == 2
    assert "these neurons are of" in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["message"]
