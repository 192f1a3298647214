"""Which modules of the last block are needed for the answer position alone.

After the last block only the answer position goes on, so whatever the block computes for other positions and nothing
there reads (queries, what attention gives out) need not be computed. Keys and values are read from everywhere. Which
is which is not taken from names: it is seen in a backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from knscope.analysis.engine.circuit import Circuit


def candidates(circuit: Circuit) -> dict[str, nn.Module]:
    """Leaf modules with a weight matrix in the last block, but for its MLP."""
    block, mlp = circuit.anatomy.blocks[-1].module, set[str]()
    for site in circuit.anatomy.sites:
        if site.block == circuit.n_blocks - 1:
            mlp |= {site.module, *site.feeders}
    return {
        name: module
        for name, module in circuit.model.named_modules()
        if name.startswith(f"{block}.") and name not in mlp and getattr(module, "weight", None) is not None
        if module.weight.dim() == 2 and not any(True for _ in module.children())
    }  # fmt: skip


class Watch:
    """Keeps what candidates gave out last, inside `with`."""

    def __init__(self, circuit: Circuit) -> None:
        self.modules = candidates(circuit)
        self.outputs: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._keeper(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keeper(self, name: str) -> Any:
        def keep(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 3 and args and args[0].shape[:2] == output.shape[:2]:
                self.outputs[name] = output

        return keep

    def alone(self, logits: Tensor, weight: Tensor, position: Tensor) -> tuple[str, ...]:
        """Candidates that logits (rows, vocabulary) read at `position` (rows,) alone: exactly no gradient of
        logits @ weight reaches their output (rows, tokens, width) elsewhere."""
        names = [name for name, out in self.outputs.items() if out.requires_grad and len(out) == len(position)]
        outputs = [self.outputs[name] for name in names]
        gradients = torch.autograd.grad((logits * weight).sum(), outputs, allow_unused=True) if outputs else ()
        rows = torch.arange(len(position), device=position.device)
        found = []
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None and bool(gradient.any()):
                place = (rows.to(gradient.device), position.to(gradient.device))
                elsewhere = gradient.index_put(place, gradient.new_zeros(()))
                if not bool(elsewhere.any()):
                    found.append(name)
        return tuple(found)
