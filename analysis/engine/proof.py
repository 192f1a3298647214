"""Prove at load which replay is exact on this model, and measure how much memory a row takes.

Each recipe, fastest first, is compared with literal full forwards in which a hook overwrites the neurons: rows of two
prompts, at the lowest, a middle and the last layer, in one pass. Logits and gradients must agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from knscope.analysis.engine.circuit import FULL, Circuit, Recipe, Rows
from knscope.analysis.engine.models import LoadedModel, probe_ids
from knscope.analysis.engine.passes import brought, record, replay
from knscope.analysis.errors import ModelError

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.1}
_LARGE = 16.0
"""The probe's edits multiply neurons by at most this. In half precision, rounding hides a small edit's difference, such as
a norm behind the MLP, which rules out `sum`.
"""
_TOKENS = 7
_SEQUENCES = (0, 1, 0)
"""The prompt that each row continues."""
_CPU_PASS_BYTES = 1 << 28
"""Bytes of a pass on a CPU: larger ones gain nothing and lose time to page faults,"""
_CPU_PASS_ROWS = 64
"""unless the pass holds fewer rows than this, which the product with the vocabulary needs: then twice as many bytes."""

_PASS_SHARE = 0.75
"""Share of the budget that one pass may fill; the rest is for the recording and the sums over paths."""


@dataclass(frozen=True)
class Cost:
    """Bytes that a row takes: `token` per token over all blocks with a gradient, `head` for logits and their gradient,
    `cache` per token of the cached prefix, which every row copies, `cache_back` for its backward in one block's
    attention."""

    token: int
    head: int
    cache: int = 0
    cache_back: int = 0

    def row(self, tokens: int, gradient: bool, prefix: int = 0) -> float:
        """Bytes of one row. Without a gradient only a few blocks' tensors live at a time."""
        behind = self.cache + (self.cache_back if gradient else 0)
        return self.token * tokens * (1.0 if gradient else 0.25) + self.head + behind * prefix

    def rows(self, budget: int, tokens: int, gradient: bool, cpu: bool, prefix: int = 0) -> int:
        """Rows that fit."""
        fit = _PASS_SHARE * budget / self.row(tokens, gradient, prefix)
        if cpu:  # a copied prefix is read once and does not slow a pass down: it counts against the budget alone
            quick = _CPU_PASS_BYTES / self.row(tokens, gradient)
            fit = min(fit, max(quick, min(2 * quick, _CPU_PASS_ROWS)))
        return max(1, int(fit))


@dataclass(frozen=True)
class Proof:
    recipe: Recipe
    recipe_whole: Recipe
    """For edits of all positions, which leave no prefix unchanged."""
    recipe_long: Recipe
    """For prompts of `longest_prefix` tokens or more, whose cached prefix a sliding window cuts."""
    longest_prefix: int
    cost: Cost
    error: float
    """Largest relative difference from the full forward, in logits and gradients."""
    refused: tuple[tuple[str, str], ...]
    """Faster recipes that are not exact on this model, each with the reason."""


def prove(circuit: Circuit, loaded: LoadedModel, only: Recipe | None = None) -> Proof:
    """Find the fastest exact recipe. Raises ModelError when not even full forwards agree, or `only` is not exact."""
    refused: list[tuple[str, str]] = []
    answer = _fastest(circuit, _Literal(circuit, loaded, whole=False), only, refused)
    literal = _Literal(circuit, loaded, whole=True)
    whole = _fastest(circuit, literal, replace(only, prefix=False) if only else None, refused)
    window, long = 1 << 30, answer
    if answer[0].prefix:
        windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=loaded.model.config).layers]
        window = min([1 << 30, *(int(each) for each in windows if each)])
    if window < loaded.context:
        long = _fastest(circuit, _Literal(circuit, loaded, whole=False), None, refused, prefix=False)
    cost = _cost(circuit, loaded, literal, whole[0], answer[0])
    error = max(found for _, found in (answer, whole, long))
    return Proof(answer[0], whole[0], long[0], window, cost, error, tuple(refused))


