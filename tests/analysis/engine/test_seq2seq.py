"""Encoder-decoders: what the encoder and the decoder read, and that the engine computes what the model itself would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.models import LoadedModel, load_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.errors import ModelError, UnusableQuery
from knscope.analysis.prompts.encode import Query, encode, encode_statement
from tests import families
from tests.random_models import byte_level, sentinels

QUERY = Query("1", "r", "l", "The capital of [X] is [Y] French", "Kenya", "Dodomabi")


@pytest.fixture(scope="module")
def t5() -> LoadedModel:
    return families.load("t5")


def parts(loaded: LoadedModel, ids: tuple[int, ...]) -> tuple[list[int], list[int]]:
    at = ids.index(loaded.start)
    return list(ids[:at]), list(ids[at:])


def test_encoder_reads_the_prompt_with_a_sentinel_and_decoder_the_answer_so_far(t5: LoadedModel) -> None:
    found, token = encode(t5, QUERY), t5.tokenizer.convert_tokens_to_ids
    assert found.prompt == "The capital of Kenya is<extra_id_0> French"
    assert len(found.steps) == 2 == len(found.answer_tokens)
    for place, step in enumerate(found.steps):
        source, target = parts(t5, step.ids)
        assert t5.tokenizer.decode(source) == "The capital of Kenya is<extra_id_0> French</s>"
        assert target == [token("<pad>"), token("<extra_id_0>"), *(each.gold for each in found.steps[:place])]
        assert step.position == len(target) - 1
    words = {word.text: t5.tokenizer.decode([found.steps[0].ids[at] for at in word.tokens]) for word in found.words}
    assert words["Kenya"].strip() == "Kenya" and words["French"].strip() == "French"  # behind the answer too
    assert t5.substitute == token("<extra_id_1>")


def test_object_activations_are_read_in_the_decoder_at_the_answers_tokens(t5: LoadedModel) -> None:
    found = encode_statement(t5, QUERY)
    for step in found.steps:
        assert parts(t5, step.ids)[1][step.position] == step.gold
    source, target = parts(t5, found.steps[0].ids)
    seen: list[torch.Tensor] = []
    module = t5.model.get_submodule(t5.sites[0].module)
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, 2:4].mean(0)))
    t5.model.model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))
    handle.remove()
    width = t5.sites[0].width
    assert Engine(t5).object_activations(encode(t5, QUERY))[:width] == pytest.approx(seen[0].numpy(), rel=1e-6)


def test_seq2seq_predictions_edits_and_gradients_equal_plain_forwards(t5: LoadedModel) -> None:
    engine, query = Engine(t5), encode(t5, QUERY)
    site, neurons = t5.sites[1], [3, 5]
    module = t5.model.get_submodule(site.module)
    source, target = parts(t5, query.steps[-1].ids)

    def p(step: int, scale: float | torch.Tensor = 1.0) -> torch.Tensor:
        def edit(_: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            x = args[0].clone()
            x[0, 1 + step, neurons] = x[0, 1 + step, neurons] * scale
            return (x,)

        handle = module.register_forward_pre_hook(edit)
        out = t5.model.model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))
        handle.remove()
        return out.logits[0, 1 + step].softmax(-1)[query.steps[step].gold]

    (before,) = engine.predict([query])
    (after,) = engine.edited(query, [Edit.suppress([site.offset + each for each in neurons])])
    assert before.p_steps == pytest.approx([float(p(step)) for step in (0, 1)], rel=1e-9)
    assert after.p_steps == pytest.approx([float(p(step, 0.0)) for step in (0, 1)], rel=1e-9)
    (found,) = attribute(engine, [query], parse_method("grad_x_act"))
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    slopes = [torch.autograd.grad(p(step, scale), scale)[0] for step in (0, 1)]
    mine = sum(found.scores[site.offset + each] for each in neurons)
    assert mine == pytest.approx(float(sum(slopes)) / 2, rel=1e-8)


def test_t5_folder_loads_and_a_prompt_with_the_sentinel_is_refused(t5: LoadedModel, tmp_path: Path) -> None:
    t5.model.model.float().save_pretrained(tmp_path)
    t5.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    t5.model.model.double()
    assert loaded.kind == "encoder-decoder" and loaded.identity.architecture == "T5ForConditionalGeneration"
    assert {site.stack for site in loaded.sites} == {"decoder"} and loaded.n_neurons == t5.n_neurons
    (one,), (other,) = (attribute(Engine(each), [encode(each, QUERY)], parse_method("amig")) for each in (loaded, t5))
    assert np.abs(one.scores - other.scores).max() <= 1e-4 * np.abs(other.scores).max()
    with pytest.raises(UnusableQuery, match="extra_id_0"):
        encode(loaded, Query("1", "r", "l", "[X] <extra_id_0> [Y]", "Kenya", "Nairobi"))


def test_load_model_refuses_an_encoder_decoder_without_sentinels(tmp_path: Path) -> None:
    config = transformers.BartConfig(
        vocab_size=320, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
    )  # fmt: skip
    transformers.BartForConditionalGeneration(config).save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="those like t5 and mt5 work"):
        load_model(tmp_path)
    assert sentinels().convert_tokens_to_ids("<extra_id_1>") != sentinels().unk_token_id
