"""What a run stores of the neurons' output vectors, and the tables made of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from knscope.analysis.engine.models import load_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.neurons import activations, choose, notes, table
from knscope.analysis.neurons.measure import promoted
from knscope.analysis.neurons.wiring import wired
from knscope.analysis.prompts.encode import encode
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.stored.facts import stored_facts
from knscope.store import compaction, runs
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.analysis.runs.inline_job import execute


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    place = tmp_path_factory.mktemp("neurons") / "a.knstore"
    models = (ModelSource(str(tiny_models["decoder"])),)
    what = ("attribution", "dkn", "neurons")
    execute(place, RunConfig(models, str(tiny_facts), facts=2, templates="1", engine="inline", what=what))
    return place


def view_of(reader: Reader) -> View:
    (model,) = reader.models()
    return View(model, "amig", tuple(reader.langs(model)))


def test_a_run_stores_what_every_neuron_promotes_once(place: Path, tiny_models: Mapping[str, Path]) -> None:
    engine = Engine(load_model(tiny_models["decoder"]))
    with Reader(place) as reader:
        stored = reader.sql("FROM promoted JOIN vocabulary USING (key)").sort("layer", "neuron")
    assert stored.height == engine.loaded.n_neurons
    for layer in range(len(engine.loaded.sites)):
        (found,) = promoted(engine, layer)
        rows = stored.filter(pl.col("layer") == layer)
        np.testing.assert_allclose(np.array(rows["promotes_by"].to_list()), found.promotes_by, rtol=1e-5)
        np.testing.assert_allclose(rows["seen"].to_numpy(), found.seen, rtol=1e-5)
        best = [engine.loaded.tokenizer.decode([token]) for token in found.promotes[:, 0]]
        assert [tokens[0].strip() for tokens in rows["promotes"]] == [text.strip() for text in best]


def test_the_list_of_neurons_shows_what_each_promotes(place: Path) -> None:
    with Reader(place) as reader:
        view = view_of(reader)
        listed = table.neurons(reader, view)
        stored = reader.sql("SELECT layer, neuron, promotes FROM promoted JOIN vocabulary USING (key)")
        expected = reader.kn(view).select("layer", "neuron").unique().join(stored, on=("layer", "neuron"))
        assert listed.frame.height == expected.height > 0
        both = listed.frame.join(expected, on=("layer", "neuron"))
        assert both["promotes"].to_list() == both["promotes_right"].to_list()
        first = listed.frame.row(0, named=True)
        serves, company, writes, *_ = table.neuron(reader, view, first["layer"], first["neuron"])
        assert writes.frame["promotes"].to_list() == first["promotes"]
        assert serves.frame["fact"].n_unique() == first["facts"]
        kn = reader.kn(view).select("fact", "lang", "layer", "neuron").rows()
        mine = {(fact, lang) for fact, lang, *address in kn if address == [first["layer"], first["neuron"]]}
        beside = Counter(tuple(address) for fact, lang, *address in kn if (fact, lang) in mine)
        del beside[first["layer"], first["neuron"]]
        one = table.neurons(reader, view.with_(facts=(next(fact for fact, *_ in mine),))).frame
        assert one.height < listed.frame.height, "those of one fact, each with all the facts that it serves"
        counts = ["layer", "neuron", "facts", "other_relation"]
        assert one.select(counts).join(listed.frame.select(counts), on=counts, how="anti", nulls_equal=True).is_empty()
        found = {(row["layer"], row["neuron"]): row["together"] for row in company.frame.iter_rows(named=True)}
        assert list(found.values()) == [count for _, count in beside.most_common(20)]
        assert all(beside[address] == count for address, count in found.items())


def test_activations_are_stored_of_neurons_that_matter_on_every_query(
    place: Path, tiny_models: Mapping[str, Path]
) -> None:
    engine = Engine(load_model(tiny_models["decoder"]))
    with Reader(place) as reader:
        view = view_of(reader)
        score = reader.sql("SELECT DISTINCT layer, neuron FROM score WHERE rel >= 0.1").sort("layer", "neuron").rows()
        flat = choose.chosen(reader, view.model)
        layers, places = reader.addresses(view.model).split(flat)
        assert list(zip(layers.tolist(), places.tolist(), strict=True)) == score
        queries = {query.id: query for query in stored_facts(reader, view.model).queries}
        found = activations.activations(reader, view.with_(known=False), *score[3]).frame
        literal = {one: engine.activations(encode(engine.loaded, query))[0, flat[3]] for one, query in queries.items()}
        assert dict(found.select("query", "activation").iter_rows()) == pytest.approx(literal, rel=1e-4, abs=1e-6)
        assert found["activation"].is_sorted(descending=True)
        assert choose.unread(reader, view.model, queries) == {}
        every = table.neuron(reader, view.with_(known=False), *score[3])
        by = {one.name: one.frame for one in every}
        assert by["fires"].filter(by="lang")["queries"].sum() == found.height == by["extremes"].height
        assert by["kinds"].select("layer", "neuron").rows() in ([], [score[3]])


def test_a_neuron_with_a_note_is_read_on_the_queries_by_the_next_run_and_no_other_is_read_again(
    place: Path, tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(place, tmp_path / "mine.knstore"))
    with Reader(mine) as reader:
        view, flat = view_of(reader), choose.chosen(reader, view_of(reader).model)
        new = next(one for one in range(1, 99) if one not in flat)
        before = reader.sql("FROM activation").height
        (layer,), (place_in,) = reader.addresses(view.model).split([new])
    notes.write(mine, view.model, int(layer), int(place_in), notes.Note("mine"))
    with Reader(mine) as reader:
        queries = [query.id for query in stored_facts(reader, view.model).queries]
        assert choose.unread(reader, view.model, queries) == {(new,): queries}
    models = (ModelSource(str(tiny_models["decoder"])),)
    execute(mine, RunConfig(models, str(tiny_facts), facts=2, templates="1", engine="inline", what=("neurons",)))
    with Reader(mine) as reader:
        assert reader.sql("FROM activation").height == before + len(queries)
        found = activations.activations(reader, view.with_(known=False), int(layer), int(place_in)).frame
        assert found.height == len(queries)


def test_a_run_stores_what_neurons_read_and_lie_near_to(place: Path, tiny_models: Mapping[str, Path]) -> None:
    engine = Engine(load_model(tiny_models["decoder"]))
    with Reader(place) as reader:
        view = view_of(reader)
        flat = choose.chosen(reader, view.model)
        addresses = reader.addresses(view.model)
        stored = {(row["layer"], row["neuron"]): row for row in reader.sql("FROM wiring").iter_rows(named=True)}
        assert len(stored) == len(flat)
        for found in wired(engine, flat):
            assert found.reads is not None
            for row, (layer, neuron) in enumerate(zip(*addresses.split(found.neurons), strict=True)):
                mine = stored[int(layer), int(neuron)]
                np.testing.assert_allclose(mine["reads_by"], found.reads.by[row], rtol=1e-5)
                np.testing.assert_allclose(mine["near_by"], found.near_by[row], atol=1e-5)
                assert addresses.flat(mine["near_layers"], mine["near_neurons"]).tolist() == found.near[row].tolist()
        _, _, _, reads, *_ = table.neuron(reader, view, *next(iter(stored)))
        assert reads.frame["near"][0].count(":") == 1 and reads.frame.height == 10


def test_shares_of_other_facts_by_kind_equal_counting_every_pair_of_facts(place: Path) -> None:
    with Reader(place) as reader:
        view = view_of(reader).with_(known=False)
        kn = reader.kn(view)
        facts = reader.sql("SELECT DISTINCT fact, lang, relation, object FROM query").rows()
        listed = table.neurons(reader, view).frame
    serves: dict[tuple[int, int], set[tuple[str, str]]] = {}
    for row in kn.iter_rows(named=True):
        serves.setdefault((row["layer"], row["neuron"]), set()).add((row["fact"], row["lang"]))
    for row in listed.iter_rows(named=True):
        mine, counts = serves[row["layer"], row["neuron"]], {name: [0, 0] for name in ("answer", "relation", "other")}
        for fact, lang, relation, answer in facts:
            for other, other_lang, other_relation, other_answer in facts:
                if (fact, lang) in mine and lang == other_lang and fact != other:
                    kind = "other" if relation != other_relation else "answer" if answer == other_answer else "relation"
                    counts[kind][0] += (other, lang) in mine
                    counts[kind][1] += 1
        expected = [hits / of if of else None for hits, of in counts.values()]
        assert [row["same_answer"], row["same_relation"], row["other_relation"]] == pytest.approx(expected)
    assert listed["n_langs"].max() == max(len({lang for _, lang in some}) for some in serves.values())


def test_neurons_that_promote_a_token_are_found_in_the_whole_model(place: Path) -> None:
    with Reader(place) as reader:
        view = view_of(reader)
        stored = reader.sql("SELECT promotes FROM promoted")["promotes"]
        token = stored[0][2].strip()
        found = table.neurons(reader, view, promotes=f" {token} ").frame
        assert found.height == sum(token in [text.strip() for text in tokens] for tokens in stored) > 0
        assert found["by"].is_sorted(descending=True)
        assert all(row["promotes"][row["rank"] - 1].strip() == token for row in found.iter_rows(named=True))
        assert table.neurons(reader, view, promotes="it's not a token").frame.is_empty()


def test_a_neuron_that_the_model_lacks_is_an_error_that_says_what_it_has(place: Path) -> None:
    with Reader(place) as reader:
        view = view_of(reader)
        with pytest.raises(UserError, match=r"no neuron 0:999999: layer 0 has [\d,]+ neurons"):
            table.neuron(reader, view, 0, 999_999)
        with pytest.raises(UserError, match="it has no layer 99"):
            table.neuron(reader, view, 99, 0)


@pytest.mark.parametrize("text", ["", "12", "12:", "a:b", "-1:3", "1:2:3", "٣:١x"])
def test_parse_address_refuses_what_is_not_layer_and_neuron(text: str) -> None:
    with pytest.raises(UserError, match="write layer:neuron"):
        table.parse_address(text)
    assert table.parse_address(" 12:345 ") == (12, 345)


def test_a_note_is_kept_changed_found_by_its_words_and_taken_back(place: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(place, tmp_path / "mine.knstore"))
    with Reader(mine) as reader:
        view = view_of(reader)
        served = table.neurons(reader, view).frame.row(0, named=True)
    one = served["layer"], served["neuron"]
    notes.write(mine, view.model, *one, notes.Note("capital → city", ("capitals", "check"), "strongest for all"))
    notes.write(mine, view.model, 0, 1, notes.Note(tags=notes.tags_of(" check,, check , later")))
    with Reader(mine) as reader:
        assert notes.read(reader, view.model, *one).name == "capital → city"
        assert table.neurons(reader, view).frame.row(0, named=True)["tags"] == ["capitals", "check"]
        assert table.neuron(reader, view, *one)[0].notes == (
            "capital → city",
            "tags: capitals, check",
            "strongest for all",
        )
        assert notes.notes(reader, view.model, ["CHECK", "city"]).frame.select("layer", "neuron").rows() == [one]
        assert notes.notes(reader, view.model, ["check"]).frame.height == 2
        assert notes.read(reader, view.model, 0, 1).tags == ("check", "later")
    notes.write(mine, view.model, *one, notes.Note())
    compaction.compact(mine)
    with Reader(mine) as reader:
        assert notes.read(reader, view.model, *one) == notes.Note()
        assert notes.notes(reader, view.model).frame.select("layer", "neuron").rows() == [(0, 1)]
        assert not reader.damaged
    assert [record.run for record in runs.read_runs(mine)] == [record.run for record in runs.read_runs(place)]


def test_the_neurons_that_carry_a_tag_are_a_set_that_travels_as_a_file(place: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(place, tmp_path / "mine.knstore"))
    with Reader(mine) as reader:
        model = view_of(reader).model
    for neuron, tags in ((7, ("capitals",)), (3, ("capitals", "check")), (5, ("check",))):
        notes.write(mine, model, 0, neuron, notes.Note(tags=tags))
    with Reader(mine) as reader:
        assert notes.lists(reader, model) == {"capitals": 2, "check": 2}
        found = notes.set_of(reader, model, "capitals")
        assert list(found) == [(0, 3), (0, 7)] and found.is_of(model)
        again = notes.set_of(reader, model, str(found.save(tmp_path / "capitals.json")))
        assert list(again) == list(found) and again.about["name"] == "capitals"
        with pytest.raises(UserError, match=r"'towns' is no list of neurons.*are capitals, check"):
            notes.set_of(reader, model, "towns")


def test_a_note_that_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match="10,000 characters"):
        notes.Note(text="x" * 10_001)
