"""What is proven about a model at load: which replay is exact on it, and what a row of it costs.

Each recipe, fastest first, is compared with literal full forwards in which a hook overwrites the site, on two different prompts at once, at the
lowest, a middle and the last layer: logits, probabilities and gradients must agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import ModelError
from analysis.models import LoadedModel, probe_ids
from analysis.passes import Circuit, Recipe, Recording, Rows

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.2}
_TOKENS = 7
_CPU_PASS_BYTES = 1 << 28
"""On a CPU larger passes gain nothing and lose time to fresh pages (docs/engine.md)."""


@dataclass(frozen=True)
class Cost:
    """Bytes a row fills: `token` per token over all blocks with a gradient, `head` for the head's logits and their gradient."""

    token: int
    head: int

    def rows(self, budget: int, tokens: int, gradient: bool, cpu: bool) -> int:
        """Rows that fit. Without a gradient only a few blocks' tensors live at a time."""
        room = min(budget, _CPU_PASS_BYTES) if cpu else budget
        return max(1, int(room / (self.token * tokens * (1.0 if gradient else 0.25) + self.head)))


@dataclass(frozen=True)
class Proof:
    recipe: Recipe
    recipe_whole: Recipe
    """For edits of all positions, where no prefix stays as it was."""
    cost: Cost
    error: float
    """Largest relative difference to the full forward, of logits and gradients."""
    refused: tuple[tuple[str, str], ...]
    """Faster recipes that were not exact here, each with why."""


FULL = Recipe("start", False, "none")


def candidates(decodes: bool) -> list[Recipe]:
    """Fastest first."""
    prefixes = (True, False) if decodes else (False,)
    replays = [
        Recipe(enter, prefix, cut) for prefix in prefixes for enter in ("own", "shared") for cut in ("block", "head")
    ]
    return [*replays, FULL]


def prove(circuit: Circuit, loaded: LoadedModel, only: Recipe | None = None) -> Proof:
    """The fastest exact recipe. Raises ModelError when not even full forwards can be edited, or when `only` is not exact."""
    literal = _Literal(circuit, loaded)
    refused: list[tuple[str, str]] = []
    chosen: dict[bool, tuple[Recipe, float]] = {}
    for recipe in [only] if only else candidates(circuit.decodes):
        needed = [
            whole for whole in (False, True) if whole not in chosen and not (whole and recipe.prefix and not only)
        ]
        if not needed:
            continue
        why, error = literal.compare(circuit, recipe)
        if why:
            refused.append((str(recipe), why))
            continue
        for whole in needed:
            chosen[whole] = (recipe, error)
    if len(chosen) < 2:
        raise ModelError(f"{loaded.identity.name}: edits of its neurons cannot be proven exact ({refused[-1][1]})")
    return Proof(
        chosen[False][0],
        chosen[True][0],
        _cost(circuit, loaded, literal, chosen[True][0]),
        chosen[False][1],
        tuple(refused),
    )


