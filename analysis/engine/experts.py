"""Routed experts as one layer of neurons: neuron e * width + j is entry j of expert e, times the weight that the router gives expert e.

A token runs few experts; the neurons of all others are 0. With the router's weight in the neuron, what a layer's experts give out is one
plain matrix, all experts' second linears side by side, times the neurons: so edits, integrals and products mean what they mean elsewhere.
Which experts run, and with what weight, is a discrete choice in the layers above an edit: it is held as the unedited model made it
(`Circuit.wired` puts it in), so that F is smooth along a path.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from knscope.analysis.errors import ModelError

_PARTS = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "num_experts", "down_proj")
"""What transformers says of a module of experts whose weights lie in one tensor."""


class Experts(nn.Module):
    """A module of experts, opened: `down_proj` maps the neurons (tokens, experts * width) to (tokens, hidden)."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        weight = inner.down_proj.detach()  # (experts, hidden, width)
        if inner.is_transposed:
            weight = weight.transpose(1, 2)
        self.count, hidden, self.width = weight.shape
        self.down_proj = nn.Linear(self.count * self.width, hidden, bias=False, device="meta")
        side_by_side = weight.transpose(0, 1).reshape(hidden, -1).contiguous()  # (hidden, experts * width)
        self.down_proj.weight = nn.Parameter(side_by_side, requires_grad=False)
        del inner.down_proj  # one copy is enough
        self.inner = inner

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """:param hidden: (tokens, hidden)
        :param index: (tokens, k), the experts that each token runs
        :param weights: (tokens, k), the router's weights of these
        """
        kept = index < self.count  # some families name one expert too many where a token runs fewer
        token, place = torch.where(kept)
        expert = index[token, place]
        order = expert.argsort(stable=True)
        token, place, expert = token[order], place[order], expert[order]
        parts = [
            self._activations(hidden[mine], number) for number, mine in self._by_expert(token, expert)
        ]  # each (its tokens, width)
        weight = weights[token, place][:, None]
        values = torch.cat(parts) * weight if parts else hidden.new_zeros(0, self.width)
        neurons = hidden.new_zeros(len(hidden), self.count, self.width)
        neurons = neurons.index_put((token, expert), values.to(hidden.dtype))
        out: Tensor = self.down_proj(neurons.flatten(1))  # (tokens, hidden)
        if self.inner.has_bias:
            biases = self.inner.down_proj_bias[expert] * weight
            out = out.index_add(0, token, biases.to(out.dtype))
        return out

    def _by_expert(self, token: Tensor, expert: Tensor) -> list[tuple[int, Tensor]]:
        numbers, counts = torch.unique_consecutive(expert, return_counts=True)
        return list(zip(numbers.tolist(), torch.split(token, counts.tolist()), strict=True))

    def _activations(self, hidden: Tensor, expert: int) -> Tensor:
        """(tokens, width) of one expert, before the router's weight."""
        inner = self.inner
        name = "gate_up_proj" if inner.has_gate else "up_proj"
        weight = getattr(inner, name)[expert]
        out = hidden @ (weight if inner.is_transposed else weight.T)
        if inner.has_bias:
            out = out + getattr(inner, f"{name}_bias")[expert]
        found: Tensor = inner._apply_gate(out) if inner.has_gate else inner.act_fn(out)
        return found


def open_experts(model: Any, ids: Tensor) -> None:
    """Put `Experts` in the place of the model's modules of experts, where there are any. Raises ModelError where the model then gives
    other logits for `ids` (1, tokens), or its experts cannot be opened."""
    closed = {name: module for name, module in model.named_modules() if is_closed(module)}
    if not closed:
        return
    with torch.no_grad():
        for module in closed.values():  # the faster ways take no float64
            module.config._experts_implementation = "eager"
        before = model(input_ids=ids).logits
        for name, module in closed.items():
            if module.has_post_expert_norm or module.down_proj.dtype not in _FLOATS:
                raise ModelError(
                    f"{type(model).__name__}: what its experts ({name}) give out is no plain sum of their neurons"
                )
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Experts(module))
        after = model(input_ids=ids).logits
    slack = 0.1 if before.dtype in (torch.float16, torch.bfloat16) else 1e-4
    if not (after - before).norm() <= slack * before.norm():
        raise ModelError(
            f"{type(model).__name__}: its experts, opened, give other logits; they compute more than is known here"
        )


_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def is_closed(module: nn.Module) -> bool:
    """Whether these are experts that can be opened."""
    weight = getattr(module, "down_proj", None)
    return all(hasattr(module, part) for part in _PARTS) and isinstance(weight, Tensor) and weight.dim() == 3
