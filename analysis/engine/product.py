"""The second MLP linear as a matrix.

It is linear: of neurons that move along a straight line, what it makes of them moves along one too. So a path of twenty
nodes needs one product with its direction, and one on the way back, of gradients already summed over the nodes.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def is_plain(module: nn.Module) -> bool:
    """Whether the module gives x @ matrix.T + bias of x (..., width) and nothing else: not adapted, quantised or
    hooked."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    return type(module) in (nn.Linear, Conv1D) and not hooked


def matrix(module: nn.Module) -> Tensor:
    """(hidden, width) of a plain module."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.t() if isinstance(module, Conv1D) else weight
