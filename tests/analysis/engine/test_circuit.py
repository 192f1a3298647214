"""Where only an addition follows the MLP, rows enter behind the second MLP linear, which is multiplied once per path."""

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
from knscope.analysis.engine.ways import Case
from knscope.analysis.errors import ModelError
from tests import families
from tests.analysis.engine.test_replay import samples


@pytest.mark.parametrize(
    ("family", "adds"), [("gpt2", True), ("llama", True), ("gptj", True), ("bert", False), ("gemma2", False)]
)
def test_proof_takes_sum_exactly_where_no_norm_follows_the_mlp(family: str, adds: bool) -> None:
    proof = Engine(families.load(family)).proof
    assert proof.recipe.sum == proof.way(Case(whole=True)).recipe.sum == adds
    assert any("sum" in recipe and "differs" in why for recipe, why in proof.refused) != adds


def test_proof_refuses_sum_where_a_norm_follows_the_mlp() -> None:
    with pytest.raises(ModelError, match="cannot be proven exact"):
        Engine(families.load("bert"), recipe=Recipe("own", cut="head", sum=True))


def products(loaded: LoadedModel, method: str, layer: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows of neurons multiplied with a layer's second MLP matrix in one attribution of one answer token."""
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


def test_sum_multiplies_once_per_path_whatever_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = families.load("gpt2")
    rows = [products(loaded, f"bkn+nodes={nodes}", 1, monkeypatch) for nodes in (2, 20)]
    assert rows[0] == rows[1] == 1


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("positions", ["answer", "all"])
def test_pre_act_scores_equal_those_of_full_forwards(family: str, positions: str) -> None:
    loaded = families.load(family)
    engine, literal = Engine(loaded), Engine(loaded, recipe=Recipe("start"))
    assert not engine.circuit_for(pre_act=True).is_linear
    queries, method = samples(loaded, (8,)), parse_method(f"bkn-eleuther+nodes=3,site=pre_act,positions={positions}")
    for fast, slow in zip(attribute(engine, queries, method), attribute(literal, queries, method), strict=True):
        assert np.abs(fast.scores - slow.scores).max() <= 1e-9 * np.abs(slow.scores).max()


def test_is_plain_refuses_adapted_hooked_and_patched_linears() -> None:
    class Adapted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    hooked, replaced = nn.Linear(3, 2), nn.Linear(3, 2)
    hooked.register_forward_hook(lambda *_: None)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    assert is_plain(nn.Linear(3, 2))
    assert not any(map(is_plain, (Adapted(3, 2), hooked, replaced)))


def test_proof_does_not_take_sum_where_the_second_linear_has_a_hook() -> None:
    """The matrix alone would leave out what the hook does."""
    loaded = families.load("gpt2")
    module = loaded.model.get_submodule(loaded.sites[0].module)
    handle = module.register_forward_hook(lambda _module, _args, output: output * 2)
    try:
        engine = Engine(loaded)
        assert not engine.proof.recipe.sum
    finally:
        handle.remove()