class _Literal:
    """Full forwards with one hook, written without any of the machinery under proof."""

    def __init__(self, circuit: Circuit, loaded: LoadedModel) -> None:
        self.tolerance = _TOLERANCE[loaded.dtype]
        self.ids = probe_ids(loaded.model, loaded.tokenizer, rows=2, tokens=_TOKENS)
        self.position = torch.tensor([_TOKENS - 1] * 2 if circuit.decodes else [3, 4], device=self.ids.device)
        self.layers = sorted({0, len(loaded.sites) // 2, len(loaded.sites) - 1})
        recording = self.record(circuit, FULL)
        generator = torch.Generator().manual_seed(1)
        self.edits = []
        for layer in self.layers:
            factor = torch.rand((2, 1), generator=generator).to(self.ids.device, loaded.dtype)
            self.edits.append(recording.sites[layer] * factor)
        self.weight = torch.randn(recording.logits.shape[-1], generator=generator).to(self.ids.device, loaded.dtype)
        modules = [loaded.model.get_submodule(loaded.sites[layer].module) for layer in self.layers]
        calls = [loaded.sites[layer].call for layer in self.layers]
        self.results = [self._full(loaded, *each) for each in zip(modules, calls, self.edits, strict=True)]

    def record(self, circuit: Circuit, recipe: Recipe) -> Recording:
        return circuit.record(self.ids, 2, torch.arange(2, device=self.ids.device), self.position, 2, recipe)

    def _full(self, loaded: LoadedModel, module: nn.Module, call: int, edit: Tensor) -> tuple[Tensor, Tensor]:
        leaf = edit.clone().requires_grad_(True)
        calls = iter(range(10**6))

        def overwrite(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if next(calls) != call:
                return None
            x = args[0].reshape(2, _TOKENS, -1)
            keep = torch.ones_like(x)
            keep[torch.arange(2), self.position] = 0
            return ((x * keep + leaf[:, None] * (1 - keep)).reshape(args[0].shape),)

        handle = module.register_forward_pre_hook(overwrite)
        try:
            logits = loaded.model(input_ids=self.ids).logits[torch.arange(2), self.position]
        finally:
            handle.remove()
        return logits.detach(), self._gradients(logits, [leaf])[0]

    def _gradients(self, logits: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
        """Of a random direction in logit space, which misses nothing that a probability would show."""
        return torch.autograd.grad((logits * self.weight).sum(), leaves)

    def replayed(self, circuit: Circuit, recipe: Recipe, together: bool) -> tuple[Tensor, list[Tensor]]:
        """Logits (layers * 2, vocabulary) and gradients by layer; in one pass of all layers, or one pass a layer."""
        recording = self.record(circuit, recipe)
        groups = [list(range(len(self.layers)))] if together else [[index] for index in range(len(self.layers))]
        logits: list[Tensor] = []
        gradients: list[Tensor] = []
        for group in groups:
            leaves = [self.edits[index].clone().requires_grad_(True) for index in group]
            first = [circuit.anatomy.sites[self.layers[index]].block for index in group for _ in range(2)]
            pair = torch.arange(2, device=self.ids.device).repeat(len(group))
            edits = {
                self.layers[index]: replace_rows(leaf, 2 * place, None if recipe.prefix else self.position)
                for place, (index, leaf) in enumerate(zip(group, leaves, strict=True))
            }
            out = circuit.replay(recording, Rows(pair, self.position[pair], first), edits, recipe)
            logits.append(out.detach())
            gradients += self._gradients(out, leaves)
        return torch.cat(logits), gradients

    def compare(self, circuit: Circuit, recipe: Recipe) -> tuple[str, float]:
        """Why the recipe is not exact ('' when it is), and the largest relative difference seen."""
        try:
            logits, gradients = self.replayed(circuit, recipe, together=recipe.enter != "shared")
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            return f"fails with {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}", float("inf")
        worst = 0.0
        for index, (expected, gradient) in enumerate(self.results):
            worst = max(
                worst, _distance(logits[2 * index : 2 * index + 2], expected), _distance(gradients[index], gradient)
            )
        return ("" if worst <= self.tolerance else f"differs from the full forward by {worst:.1e}"), worst


def _distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the expected norm; infinite for anything not finite."""
    distance = ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()
    return distance if distance == distance else float("inf")


def replace_rows(leaf: Tensor, start: int, position: Tensor | None) -> Callable[[Tensor], Tensor]:
    """An edit that puts `leaf` into rows start.. of (rows, tokens, width): at one position each, or (None) in place of all tokens."""
    end = start + leaf.shape[0]

    def edit(x: Tensor) -> Tensor:
        new = leaf.to(x.dtype)
        if position is None:
            part = new if new.dim() == 3 else new[:, None]
        else:
            rows = torch.arange(end - start, device=x.device)
            part = x[start:end].index_put((rows, position), new)
        if start == 0 and end == x.shape[0]:
            return part
        return torch.cat([x[:start], part, x[end:]])

    return edit


def _cost(circuit: Circuit, loaded: LoadedModel, literal: _Literal, recipe: Recipe) -> Cost:
    """Bytes that one pass keeps for its backward, counted as they are saved; parameters are there anyway."""
    own = {parameter.data_ptr() for parameter in loaded.model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    recording = literal.record(circuit, recipe)
    leaf = literal.edits[0].clone().requires_grad_(True)
    first = [circuit.anatomy.sites[0].block] * 2
    edits = {0: replace_rows(leaf, 0, literal.position)}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = circuit.replay(
            recording, Rows(torch.arange(2, device=leaf.device), literal.position, first), edits, recipe
        )
    token = sum(seen.values()) / (2 * _TOKENS)
    # Blocks also hold what they do not save: half as much again was the most seen among the families tested.
    return Cost(int(1.5 * token), 4 * logits.shape[-1] * logits.element_size())


def prove_pre_act(loaded: LoadedModel) -> Circuit:
    """A circuit whose sites are the outputs of the first MLP linear, where that is one vector through one elementwise function.

    Raises ModelError on gated MLPs and wherever one entry before the activation function moves more than its own neuron.
    """
    if any(site.gated or len(site.feeders) != 1 for site in loaded.sites):
        raise ModelError(f"{loaded.identity.name}: pre_act has no meaning for an MLP with a gate; use site=post_act")
    return Circuit(loaded, pre_act=True)
