"""The activation function of an ungated MLP, as the module that a model has for it.

With it a row that is edited before the activation can enter behind the whole MLP, as one edited after it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knscope.analysis.engine.models import LoadedModel, probe_ids

_RELATIVE = 1e-5
"""Largest difference taken for rounding (norms): a module may add up in another order on another shape."""


def activation_functions(loaded: LoadedModel) -> Sequence[nn.Module]:
    """The activation function of each layer; empty where one is not found, or does more than act on each neuron alone.

    Looked for with outputs of the first MLP linear made others than the model's own, so that what is found maps any
    such output, not this prompt's, to what enters the second. Sites must have one first linear each.
    """
    model = loaded.model
    ends = {model.get_submodule(site.feeders[0]) for site in loaded.sites}
    starts = {model.get_submodule(site.module) for site in loaded.sites}
    if len(ends) < len(loaded.sites) or len(starts) < len(loaded.sites):
        return ()  # a block that is called again and again: no layer has modules of its own
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
    entered: dict[nn.Module, Tensor] = {}
    generator = torch.Generator().manual_seed(1)

    def disturb(module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        new = output * (0.5 + torch.rand(output.shape, generator=generator)).to(output)
        entered[module] = new
        return new

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor) and args[0].shape == output.shape:
            seen.setdefault(module, []).append((args[0], output))

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        entered[module] = args[0]

    handles = [module.register_forward_hook(disturb) for module in ends]
    handles += [module.register_forward_pre_hook(enter) for module in starts]
    handles += [module.register_forward_hook(watch) for module in model.modules() if module not in ends | starts]
    try:
        with torch.no_grad():
            model(input_ids=probe_ids(model, loaded.tokenizer, rows=1, tokens=2))
    finally:
        for handle in handles:
            handle.remove()
    found: list[nn.Module] = []
    for site in loaded.sites:
        before = entered.get(model.get_submodule(site.feeders[0]))
        after = entered.get(model.get_submodule(site.module))
        if before is None or after is None:
            return ()
        for module, calls in seen.items():
            if any(_is(a, before) and _is(b, after) for a, b in calls) and _acts_alone(module, before, after):
                found.append(module)
                break
    return found if len(found) == len(loaded.sites) else ()


def _is(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and found.device == expected.device and torch.equal(found, expected)


def _acts_alone(module: nn.Module, before: Tensor, after: Tensor) -> bool:
    """Whether a part of the neurons of one token becomes what it did among all of them."""
    half = before.shape[-1] // 2
    before, after = before.flatten(0, -2)[-1:, :half], after.flatten(0, -2)[-1:, :half]
    with torch.no_grad():
        found = module(before)
    return found.shape == after.shape and bool((found - after).norm() <= _RELATIVE * after.norm())
