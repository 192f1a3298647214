"""Rows enter behind the second MLP linear, which is computed once a path, not once a row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.circuit import Recipe, is_plain
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import ModelError
from tests import families
from tests.analysis.engine.test_replay import samples


@pytest.mark.parametrize(
    ("family", "bring"),
    [("gpt2", "sum"), ("llama", "sum"), ("gptj", "sum"), ("bert", "product"), ("gemma2", "product")],
)
def test_the_block_is_left_out_where_nothing_follows_the_mlp_but_an_addition(family: str, bring: str) -> None:
    proof = Engine(families.load(family)).proof
    assert proof.recipe.bring == proof.recipe_whole.bring == bring
    assert any("sum" in recipe and "differs" in why for recipe, why in proof.refused) == (bring == "product")


def test_a_norm_behind_the_mlp_is_not_left_out() -> None:
    with pytest.raises(ModelError, match="cannot be proven exact"):
        Engine(families.load("bert"), recipe=Recipe("own", cut="head", bring="sum"))


def products(loaded: LoadedModel, method: str, layer: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows of neurons that `product` multiplies with a layer's matrix in one attribution of one answer token."""
    engine, (query,) = Engine(loaded), samples(loaded, (8,))
    query = replace(query, steps=query.steps[:1])
    weight, rows = loaded.model.get_submodule(loaded.sites[layer].module).weight, [0]
    real = torch.Tensor.__matmul__

    def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if b.data_ptr() == weight.data_ptr() and a.shape[-1] == loaded.sites[layer].width:
            rows[0] += a.numel() // a.shape[-1]
        return real(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", counted)
    list(attribute(engine, [query], parse_method(method)))
    monkeypatch.undo()
    return rows[0]


def test_the_product_is_taken_once_a_path_whatever_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = families.load("gpt2")
    rows = [products(loaded, f"bkn+nodes={nodes}", 1, monkeypatch) for nodes in (2, 20)]
    assert rows[0] == rows[1] == 1


@pytest.mark.parametrize(("family", "brings"), [("gpt2", "sum"), ("phi", "sum"), ("bert", "neurons"), ("opt", "sum")])
@pytest.mark.parametrize("positions", ["answer", "all"])
def test_methods_before_the_activation_function_enter_behind_the_mlp_too(
    family: str, brings: str, positions: str
) -> None:
    loaded = families.load(family)
    engine, literal = Engine(loaded), Engine(loaded, recipe=Recipe("start"))
    assert engine.circuit_for(pre_act=True).brings(engine.recipe.bring) == brings
    assert not engine.circuit_for(pre_act=True).is_linear
    queries, method = samples(loaded, (8,)), parse_method(f"bkn-eleuther+nodes=3,site=pre_act,positions={positions}")
    for fast, slow in zip(attribute(engine, queries, method), attribute(literal, queries, method), strict=True):
        assert np.abs(fast.scores - slow.scores).max() <= 1e-9 * np.abs(slow.scores).max()


def test_an_adapted_or_hooked_linear_is_not_taken_for_its_matrix() -> None:
    class Adapted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    hooked, replaced = nn.Linear(3, 2), nn.Linear(3, 2)
    hooked.register_forward_hook(lambda *_: None)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    assert is_plain(nn.Linear(3, 2))
    assert not any(map(is_plain, (Adapted(3, 2), hooked, replaced)))


def test_a_hook_on_the_second_linear_still_counts() -> None:
    """Its matrix alone would leave out what the hook does."""
    loaded = families.load("gpt2")
    module = loaded.model.get_submodule(loaded.sites[0].module)
    handle = module.register_forward_hook(lambda _module, _args, output: output * 2)
    try:
        engine = Engine(loaded)
        assert engine.proof.recipe.bring == "neurons"
    finally:
        handle.remove()
