"""The activation function is found where there is one module for it, and not taken for what it is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from knscope.analysis.engine.activation import activation_functions
from knscope.analysis.engine.models import LoadedModel
from tests import families

UNGATED = [
    "bert",
    "distilbert",
    "deberta-v2",
    "gpt2",
    "gpt_neox",
    "opt",
    "bloom",
    "falcon",
    "mpt",
    "starcoder2",
    "nemotron",
]


@pytest.mark.parametrize("family", UNGATED)
def test_it_is_what_lies_between_the_two_linears(family: str) -> None:
    loaded = families.load(family)
    found = activation_functions(loaded)
    assert len(found) == len(loaded.sites)
    x = torch.linspace(-3, 3, 7)
    assert not torch.equal(found[0](x), x)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())


def test_a_block_that_is_called_again_and_again_has_none_by_layer() -> None:
    assert activation_functions(families.load("albert")) == ()


class Mixing(nn.Module):
    """Looks at all neurons."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1)


class Swinging(nn.Module):
    """Another function at each neuron."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(x.shape[-1], 0, -1).to(x)


def changed(act: nn.Module) -> LoadedModel:
    loaded = families.load("gpt2")
    for block in loaded.model.transformer.h:
        block.mlp.act = act
    return loaded


@pytest.mark.parametrize("act", [Mixing(), Swinging()])
def test_what_does_more_than_act_on_each_neuron_alike_is_refused(act: nn.Module) -> None:
    assert len(activation_functions(changed(nn.SiLU()))) == 3
    assert activation_functions(changed(act)) == ()


class Boxed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.inner(x),)


class Opening(nn.Module):
    def forward(self, x: tuple[Tensor]) -> Tensor:
        return nn.functional.gelu(x[0])


def test_a_first_linear_that_gives_something_else_than_a_tensor_is_left_alone() -> None:
    loaded = changed(Opening())
    for block in loaded.model.transformer.h:
        block.mlp.c_fc = Boxed(block.mlp.c_fc)
    assert activation_functions(loaded) == ()


def test_hooks_go_when_the_model_fails() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no memory")

    loaded = changed(Failing())
    with pytest.raises(RuntimeError, match="no memory"):
        activation_functions(loaded)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())
