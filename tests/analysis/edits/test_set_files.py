"""A set of neurons out of a file: edited in every fact of a store, beside random neurons of its size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import knscope
from knscope import NeuronSet
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import lookup as edits_lookup
from knscope.analysis.neurons import notes
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import absolute_set, check_store
from knscope.store.errors import UserError
from knscope.store.view import View
from knscope.tui.cli import run_app
from knscope.tui.workbench import whatif
from tests.analysis.runs.inline_job import child, execute


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    """A store with the attributions of the tiny decoder, and beside it `set.json`: what `knscope kn` exports of one fact."""
    place = tmp_path_factory.mktemp("sets") / "a.knstore"
    execute(place, config(tiny_models, tiny_facts, what=("attribution",)))
    with knscope.open(place) as reader:
        fact = reader.table("query")["fact"].min()
    asked = ["kn", str(place), "--all", "--fact", str(fact), "--tau", "0.4", "-o", str(place.parent / "set.json")]
    assert run_app(asked) == 0
    return place


def config(tiny_models: Mapping[str, Path], tiny_facts: Path, **options) -> RunConfig:
    source = ModelSource(str(tiny_models["decoder"]))
    given = {"templates": "1", "engine": "inline", "methods": ("bkn+nodes=4",), **options}
    return RunConfig((source,), str(tiny_facts), **given)


def table(capsys: pytest.CaptureFixture[str], *asked: str) -> list[dict]:
    assert run_app([*asked, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["tables"][0]["rows"]


def test_an_exported_set_says_of_which_model_method_thresholds_languages_and_fact_it_is(place: Path) -> None:
    found = NeuronSet.load(place.parent / "set.json")
    with knscope.open(place) as reader:
        (model,) = reader.models()
        fact = reader.table("query")["fact"].min()
        view = View(model, "bkn+nodes=4", ("en", "fr"), taus=(("en", 0.4), ("fr", 0.4)), facts=(fact,))
        kn = reader.kn(view)
    assert found.model == model and set(found) == set(kn.select("layer", "neuron").iter_rows())
    assert found.about == {
        "method": view.method, "tau": {"en": 0.4, "fr": 0.4}, "template_share": 0.5, "langs": ["en", "fr"], "facts": [fact],
    }  # fmt: skip
    best = {(layer, neuron): rel for layer, neuron, rel in kn.sort("rel").select("layer", "neuron", "rel").iter_rows()}
    assert found.scores == tuple(best[neuron] for neuron in found) == tuple(sorted(best.values(), reverse=True))
    for ending in ("json", "safetensors"):
        assert NeuronSet.load(found.save(place.parent / f"again.{ending}")) == found


def test_edits_of_a_set_are_what_the_model_answers_with_it_ablated_and_doubled(
    place: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.parent / "set.json"
    with knscope.open(place) as reader:
        ids = sorted(set(reader.table("query")["fact"]))
    asked = ("edits", str(place), "--all", "--fact", ids[0], "--fact", ids[-1], "--langs", "en", "--set", str(file))
    assert table(capsys, *asked)[0]["facts"] == 0, "nothing is computed yet"
    execute(place, config(tiny_models, tiny_facts, what=("edit",), sets=(str(file),), fact_ids=(ids[0], ids[-1])))
    rows = {row["edited"]: row for row in table(capsys, *asked)}
    assert set(rows) == {"set", "random, equal size"} and {row["table"] for row in rows.values()} == {"set"}
    assert rows["set"]["facts"] == 2 and rows["set"]["missing"] == 0
    assert rows["set"]["neurons"] == rows["random, equal size"]["neurons"] == len(NeuronSet.load(file))

    model, neurons = knscope.load(str(tiny_models["decoder"]), device="cpu"), NeuronSet.load(file)
    with knscope.open(place) as reader:
        view = View(model.label, "bkn+nodes=4", ("en",), facts=(ids[0], ids[-1]))
        edits = edits_choose.wanted_of_set(reader, view, "set", neurons)
        stored = edits_lookup.stored(reader, model.label, per_token=False)
        names = edits_lookup.set_ids(reader, model.label, edits)
    mine = [edit for edit in edits if edit.name == "set"]
    assert [edit.fact for edit in mine] == [ids[0], ids[-1]]
    for edit in mine:
        for query in edit.reads:
            prompt = query.template.replace("[X]", query.subject)
            for operation, scale in (("suppress", 0.0), ("enhance", 2.0)):
                read = stored[names[edit.neurons], query.id, operation]
                expected = model.predict(prompt, query.object, edit=model.edit(neurons, scale))
                assert read.after == pytest.approx(expected.p, rel=1e-5)
                assert read.rank_after == expected.rank


def test_edits_and_runs_take_a_list_of_the_store_by_its_name(
    place: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(place, tmp_path / "mine.knstore"))
    with knscope.open(mine) as reader:
        (model,) = reader.models()
        fact = reader.table("query")["fact"].min()
    for neuron in (1, 3):
        notes.write(mine, model, 0, neuron, notes.Note(tags=("capitals",)))
    asked = ("edits", str(mine), "--all", "--fact", fact, "--langs", "en", "--set")
    assert table(capsys, *asked, "capitals")[0]["facts"] == 0, "nothing is computed yet"
    with pytest.raises(
        UserError, match=r"--set towns: no file of that name, and no list of .*; its lists are capitals"
    ):
        check_store(mine, config(tiny_models, tiny_facts, what=("edit",), sets=("towns",)), "")
    wanted = config(tiny_models, tiny_facts, what=("edit",), sets=("capitals",), fact_ids=(fact,))
    check_store(mine, wanted, "")
    execute(mine, wanted)
    file = NeuronSet.of([(0, 1), (0, 3)], model).save(tmp_path / "capitals.json")
    by_name, by_file = table(capsys, *asked, "capitals"), table(capsys, *asked, str(file))
    assert by_name[0]["facts"] == 1 and by_name[0]["neurons"] == 2 and by_name == by_file
    assert run_app([*asked, "towns"]) == 2
    assert "'towns' is no list of neurons" in " ".join(capsys.readouterr().err.split())


def test_a_run_edits_the_facts_that_it_names_as_the_tables_of_all_facts_show_them(
    place: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path
) -> None:
    mine, edited = Path(shutil.copytree(place, tmp_path / "mine.knstore")), 'SELECT DISTINCT query, "set" FROM edit'
    with knscope.open(mine) as reader:
        fact, before = reader.table("query")["fact"].min(), reader.sql(edited).rows()
    execute(mine, config(tiny_models, tiny_facts, what=("edit",), fact_ids=(fact,)))
    with knscope.open(mine) as reader:
        (model,) = reader.models()
        edits = edits_choose.wanted(reader, View(model, "bkn+nodes=4", ("en", "fr")))
        own = {(query.id, edit.neurons) for edit in edits if edit.fact == fact for query in edit.reads}
        names = edits_lookup.set_ids(reader, model, edits)
        stored = reader.sql(edited).rows()
    assert len({edit.fact for edit in edits}) > 1
    assert set(stored) - set(before) == {(query, names[neurons]) for query, neurons in own}


def test_a_run_keeps_the_name_of_a_list_and_makes_the_path_of_a_file_absolute(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("[[0, 1]]", encoding="utf-8")
    assert [absolute_set(one, tmp_path) for one in ("capitals", "v1.2", "gone.json", "plain")] == [
        "capitals", "v1.2", str(tmp_path.resolve() / "gone.json"), str(tmp_path.resolve() / "plain"),
    ]  # fmt: skip


def test_a_set_without_facts_named_is_edited_in_those_that_its_file_names(place: Path) -> None:
    found = NeuronSet.load(place.parent / "set.json")
    with knscope.open(place) as reader:
        (model,) = reader.models()
        view = View(model, "bkn+nodes=4", ("en", "fr"))
        edits = edits_choose.wanted_of_set(reader, view, "x", found)
        assert {edit.fact for edit in edits} == set(found.about["facts"])
        bare = NeuronSet.of(list(found))
        everywhere = edits_choose.wanted_of_set(reader, view, "x", bare)
        assert {edit.fact for edit in everywhere} == set(reader.table("query")["fact"])
        with pytest.raises(UserError, match="these neurons are of other@1"):
            edits_choose.wanted_of_set(reader, view, "x", NeuronSet.of(list(found), "other@1"))
        with pytest.raises(UserError, match="has no neuron 99 in layer 0"):
            edits_choose.wanted_of_set(reader, view, "x", NeuronSet.of([(0, 99)]))


def test_what_if_takes_the_neurons_of_a_file_and_refuses_those_of_another_model(place: Path) -> None:
    file = place.parent / "set.json"
    found = NeuronSet.load(file)
    with knscope.open(place) as reader:
        (model,) = reader.models()
        view = View(model, "bkn+nodes=4", ("en", "fr"))
        (fact,) = found.about["facts"]
        asked = whatif.found_in_file(reader, view, fact, "en", str(file))
        assert asked.neurons == found.neurons and asked.name == f"the {len(found)} neurons of set.json"
        assert [one.query.fact for one in asked.readings][:2] == [fact, fact]
        other = NeuronSet.of([(0, 1)], "other@1").save(place.parent / "other.json")
        with pytest.raises(UserError, match="these neurons are of other@1"):
            whatif.found_in_file(reader, view, fact, "en", str(other))


def test_query_says_what_a_model_answers_with_a_set_scaled(
    place: Path,
    tiny_models: Mapping[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("knscope.tui.commands.common.child", child)
    source, file = str(tiny_models["decoder"]), place.parent / "set.json"
    prompt = "the capital of france is"
    asked = ["query", source, prompt, "--answer", "paris", "--device", "cpu", "--method", "activation", "--top", "3"]
    assert run_app([*asked, "--set", str(file), "--scale", "3", "--json"]) == 0
    edited = next(one for one in json.loads(capsys.readouterr().out)["tables"] if one["name"] == "edited")
    model, neurons = knscope.load(source, device="cpu"), NeuronSet.load(file)
    edit = model.edit(neurons, 3)
    assert [row["answer"] for row in edited["rows"]] == model.ask(prompt, 3, edit=edit)["answer"].to_list()
    before, after = model.predict(prompt, "paris"), model.predict(prompt, "paris", edit=edit)
    assert edited["notes"] == [f"paris: p {before.p:.4g} → {after.p:.4g}, rank {before.rank} → {after.rank}"]
    assert run_app([*asked, "--scale", "3"]) == 2
    assert "name one with --set" in " ".join(capsys.readouterr().err.split())


def test_a_run_refuses_a_set_that_it_cannot_edit_before_it_starts(
    place: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", str(place), "--model", str(tiny_models["decoder"]), "--data", str(tiny_facts)]
    before = sorted((place / "runs").iterdir())
    for given, why in (
        (["--set", str(place.parent / "set.json")], "add edit to --what"),
        (["--set", str(place.parent / "gone.json"), "--what", "edit"], "cannot be read"),
        (["--set", str(tiny_facts), "--what", "edit"], "is not a neuron set"),
    ):
        assert run_app([*asked, *given]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert sorted((place / "runs").iterdir()) == before