def _fastest(
    circuit: Circuit, literal: _Literal, only: Recipe | None, refused: list[tuple[str, str]], prefix: bool = True
) -> tuple[Recipe, float]:
    """The first exact base recipe, with every saving that stays exact on top of it."""
    best: tuple[Recipe, float] | None = None
    for recipe in [only] if only else _bases(prefix and circuit.decodes and not literal.whole):
        why, error = literal.compare(circuit, recipe)
        if not why:
            best = (recipe, error)
            break
        refused.append((recipe.detail, why))
    if best is None:
        name = type(circuit.model).__name__
        raise ModelError(f"edits of the neurons of {name} cannot be proven exact: {refused[-1][0]} {refused[-1][1]}")
    if only or best[0].enter == "start" or not circuit.has_one_site_a_block:
        return best
    savings: tuple[Callable[[Recipe], Recipe], ...] = (
        lambda recipe: replace(recipe, tail=True),
        lambda recipe: replace(recipe, narrow=recipe.tail and not recipe.prefix),
        lambda recipe: replace(recipe, sum=circuit.is_linear),
    )
    for saving in savings:
        recipe = saving(best[0])
        if recipe == best[0]:
            continue
        why, error = literal.compare(circuit, recipe)
        if why:
            refused.append((recipe.detail, why))
        else:
            best = (recipe, error)
    return best


def _bases(prefix: bool) -> list[Recipe]:
    """Fastest first; full forwards last."""
    prefixes = (True, False) if prefix else (False,)
    replays = [Recipe(enter, p, cut) for p in prefixes for enter in ("own", "shared") for cut in ("block", "head")]
    return [*replays, FULL]


