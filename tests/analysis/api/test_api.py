"""The Python interface on tiny models, against literal passes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import knscope
from knscope import Model, NeuronSet
from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError, UnusableQuery
from knscope.analysis.prompts.encode import Query, encode
from knscope.store.errors import UserError

PROMPT = "the capital of france is"


@pytest.fixture(scope="module")
def decoder(tiny_models: Mapping[str, Path]) -> Model:
    return knscope.load(str(tiny_models["decoder"]), device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def encoder(tiny_models: Mapping[str, Path]) -> Model:
    return knscope.load(str(tiny_models["encoder"]), device="cpu", dtype="float64")


def hooked(model: Model, neurons: NeuronSet, scale: float, first: int):
    """Scale the neurons at every position from `first` on, in every forward pass."""
    handles = []
    for layer, block in enumerate(model.loaded.model.transformer.h):
        columns = [neuron for at, neuron in neurons if at == layer]

        def hook(_, args, columns=columns):
            x = args[0].clone()
            x[:, first:, columns] = x[:, first:, columns] * scale
            return (x,)

        handles.append(block.mlp.c_proj.register_forward_pre_hook(hook))
    return handles


def logits(model: Model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.loaded.model(torch.tensor([ids])).logits[0, -1]


def test_attribute_scores_a_free_prompt_as_the_same_fact_with_its_subject_named(decoder: Model) -> None:
    found = decoder.attribute(PROMPT, "paris")
    query = encode(decoder.loaded, Query("f", "r", "en", "the capital of [X] is [Y]", "france", "paris"))
    (expected,) = attribute(Engine(decoder.loaded), [query], parse_method("amig"))
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.answer.p == float(expected.prediction.p) and found.converged == 1.0
    best = found.frame.row(0, named=True)
    flat = int(found.addresses.flat(best["layer"], best["neuron"]))
    assert flat == int(np.argmax(expected.scores)) and best["rel"] == 1.0


def test_top_and_above_choose_by_score(decoder: Model) -> None:
    found = decoder.attribute(PROMPT, "paris", method="bkn+nodes=4")
    top = found.top(5)
    assert list(top) == list(found.frame.head(5).select("layer", "neuron").iter_rows()) and top.model == decoder.label
    assert top.about == {"method": found.method, "prompt": PROMPT, "answer": "paris", "top": 5}
    assert len(found.above(0.5)) == found.frame.filter(found.frame["rel"] > 0.5).height
    assert "<table>" in found._repr_html_() and "<table>" in top._repr_html_()


def test_ask_and_predict_under_an_edit_equal_a_hooked_forward(decoder: Model) -> None:
    neurons = NeuronSet.of([(0, 3), (1, 7), (1, 40)])
    ids = decoder.loaded.tokenizer(PROMPT)["input_ids"]
    for edit, scale in ((None, 1.0), (decoder.ablate(neurons), 0.0), (decoder.edit(neurons, 3), 3.0)):
        handles = hooked(decoder, neurons, scale, len(ids) - 1)
        p = logits(decoder, ids).softmax(-1)
        for handle in handles:
            handle.remove()
        paris = decoder.loaded.tokenizer.convert_tokens_to_ids("paris")
        answer = decoder.predict(PROMPT, "paris", edit=edit)
        assert answer.p == pytest.approx(float(p[paris]), rel=1e-9)
        assert answer.rank == 1 + int((p > p[paris]).sum())
        asked = decoder.ask(PROMPT, top=3, edit=edit)
        assert asked.height == 3 and asked["p"][0] <= float(p.max()) + 1e-12


def test_generate_under_an_edit_equals_a_literal_greedy_loop(decoder: Model) -> None:
    neurons = NeuronSet.of([(0, neuron) for neuron in range(0, 48, 2)])
    prompt = decoder.loaded.tokenizer(PROMPT)["input_ids"]
    for edit, scale in ((None, 1.0), (decoder.ablate(neurons), 0.0)):
        ids = list(prompt)
        for _ in range(4):
            handles = hooked(decoder, neurons, scale, len(prompt) - 1)
            ids.append(int(logits(decoder, ids).argmax()))
            for handle in handles:
                handle.remove()
            if ids[-1] == decoder.loaded.tokenizer.eos_token_id:
                break
        expected = decoder.loaded.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
        assert decoder.generate(PROMPT, 4, edit=edit) == expected


def test_an_encoder_answers_where_the_prompt_says(encoder: Model) -> None:
    asked = encoder.ask("the capital of [Y] is paris", top=4)
    assert asked.columns == ["answer", "p"] and asked["p"].is_sorted(descending=True)
    p = encoder.predict("the capital of [Y] is paris", asked["answer"][0]).p
    assert p == pytest.approx(asked["p"][0], rel=1e-9)
    with pytest.raises(ModelError, match="generates no text"):
        encoder.generate(PROMPT)


def test_what_cannot_be_asked_is_an_error_that_says_what_to_do(decoder: Model, encoder: Model) -> None:
    for neurons, why in (
        (NeuronSet.of([(2, 0)]), "no neuron 0 in layer 2"),
        (NeuronSet.of([(0, 48)]), "no neuron 48 in layer 0"),
        (NeuronSet.of([(0, 1)], encoder.label), "these neurons are of"),
    ):
        with pytest.raises(UserError, match=why):
            decoder.ablate(neurons)
    with pytest.raises(UserError, match="the prompt is empty"):
        decoder.ask("  ")
    with pytest.raises(UserError, match="answers at the end"):
        decoder.ask("the capital of [Y] is paris")
    with pytest.raises(UserError, match="the answer is empty"):
        decoder.predict(PROMPT, " ")
    with pytest.raises(UnusableQuery, match="unknown to the model's tokenizer"):
        decoder.attribute(PROMPT, "zanzibar")


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_neuron_set_is_read_back_as_it_was_saved(ending: str, tmp_path: Path, decoder: Model) -> None:
    for saved in (decoder.attribute(PROMPT, "paris", method="bkn+nodes=4").top(6), NeuronSet.of([])):
        path = saved.save(tmp_path / f"set.{ending}")
        assert NeuronSet.load(path) == saved


def test_a_file_that_holds_no_neuron_set_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text("[[0, 3], [1, 2]]")
    assert NeuronSet.load(plain) == NeuronSet.of([(0, 3), (1, 2)])
    rows = [
        {"model": "m", "fact": fact, "layer": 1, "neuron": neuron} for fact, neuron in (("a", 4), ("b", 4), ("b", 2))
    ]
    plain.write_text(json.dumps({"tables": [{"name": "kn", "rows": rows}]}))
    assert NeuronSet.load(plain) == NeuronSet.of([(1, 4), (1, 2)], "m", facts=["a", "b"])
    for text in ("{}", "[[0]]", "[[0, -1]]", "no json", json.dumps({"neurons": [[0, 1]], "scores": [1, 2]})):
        plain.write_text(text)
        with pytest.raises(UserError, match="is not a neuron set"):
            NeuronSet.load(plain)
    with pytest.raises(UserError, match=r"(?s)is a pickle.*torch\.load.*json\.dump"):
        NeuronSet.load(tmp_path / "lape.pth")
    with pytest.raises(UserError, match="cannot be read"):
        NeuronSet.load(tmp_path / "gone.json")
    with pytest.raises(UserError, match=r"end the name .* in \.json"):
        NeuronSet.of([]).save(tmp_path / "set.txt")


def test_neuron_sets_combine_as_sets_and_keep_their_order() -> None:
    one, other = NeuronSet(((1, 2), (0, 5), (3, 3)), (0.9, 0.5, 0.1)), NeuronSet.of([(3, 3), (1, 2)])
    assert list(one & other) == [(1, 2), (3, 3)] and (one & other).scores == (0.9, 0.1)
    assert list(one - other) == [(0, 5)] and list(other | one) == [(3, 3), (1, 2), (0, 5)]
    assert one.frame.columns == ["layer", "neuron", "score"] and (0, 5) in one


def test_run_computes_into_a_store_and_opens_it(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    asked = {
        "relations": ("P36",),
        "langs": ("en",),
        "methods": ("bkn+nodes=4",),
        "what": ("attribution",),
        "processes": 1,
    }
    with knscope.run(tmp_path / "new.knstore", [str(tiny_models["encoder"])], str(tiny_facts), **asked) as reader:
        assert reader.table("attribution").height == 6 and reader.table("model").height == 1
        with pytest.raises(UserError, match="the tables are model, site"):
            reader.table("nothing")
    file = tmp_path / "exp.toml"
    file.write_text(
        f'data = "{tiny_facts}"\nrelations = ["P36"]\nlangs = ["en"]\nmethods = ["bkn+nodes=4"]\nwhat = ["attribution"]\n'
        f'processes = 1\n[[models]]\nsource = "{tiny_models["encoder"]}"\n'
    )
    with knscope.run(tmp_path / "new.knstore", file) as reader:
        assert reader.table("attribution").height == 6, "the same experiment was computed twice"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        knscope.run(tmp_path / "other.knstore", [str(tmp_path / "empty")], str(tiny_facts), **asked)
    assert not (tmp_path / "other.knstore").exists()
