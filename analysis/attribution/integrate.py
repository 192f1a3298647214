"""Attribution of a fact to every neuron (eq. 1-5): integrated gradients of the answer's F along paths of one layer
at a time.

For query q, step t, path i and layer l, with w the activations at the answer position and w' where the path starts:

    x(a)      = w' + a (w - w')                         all neurons of the layer move together
    score_j  += (w_j - w'_j) * sum_k c_k dF/dw_j (x(a_k))        eq. 2, nodes a_k and weights c_k of the rule
    residual  = sum_j score_j - (F(w) - F(w'))          0 for an exact integral (completeness)

Scores are summed over paths (eq. 3) and averaged over steps (summed where F is a log probability). All (path, layer)
pairs of all queries of one shape are rows of the same passes; those whose residual is too large get twice as many
nodes, up to 80.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knscope.analysis.attribution.method import MethodConfig
from knscope.analysis.attribution.paths import prepare
from knscope.analysis.attribution.promotion import increases
from knscope.analysis.attribution.quadrature import MAX_NODES, Integrals, places
from knscope.analysis.engine import memory
from knscope.analysis.engine.circuit import Circuit, Rows
from knscope.analysis.engine.edits import FlatEdits, slices_by_value
from knscope.analysis.engine.logits import Prediction, predictions, value, value_and_slope
from knscope.analysis.engine.passes import brought, replay
from knscope.analysis.engine.places import tapped
from knscope.analysis.engine.replay import Engine, shapes
from knscope.analysis.prompts.encode import EncodedQuery
from knscope.analysis.types import Bools, Floats, Ints

_NO_PATHS = ("activation", "ablation", "logprob_increase")
"""Kinds that integrate nothing."""
WINDOW, WINDOW_GPU = 32, 256
"""Queries that may share passes; bounds what is held before results are yielded."""


@dataclass(frozen=True)
class PathRecords:
    """One entry per (step, path, layer), as parallel arrays. `path` is the word's index, 0 where there is one path.

    total: sum of the path's attributions in the `difference` form; residual: total - (f_end - f_start).
    """

    step: Ints
    path: Ints
    word: tuple[str, ...]
    layer: Ints
    f_start: Floats
    f_end: Floats
    total: Floats
    residual: Floats
    nodes: Ints
    converged: Bools

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Attribution:
    """scores: (neurons,), float32 (float64 for a float64 model); flagged_layers: where eq. 5's sum is negative or
    near zero."""

    query: EncodedQuery
    scores: NDArray[np.floating]
    prediction: Prediction
    paths: PathRecords
    flagged_layers: tuple[int, ...]


def attribute(
    engine: Engine,
    queries: Sequence[EncodedQuery],
    method: MethodConfig,
    others: Mapping[str, Sequence[EncodedQuery]] | None = None,
) -> Iterator[Attribution]:
    """Attribute each query, in order. `others`: the other facts that paths of baseline `mean` and `resample` start from, by
    language or by query id. Raises ModelError where the method has no meaning on the model."""
    size = WINDOW_GPU if engine.loaded.device.type == "cuda" else WINDOW
    for start in range(0, len(queries), size):
        window = queries[start : start + size]
        found: dict[int, Attribution] = {}
        for indices in shapes(window):
            group = [window[index] for index in indices]
            for low, high in memory.spans(len(group), _group_size(engine, group[0], method)):
                found |= dict(
                    zip(indices[low:high], _Group(engine, group[low:high], method, others).attributions(), strict=True)
                )
        for index in range(len(window)):
            yield found[index]


def shuffle(scores: NDArray[np.floating], offsets: Ints, seed: int, query: EncodedQuery) -> None:
    """Shuffle scores (n_neurons,) within each layer, in place, seeded by the query too: what makes `random` of another method."""
    generator = np.random.default_rng([seed, int(query.query.id, 16)])
    for low, high in pairwise(offsets):
        generator.shuffle(scores[low:high])


def _group_size(engine: Engine, query: EncodedQuery, method: MethodConfig) -> int:
    """How many queries keep their path ends, gradients and logits within a quarter of the budget."""
    tokens = len(query.steps[-1].ids) if method.positions == "all" else 1
    steps = len(query.steps)
    paths = steps * (query.n_words if method.baseline == "per_word" else 1)
    held = 8 * engine.loaded.n_neurons * tokens * (3 * paths + steps + 1) + steps * engine.proof.cost.head // 4
    return max(1, engine.budget // (4 * held))


class _Group:
    """Queries of one shape under one method."""

    def __init__(
        self,
        engine: Engine,
        queries: Sequence[EncodedQuery],
        method: MethodConfig,
        others: Mapping[str, Sequence[EncodedQuery]] | None = None,
    ) -> None:
        self.engine, self.queries = engine, list(queries)
        self.method = _as_integral(method)
        self.kind = method.kind
        self.whole = method.positions == "all"
        self.circuit = self._circuit()
        integrates = self.kind not in _NO_PATHS
        self.ends = integrates and places(self.method.rule, np.array([self.method.nodes]), start=True).end.any()
        """Whether the first pass has a node at w, whose row predicts what the prompt itself does."""
        self.prepared, self.paths = prepare(engine, self.circuit, queries, self.method, not self.ends, others)
        self.steps, self.logits = self.prepared.n_steps, self.prepared.logits
        """Logits of the unedited prompts, by state; where `ends`, the first pass sets them."""
        clean = self.prepared.activations
        self.scores = [each.new_zeros((len(queries), each.shape[-1]), dtype=torch.float64) for each in clean]
        """Sums over paths and steps, layer by layer."""
        self.at_end = [torch.empty_like(each) for each in clean]
        """dF/dw at w by layer, by state; the first pass sets it for a rule that has a node there."""
        self.linear = self.prepared.recipe.sum
        """Whether a path's row at a enters with (1 - a) W (w' - w), W the second MLP linear, instead of with neurons."""
        self.changes = self._changes() if self.linear else []
        """W (w' - w) by layer: (paths, [tokens,] hidden)."""

    @cached_property
    def f_end(self) -> Floats:
        """F(w) by state; known once `logits` are."""
        return value(self.method.target, self.logits, self.prepared.gold).double().cpu().numpy()

    def attributions(self) -> list[Attribution]:
        integrals = Integrals(len(self.paths), len(self.engine.loaded.sites))
        if self.kind == "activation":
            self._add_activations()
        elif self.kind == "ablation":
            self._add_ablations()
        elif self.kind == "logprob_increase":
            for state, added in increases(self.engine, self.prepared, self.method.target):
                for layer, increase in enumerate(added):
                    self._accumulate(layer, self.paths.state[state : state + 1], increase[None])
        else:
            self._integrate(integrals)
        summed = torch.cat(self.scores, dim=1).cpu().numpy()
        if self.method.target != "logprob":
            summed /= self.steps
        if self.kind == "random":
            self._shuffle(summed)
        predicted = predictions(self.logits, self.prepared.gold, self.steps)
        kind = np.float64 if self.engine.loaded.dtype == torch.float64 else np.float32
        results = []
        for index, query in enumerate(self.queries):
            scores, flagged = self._normalised(summed[index])
            records = self._records(index, integrals)
            results.append(Attribution(query, scores.astype(kind), predicted[index], records, flagged))
        return results

    def _circuit(self) -> Circuit:
        loaded, site = self.engine.loaded, self.method.site
        released = site == "released" and loaded.kind == "decoder" and not any(each.gated for each in loaded.sites)
        return self.engine.circuit_for(site == "pre_act" or released)

    def _changes(self) -> list[Tensor]:
        both = zip(self.paths.start, self.prepared.activations, strict=True)
        return [self.circuit.product(layer, start - end[self.paths.state]) for layer, (start, end) in enumerate(both)]

    # --- integration ---

    def _integrate(self, integrals: Integrals) -> None:
        nodes: Ints = np.full(integrals.shape[::-1], self.method.first_nodes)  # (layers, paths)
        pending = np.ones_like(nodes, np.bool_)
        state, eps = self.paths.state.cpu().numpy(), torch.finfo(self.engine.loaded.dtype).eps
        while pending.any():
            layer, path = np.nonzero(pending)
            gradients = self._gradients(layer, path, nodes[pending], integrals, first=not integrals.nodes.any())
            chosen = torch.from_numpy(path).to(self.paths.state.device)
            here = slices_by_value(layer)
            totals = [self._total(number, chosen[jobs], gradients[number]) for number, jobs in here.items()]
            sums = torch.cat(totals).cpu().numpy()
            integrals.judge(path, layer, nodes[pending], sums, self.f_end[state[path]], eps, self.method.tolerance)
            done = (not self.method.is_adaptive) | integrals.converged[path, layer] | (nodes[pending] >= MAX_NODES)
            for number, jobs in here.items():
                if done[jobs].all():
                    self._add(number, chosen[jobs], gradients[number])
                else:
                    kept = torch.from_numpy(np.flatnonzero(done[jobs])).to(chosen.device)
                    self._add(number, chosen[jobs][kept], gradients[number][kept])
            pending[layer[done], path[done]] = False
            nodes = np.minimum(2 * nodes, MAX_NODES)

    def _gradients(self, layer: Ints, path: Ints, nodes: Ints, integrals: Integrals, first: bool) -> dict[int, Tensor]:
        """Weighted mean gradients (jobs, width) by layer of the jobs (layer, path), ordered by layer, with `nodes` (jobs,)
        nodes each. The first pass also stores F(w')."""
        on = places(self.method.rule, nodes, start=first)
        here, device = slices_by_value(layer), self.paths.state.device
        chosen = torch.from_numpy(path).to(device)
        result = {number: self._nothing(number, len(path[jobs])) for number, jobs in here.items()}
        place = np.arange(len(layer)) - np.searchsorted(layer, layer)  # of each job among its layer's
        state = self.paths.state.cpu().numpy()
        for part in self.prepared.parts():
            rows = np.flatnonzero(np.isin(state[path[on.of]], part.cpu().numpy()))
            ends = part if first and self.ends else part[:0]

            def work(low: int, high: int, ends: Tensor = ends, rows: Ints = rows) -> None:
                mine = rows[max(0, low - len(ends)) : max(0, high - len(ends))]
                job, at = on.of[mine], on.at[mine]
                f, gradients = self._pass(ends[low:high], layer[job], path[job], at)
                if first:
                    starts = at == 0
                    integrals.f_start[path[job[starts]], layer[job[starts]]] = f[starts]
                to, weight = torch.from_numpy(place[job]).to(device), torch.from_numpy(on.weight[mine]).to(device)
                within = slices_by_value(layer[job])
                for number, these in within.items():  # allocate before adding: a row is added once or not at all
                    gradient = gradients[number].to(result[number].dtype)
                    gradients[number] = gradient * wide(weight[these], gradient)
                for number, these in within.items():
                    result[number].index_add_(0, to[these], gradients[number])

            entering = np.concatenate([np.zeros(len(ends), np.int64), layer[on.of[rows]]])
            for low, high in self.engine.chunks(self.prepared, entering, gradient=True):
                memory.halving(low, high, work)
        end = torch.from_numpy(on.end).to(device)
        for number, jobs in here.items():
            if self.linear:
                result[number] = self.circuit.product_back(number, result[number].to(self.changes[number].dtype))
            if on.end.any():
                ended = self.at_end[number][self.paths.state[chosen[jobs]]]
                result[number] = result[number] + wide(end[jobs], ended) * ended
        return result

    def _nothing(self, layer: int, jobs: int) -> Tensor:
        """Zeros to sum the gradients of `jobs` jobs at `layer` in, in float32 or better."""
        brought = (self.changes if self.linear else self.paths.start)[layer]
        precise = torch.promote_types(brought.dtype, torch.float32)
        return brought.new_zeros((jobs, *brought.shape[1:]), dtype=precise)

    def _pass(self, ends: Tensor, layer: Ints, path: Ints, at: Floats) -> tuple[Floats, dict[int, Tensor]]:
        """F (rows,) and dF/dx by layer, for rows (layer, path, place on the path) ordered by layer.

        All paths and layers of a state end in the unedited model. So one row per state in `ends` goes first, from the
        lowest layer up, and its gradients at the neurons of every layer go to `at_end`.
        """
        paths, where = (torch.from_numpy(each).to(ends.device) for each in (path, at))
        n, here = len(ends), slices_by_value(layer)
        state = torch.cat([ends, self.paths.state[paths]])
        position = self.prepared.position[state]
        leaves: dict[int, Tensor] = {}
        for number, these in here.items():
            leaves[number] = self._brought(number, paths[these], where[these]).requires_grad_(True)
        zeros: list[Tensor] = []
        values = dict(leaves)
        if n:
            zeros = [torch.zeros_like(each[ends]).requires_grad_(True) for each in self.prepared.activations]
            clean = self.prepared.activations[0][ends]
            unchanged = brought(self.circuit, self.prepared.recipe, 0, clean + zeros[0], clean)
            values[0] = torch.cat([unchanged, *([values[0]] if 0 in leaves else [])])
        later = {number: partial(tapped, zero, position[:n]) for number, zero in enumerate(zeros) if number}
        rows = Rows(self.prepared.sequence[state], position, [0] * n + layer.tolist())
        logits = replay(self.circuit, self.prepared.recording, rows, values, self.prepared.recipe, later)
        f, slope = value_and_slope(self.method.target, logits.detach(), self.prepared.gold[state])
        if n:
            if not len(self.logits):
                self.logits = logits.new_empty((len(self.prepared.gold), logits.shape[-1]))
            self.logits[ends] = logits.detach()[:n]
        gradients = torch.autograd.grad(logits, [*zeros, *leaves.values()], slope)
        for number, gradient in enumerate(gradients[: len(zeros)]):
            self.at_end[number][ends] = gradient
        return f[n:].double().cpu().numpy(), dict(zip(leaves, gradients[len(zeros) :], strict=True))

    def _brought(self, layer: int, paths: Tensor, at: Tensor) -> Tensor:
        """The input of rows at places `at` of paths at `layer`: (rows, [tokens,] width or hidden)."""
        if self.linear:  # x(a) - w = (1 - a) (w' - w)
            change = self.changes[layer][paths]
            return change * wide(1 - at, change)
        start, end = self.paths.start[layer][paths], self.prepared.activations[layer][self.paths.state[paths]]
        return start + wide(at, start) * (end - start)

    def _total(self, layer: int, paths: Tensor, gradient: Tensor) -> Tensor:
        """(jobs,): the sum of each path's attributions."""
        difference = self.prepared.activations[layer][self.paths.state[paths]] - self.paths.start[layer][paths]
        return (difference.double() * gradient.double()).flatten(1).sum(1)

    def _add(self, layer: int, paths: Tensor, gradient: Tensor) -> None:
        state = self.paths.state[paths]
        factor = self.prepared.activations[layer][state]
        if self.method.multiplier == "difference":
            factor = factor - self.paths.start[layer][paths]
        product = factor.double() * gradient.double()
        self._accumulate(layer, state, product.sum(1) if self.whole else product)

    def _accumulate(self, layer: int, state: Tensor, values: Tensor) -> None:
        """Add (paths, width) to the scores of the queries that the states belong to."""
        self.scores[layer].index_add_(0, state // self.steps, values)

    # --- the other kinds ---

    def _add_activations(self) -> None:
        everyone = torch.arange(len(self.prepared.gold), device=self.prepared.gold.device)
        for layer, activations in enumerate(self.prepared.activations):
            self._accumulate(layer, everyone, activations.double().abs())

    def _add_ablations(self) -> None:
        """F(w) - F(w_j <- w'_j), one row per neuron and path."""
        neurons = self.engine.loaded.n_neurons
        starts = torch.cat(self.paths.start, dim=1).double().cpu().numpy()
        state = self.paths.state.cpu().numpy()
        everyone, drop = np.arange(neurons), np.empty(neurons)
        for path in range(len(self.paths)):

            def keep(rows: Ints, states: Tensor, logits: Tensor, end: float = self.f_end[state[path]]) -> None:
                f = value(self.method.target, logits, self.prepared.gold[states])
                drop[rows] = end - f.double().cpu().numpy()

            edits = FlatEdits(everyone, everyone, np.zeros(neurons), starts[path])
            self.engine.run_edits(self.prepared, np.full(neurons, state[path]), edits, keep)
            of_layers = zip(self.engine.offsets, self.engine.offsets[1:], strict=False)
            for layer, (low, high) in enumerate(of_layers):
                values = torch.from_numpy(drop[None, low:high]).to(self.paths.state.device)
                self._accumulate(layer, self.paths.state[path : path + 1], values)

    def _shuffle(self, scores: Floats) -> None:
        """Shuffle the scores within each layer, seeded by the method and the query."""
        for index, query in enumerate(self.queries):
            shuffle(scores[index], self.engine.offsets, self.method.seed, query)

    # --- results ---

    def _normalised(self, scores: Floats) -> tuple[Floats, tuple[int, ...]]:
        """Eq. 5: divide by the layer's signed sum. A negative score stays negative, whatever the sign of the sum."""
        if self.method.normalise == "none":
            return scores, ()
        result, flagged = np.zeros_like(scores), []
        for layer, (low, high) in enumerate(zip(self.engine.offsets, self.engine.offsets[1:], strict=False)):
            part = scores[low:high]
            total, size = part.sum(), np.abs(part).sum()
            if total <= 0 or abs(total) < 0.05 * size:
                flagged.append(layer)
            if total != 0:
                result[low:high] = np.where(part < 0, -np.abs(part / total), part / total)
        return result, tuple(flagged)

    def _records(self, index: int, integrals: Integrals) -> PathRecords:
        state = self.paths.state.cpu().numpy()
        layers = integrals.shape[1]
        if self.kind in _NO_PATHS:
            state, layers = np.empty(0, np.int64), 0
        mine = np.flatnonzero(state // self.steps == index)
        path, layer = np.repeat(mine, layers), np.tile(np.arange(layers), len(mine))
        f_end, f_start, total = self.f_end[state[path]], integrals.f_start[path, layer], integrals.total[path, layer]
        return PathRecords(
            step=state[path] % self.steps,
            path=self.paths.path[path],
            word=tuple(self.paths.word[each] for each in path),
            layer=layer,
            f_start=f_start,
            f_end=f_end,
            total=total,
            residual=total - (f_end - f_start),
            nodes=integrals.nodes[path, layer],
            converged=integrals.converged[path, layer],
        )


def _as_integral(method: MethodConfig) -> MethodConfig:
    """Gradient times activation is the one-node right rule from zero, by w; attribution patching the same from w', by w - w'."""
    if method.kind == "attribution_patching":
        return replace(method, rule="right", nodes=1, multiplier="difference")
    if method.kind != "grad_x_act":
        return method
    return replace(method, baseline="zero", rule="right", nodes=1, multiplier="activation")


def wide(factor: Tensor, like: Tensor) -> Tensor:
    """factor (rows,) in the shape and dtype to multiply `like` (rows, ...) by."""
    return factor.to(like).view(-1, *[1] * (like.dim() - 1))