class _Literal:
    """Full forwards with one hook, written without the code under proof."""

    def __init__(self, circuit: Circuit, loaded: LoadedModel, whole: bool) -> None:
        self.whole, self.tolerance = whole, _TOLERANCE[loaded.dtype]
        self.ids = probe_ids(loaded.model, loaded.tokenizer, rows=2, tokens=_TOKENS)
        device = self.ids.device
        self.position = torch.tensor([_TOKENS - 1] * 2 if circuit.decodes else [3, 4], device=device)
        self.sequence = torch.tensor(_SEQUENCES, device=device)
        self.layers = sorted({0, len(loaded.sites) // 2, len(loaded.sites) - 1})
        clean = record(circuit, self.ids, 2, torch.arange(2, device=device), self.position, 2, FULL, whole)
        generator = torch.Generator().manual_seed(1)
        shape = (len(_SEQUENCES), *clean.sites[0].shape[1:-1], 1)
        factors = [torch.rand(shape, generator=generator).to(device, loaded.dtype) for _ in self.layers]
        self.weight = torch.randn(clean.logits.shape[-1], generator=generator).to(device, loaded.dtype)
        for size in (_LARGE, 1.0):  # the smaller where half precision cannot hold what the larger leads to
            self.values = [
                clean.sites[x][self.sequence] * (size * f) for x, f in zip(self.layers, factors, strict=True)
            ]
            self.results = [self._full(loaded, *each) for each in zip(self.layers, self.values, strict=True)]
            if all(bool(found.isfinite().all()) for result in self.results for found in result):
                break

    def _full(self, loaded: LoadedModel, layer: int, value: Tensor) -> tuple[Tensor, Tensor]:
        site = loaded.sites[layer]
        module = loaded.model.get_submodule(site.module)
        leaf = value.clone().requires_grad_(True)
        calls = iter(range(10**6))
        rows, position = torch.arange(len(_SEQUENCES), device=value.device), self.position[self.sequence]

        def overwrite(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if next(calls) != site.call:
                return None
            x = args[0].reshape(len(rows), _TOKENS, -1).to(leaf.device)
            new = leaf if self.whole else x.index_put((rows, position), leaf)
            return (new.reshape(args[0].shape).to(args[0].device),)

        handle = module.register_forward_pre_hook(overwrite)
        try:
            logits = loaded.model(input_ids=self.ids[self.sequence]).logits.to(rows.device)[rows, position]
        finally:
            handle.remove()
        return logits.detach(), self._gradients(logits, [leaf])[0]

    def _gradients(self, logits: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
        """Gradients of a random direction in logit space, which sees every change that a probability would."""
        return torch.autograd.grad((logits * self.weight).sum(), leaves)

    def replayed(self, circuit: Circuit, recipe: Recipe) -> tuple[Tensor, list[Tensor]]:
        """Logits (layers * rows, vocabulary) and gradients by layer; in one pass where rows of several layers may
        mix."""
        clean = record(
            circuit, self.ids, 2, torch.arange(2, device=self.ids.device), self.position, 2, recipe, self.whole
        )
        everyone = list(range(len(self.layers)))
        logits: list[Tensor] = []
        gradients: list[Tensor] = []
        for group in [[index] for index in everyone] if recipe.enter == "shared" else [everyone]:
            leaves = [self.values[index].clone().requires_grad_(True) for index in group]
            sequence = self.sequence.repeat(len(group))
            rows = Rows(sequence, self.position[sequence], [self.layers[i] for i in group for _ in _SEQUENCES])
            values: dict[int, Tensor] = {}
            for layer, leaf in zip((self.layers[index] for index in group), leaves, strict=True):
                values[layer] = brought(circuit, recipe, layer, leaf, clean.sites[layer][self.sequence])
            out = replay(circuit, clean, rows, values, recipe)
            logits.append(out.detach())
            gradients += self._gradients(out, leaves)
        return torch.cat(logits), gradients

    def compare(self, circuit: Circuit, recipe: Recipe) -> tuple[str, float]:
        """Why the recipe is not exact ('' when it is), and the largest relative difference."""
        try:
            logits, gradients = self.replayed(circuit, recipe)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError, AssertionError) as error:
            return f"fails with {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:200]}", float(
                "inf"
            )
        worst, n = 0.0, len(_SEQUENCES)
        for index, (expected, gradient) in enumerate(self.results):
            worst = max(worst, _distance(logits[n * index : n * (index + 1)], expected))
            worst = max(worst, _distance(gradients[index], gradient))
        return ("" if worst <= self.tolerance else f"differs from the full forward by {worst:.1e}"), worst


def _distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the expected norm; infinite for anything not finite."""
    if found.shape != expected.shape:
        return float("inf")
    distance = ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()
    return distance if distance == distance else float("inf")


def _cost(circuit: Circuit, loaded: LoadedModel, literal: _Literal, recipe: Recipe, answer: Recipe) -> Cost:
    """Count the bytes that one pass saves for its backward, without the parameters."""
    own = {parameter.data_ptr() for parameter in loaded.model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        literal.replayed(circuit, recipe)
    # The replay above ran rows at the first, a middle and the last layer: about half of all blocks on average.
    rows = len(literal.layers) * len(_SEQUENCES)
    logits = loaded.model.get_input_embeddings().weight.shape[0] * literal.weight.element_size()
    token = 2 * sum(seen.values()) / (rows * _TOKENS)
    # Blocks also hold what they do not save: half as much again was the most seen among the families tested.
    return Cost(max(1, int(1.5 * token)), 4 * logits, *_cache_bytes(circuit, literal, answer))


def _cache_bytes(circuit: Circuit, literal: _Literal, recipe: Recipe) -> tuple[int, int]:
    """Bytes of one token's keys and values over all blocks, and a quarter for the block that is copying them; and six
    times those of one block, which is what its backward held of them on a GPU where it was traced."""
    if not recipe.prefix:
        return 0, 0
    first = torch.arange(1, device=literal.ids.device)
    recording = record(circuit, literal.ids[:1], 1, first, literal.position[:1], 1, recipe)
    held = sum(part.nbytes for pair in recording.cache for part in pair)
    token = held / literal.ids.shape[1]
    return int(1.25 * token), int(6 * token / circuit.n_blocks)


def pre_act_circuit(loaded: LoadedModel) -> Circuit | None:
    """A circuit whose sites are the outputs of the first MLP linear; None where an MLP is gated, as its neurons come from
    two vectors."""
    if any(site.gated or len(site.feeders) != 1 for site in loaded.sites):
        return None
    return Circuit(loaded, pre_act=True)
