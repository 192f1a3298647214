"""Routed experts as layers of neurons: what an expert's entry is, that routing is held, and when an edit would change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from knscope.analysis.engine.experts import Experts
from knscope.analysis.engine.models import LoadedModel, wrap_model
from knscope.analysis.engine.replay import Edit, Engine
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery
from tests import families
from tests.analysis.engine.test_families import queries
from tests.random_models import byte_level


def routing(loaded: LoadedModel, query: EncodedQuery, edit: Edit | None = None) -> list[torch.Tensor]:
    """Which experts each layer runs at each token, by a plain forward with a hook that edits the answer position."""
    model, found, handles = loaded.model, [], []
    for site in loaded.sites:
        module = model.get_submodule(site.module)
        mine = [] if edit is None else [n - site.offset for n in edit.neurons if 0 <= n - site.offset < site.width]

        def change(_: torch.nn.Module, args: tuple[torch.Tensor], mine: list[int] = mine) -> tuple[torch.Tensor]:
            x = args[0].clone()
            x.view(-1, x.shape[-1])[query.steps[0].position, mine] = 0.0
            return (x,)

        handles.append(module.register_forward_pre_hook(change))
    experts = [module for module in model.modules() if isinstance(module, Experts)]
    handles += [one.register_forward_pre_hook(lambda _, args: found.append(args[1].sort(-1).values)) for one in experts]
    with torch.no_grad():
        model(input_ids=torch.tensor([query.steps[0].ids]))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_neuron_is_an_experts_activation_times_the_routers_weight(name: str) -> None:
    """Written out for one token of the first layer, from the weights as they were before anything was opened."""
    bare = families.build(name)
    block = bare.model.layers[0]
    seen: list[torch.Tensor] = []
    block.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    bare.config._experts_implementation = "eager"
    loaded = families.load(name)
    query = queries(loaded)[0]
    with torch.no_grad():
        bare(input_ids=torch.tensor([query.steps[0].ids]))
    x = seen[0].reshape(-1, seen[0].shape[-1])[query.steps[0].position]  # (hidden,)
    inner = block.mlp.experts
    if name == "mixtral":
        shares = torch.softmax((block.mlp.gate.weight @ x).float(), 0)
        best, ids = shares.topk(2)
        weights = best / best.sum()
    else:
        best, ids = (block.mlp.router.weight @ x + block.mlp.router.bias).topk(2)
        weights = torch.softmax(best, 0)
    width = loaded.sites[0].width // loaded.sites[0].experts
    expected = torch.zeros(loaded.sites[0].width, dtype=torch.float64)
    for weight, expert in zip(weights, ids.tolist(), strict=True):
        if name == "mixtral":
            gate, up = (inner.gate_up_proj[expert] @ x).chunk(2)
            made = torch.nn.functional.silu(gate) * up
        else:
            both = x @ inner.gate_up_proj[expert] + inner.gate_up_proj_bias[expert]
            gate, up = both[::2].clamp(max=inner.limit), both[1::2].clamp(-inner.limit, inner.limit)
            made = (up + 1) * gate * torch.sigmoid(gate * inner.alpha)
        expected[expert * width : (expert + 1) * width] = weight * made
    found = Engine(loaded).activations(query)[0, : loaded.sites[0].width]
    assert found == pytest.approx(expected.detach().numpy(), abs=1e-6 * float(expected.detach().abs().max()))
    assert (found == 0).sum() >= loaded.sites[0].width // 2


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3"])
def test_edits_that_would_change_the_routing_are_those_that_do_in_a_plain_forward(name: str) -> None:
    loaded = families.load(name)
    engine = Engine(loaded)
    query = replace(asked := queries(loaded)[0], steps=asked.steps[:1])
    generator = np.random.default_rng(0)
    edits = [Edit.suppress([0])]
    edits += [Edit.suppress(generator.choice(loaded.n_neurons, size, replace=False)) for size in (5, 20, 60, 120, 160)]
    before = routing(loaded, query)
    expected = [
        any(not torch.equal(a, b) for a, b in zip(before, routing(loaded, query, edit), strict=True)) for edit in edits
    ]
    found = engine.rerouted(query, edits)
    assert found is not None and found.tolist() == expected
    assert any(expected) and not all(expected)
    assert Engine(families.load("gpt2")).rerouted(query, edits) is None


def test_model_in_memory_is_left_alone_and_refused() -> None:
    bare = families.build("mixtral")
    with pytest.raises(ModelError, match=r"stays as it is; save it with its tokenizer, and name the folder"):
        wrap_model(bare, byte_level(), "decoder", name="x")
    assert not any(isinstance(module, Experts) for module in bare.modules())


def test_folder_of_a_routed_model_is_loaded_and_names_its_experts(tmp_path: object) -> None:
    from knscope.analysis.engine.models import load_model

    bare = families.build("olmoe", torch.float32)
    bare.save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path))
    assert [site.experts for site in loaded.sites] == [4, 4, 4]
    with torch.no_grad():
        ids = torch.arange(3, 12)[None]
        assert torch.allclose(loaded.model(input_ids=ids).logits, bare(input_ids=ids).logits, atol=1e-4)
