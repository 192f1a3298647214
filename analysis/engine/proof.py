"""Prove at load which replay is exact on this model, and measure how much memory a row takes.

Each recipe, fastest first, is compared with literal full forwards in which a hook overwrites the neurons: rows of two
prompts, at the lowest, a middle and the last layer, in one pass. Logits and gradients must agree to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from knscope.analysis.engine.circuit import FULL, Circuit, Recipe, Rows
from knscope.analysis.engine.models import LoadedModel, probe_ids
from knscope.analysis.engine.passes import brought, record, replay
from knscope.analysis.engine.remembered import Remembered
from knscope.analysis.engine.ways import Case, Cost, Way
from knscope.analysis.errors import ModelError

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.1}
_LARGE = 16.0
"""The probe's edits multiply neurons by at most this. In half precision, rounding hides a small edit's difference, such as
a norm behind the MLP, which rules out `sum`.
"""
_TOKENS = 7
_ROOM = 1.5
"""Blocks also hold what they do not save: half as much again was the most seen among the families tested."""
ORDINARY = Case()
_SEQUENCES = (0, 1, 0)
"""The prompt that each row continues."""


class Proof:
    """What is proven of a model's passes: each way when it is first asked for, and what is remembered never again."""

    def __init__(
        self, circuit: Circuit, loaded: LoadedModel, only: Recipe | None = None, known: Remembered | None = None
    ) -> None:
        """Prove the way for edits at the answer position. Raises ModelError when not even full forwards agree, or `only`
        is not exact."""
        self._circuit, self._loaded, self._only, self._known = circuit, loaded, only, known
        self._ways: dict[Case, Way] = {}
        cost, way = (known.cost(), known.way(ORDINARY)) if known else (None, None)
        if cost is None or way is None:
            literal = _Literal(circuit, loaded, whole=False)
            way = self._fastest(ORDINARY, literal)
            cost = Cost(literal.token, 4 * literal.row_of_logits, *_cache_bytes(circuit, literal, way.recipe))
        self.recipe, self.cost = way.recipe, cost
        self._keep(ORDINARY, way)
        windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=loaded.model.config).layers]
        window = min((int(each) for each in windows if each), default=1 << 30)
        self.longest_prefix = window if self.recipe.prefix and window < loaded.context else 1 << 30
        """Prompts of so many tokens or more have a way of their own: a sliding window cuts their cached prefix."""

    def way(self, case: Case) -> Way:
        """The fastest exact way. Raises ModelError as at construction."""
        if case not in self._ways:
            known = self._known.way(case) if self._known else None
            found = known or self._fastest(case, _Literal(self._circuit, self._loaded, case.whole))
            self._keep(case, found)
        return self._ways[case]

    @property
    def error(self) -> float:
        """Largest relative difference from full forwards, over the ways asked for so far."""
        return max(way.error for way in self._ways.values())

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """Faster recipes that are not exact on this model, each with the reason."""
        return tuple(dict.fromkeys(pair for way in self._ways.values() for pair in way.refused))

    def _keep(self, case: Case, way: Way) -> None:
        self._ways[case] = way
        if self._known and self._known.way(case) != way:
            self._known.keep(self._ways, self.cost)

    def _fastest(self, case: Case, literal: _Literal) -> Way:
        """The first exact base recipe, with every saving that stays exact on top of it."""
        circuit, refused = self._circuit, list[tuple[str, str]]()

        def first_exact(recipes: Iterable[Recipe]) -> tuple[Recipe, float] | None:
            for recipe in recipes:
                why, error = literal.compare(circuit, recipe)
                if not why:
                    return recipe, error
                refused.append((recipe.detail, why))
            return None

        prefix = case.prefix and not case.whole
        only = self._only and replace(self._only, prefix=self._only.prefix and prefix)
        for base in [only] if only else _bases(circuit.decodes and prefix):
            bare = bool(only) or base.enter == "start" or not circuit.has_one_site_a_block
            together, apart = ((), ()) if bare else _savings(base, circuit.is_linear and case.linear)
            before = len(refused)
            if found := first_exact(together):
                return Way(*found, tuple(refused))
            why, error = literal.compare(circuit, base)
            if not why:
                return Way(*(first_exact(apart) or (base, error)), tuple(refused))
            refused[before:] = [(base.detail, why)]
        name = type(circuit.model).__name__
        raise ModelError(f"edits of the neurons of {name} cannot be proven exact: {refused[-1][0]} {refused[-1][1]}")


def prove(circuit: Circuit, loaded: LoadedModel, only: Recipe | None = None, remember: bool = False) -> Proof:
    """Find the fastest exact way. Raises ModelError when not even full forwards agree, or `only` is not exact.
    `remember`: use what is known of the very same model, and keep what is found."""
    return Proof(circuit, loaded, only, Remembered.of(loaded) if remember and only is None else None)


def _savings(base: Recipe, linear: bool) -> tuple[tuple[Recipe, ...], tuple[Recipe, ...]]:
    """Recipes that save more than `base`, fastest first: to be tried before it, and where it is exact and those are not."""
    most = replace(base, tail=True, narrow=not base.prefix)
    sums = (replace(most, sum=True),) if linear else ()
    apart = (*(replace(each, narrow=False, tail=False) for each in sums), replace(base, tail=True))
    return (*sums, most), tuple(each for each in apart if each != most)


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
        self.routing, self.experts = clean.routing, circuit.experts
        generator = torch.Generator().manual_seed(1)
        shape = (len(_SEQUENCES), *clean.sites[0].shape[1:-1], 1)
        factors = [torch.rand(shape, generator=generator).to(device, loaded.dtype) for _ in self.layers]
        self.weight = torch.randn(clean.logits.shape[-1], generator=generator).to(device, loaded.dtype)
        self.token = 0
        """Bytes that a token of a row takes over all blocks, with a gradient."""
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

        def unchanged(layer: int) -> Any:
            fixed = [each[self.sequence].flatten(0, 1) for each in self.routing[layer]]
            return lambda _module, args: (args[0], *fixed)

        saved = _Saved(loaded)
        handles = [module.register_forward_pre_hook(overwrite)]
        handles += [each.register_forward_pre_hook(unchanged(at)) for each, at in self.experts.items()]
        try:
            with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
                logits = loaded.model(input_ids=self.ids[self.sequence]).logits.to(rows.device)[rows, position]
        finally:
            for handle in handles:
                handle.remove()
        if not logits.requires_grad:
            raise ModelError(
                f"no gradient leads from the logits of {type(loaded.model).__name__} to its neurons: it computes without"
            )
        if layer == 0:
            self.token = max(1, int(_ROOM * saved.bytes / (len(rows) * _TOKENS)))
        return logits.detach(), self._gradients(logits, [leaf])[0]

    @property
    def row_of_logits(self) -> int:
        """Bytes."""
        return len(self.weight) * self.weight.element_size()

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


class _Saved:
    """Counts the bytes that a forward saves for its backward, without parameters and logits."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._own = {parameter.data_ptr() for parameter in loaded.model.parameters()}
        self._vocabulary, self._seen = loaded.vocabulary, dict[int, int]()

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own and tensor.shape[-1:] != (self._vocabulary,):
            self._seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self._seen.values())


def _distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the expected norm; infinite for anything not finite."""
    if found.shape != expected.shape:
        return float("inf")
    distance = ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()
    return distance if distance == distance else float("inf")


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
