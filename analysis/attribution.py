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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis import memory
from analysis.circuit import Circuit, Rows
from analysis.method import MethodConfig
from analysis.passes import brought, replay
from analysis.paths import prepare
from analysis.predictions import Prediction, predictions
from analysis.prompts import EncodedQuery
from analysis.quadrature import MAX_NODES, converged, places
from analysis.replay import Doubles, Engine, FlatEdits, Ints, shapes
from analysis.smoothness import FEWEST_NODES, ellipse, expected_nodes
from analysis.tap import tapped
from analysis.target import value, value_and_slope

WINDOW = 32
"""Queries looked at together for passes to share; bounds what is held before results are handed out."""


@dataclass(frozen=True)
class PathRecords:
    """One entry per (step, path, layer), as parallel arrays. `path` is the word's index, 0 where there is one path.

    total: sum of the path's attributions in the `difference` form; residual: total - (f_end - f_start).
    """

    step: Ints
    path: Ints
    word: tuple[str, ...]
    layer: Ints
    f_start: Doubles
    f_end: Doubles
    total: Doubles
    residual: Doubles
    nodes: Ints
    converged: NDArray[np.bool_]

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


def attribute(engine: Engine, queries: Sequence[EncodedQuery], method: MethodConfig) -> Iterator[Attribution]:
    """Attribute each query, in order. Raises ModelError where the method has no meaning on the model."""
    for start in range(0, len(queries), WINDOW):
        window = queries[start : start + WINDOW]
        found: dict[int, Attribution] = {}
        for indices in shapes(window):
            group = [window[index] for index in indices]
            size = _group_size(engine, group[0], method)
            for low, high in memory.spans(len(group), size):
                found |= dict(
                    zip(indices[low:high], _Group(engine, group[low:high], method).attributions(), strict=True)
                )
        for index in range(len(window)):
            yield found[index]


def _group_size(engine: Engine, query: EncodedQuery, method: MethodConfig) -> int:
    """Queries whose path ends and gradients together stay within a quarter of the budget."""
    tokens = len(query.steps[-1].ids) if method.positions == "all" else 1
    paths = len(query.steps) * (query.n_words if method.baseline == "per_word" else 1)
    return max(1, engine.budget // (4 * 8 * engine.loaded.n_neurons * tokens * (3 * paths + len(query.steps) + 1)))


@dataclass
class _Integral:
    """What is known of each (path, layer) so far."""

    shape: tuple[int, int]
    f_start: Doubles = field(init=False)
    total: Doubles = field(init=False)
    nodes: Ints = field(init=False)
    converged: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.f_start, self.total = np.zeros(self.shape), np.zeros(self.shape)
        self.nodes, self.converged = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.bool_)


class _Group:
    """Queries of one shape under one method."""

    def __init__(self, engine: Engine, queries: Sequence[EncodedQuery], method: MethodConfig) -> None:
        self.engine, self.queries = engine, list(queries)
        self.method = _as_integral(method)
        self.kind = method.kind
        self.whole = method.positions == "all"
        self.circuit = self._circuit()
        self.prepared, self.paths = prepare(engine, self.circuit, queries, self.method)
        self.steps = self.prepared.n_steps
        self.f_end = value(self.method.target, self.prepared.logits, self.prepared.gold).double().cpu().numpy()
        self.scores = np.zeros((len(self.queries), engine.loaded.n_neurons))
        self.at_end = [torch.empty_like(activations) for activations in self.prepared.activations]
        """dF/dw by layer at w itself, by state: set by the first pass of a rule that has a node there."""
        brings = self.prepared.recipe.bring != "neurons"
        self.linear = brings and self.circuit.is_linear
        """Whether a path's row brings at a (1 - a) times what it does at 0, W (w' - w), W the second MLP linear."""
        self.changes = self._changes() if self.linear or (brings and self.method.starts_low) else []
        """What it brings at 0, by layer: (paths, [tokens,] hidden)."""

    def attributions(self) -> list[Attribution]:
        integral = _Integral((len(self.paths), len(self.engine.loaded.sites)))
        if self.kind == "activation":
            self._add_activations()
        elif self.kind == "ablation":
            self._add_ablations()
        else:
            self._integrate(integral)
        if self.method.target != "logprob":
            self.scores /= self.steps
        if self.kind == "random":
            self._shuffle()
        predicted = predictions(self.prepared.logits, self.prepared.gold, self.steps)
        kind = np.float64 if self.engine.loaded.dtype == torch.float64 else np.float32
        results = []
        for index, query in enumerate(self.queries):
            scores, flagged = self._normalised(self.scores[index])
            records = self._records(index, integral)
            results.append(Attribution(query, scores.astype(kind), predicted[index], records, flagged))
        return results

    def _circuit(self) -> Circuit:
        loaded, site = self.engine.loaded, self.method.site
        released = site == "released" and loaded.kind == "decoder" and not any(each.gated for each in loaded.sites)
        return self.engine.circuit_for(site == "pre_act" or released)

    def _changes(self) -> list[Tensor]:
        both = zip(self.paths.start, self.prepared.activations, strict=True)
        return [self.circuit.change(layer, start, end[self.paths.state]) for layer, (start, end) in enumerate(both)]

    # --- integration ---

    def _integrate(self, integral: _Integral) -> None:
        adaptive = self.method.is_adaptive
        nodes = self._first_nodes(integral.shape)
        pending = np.ones_like(nodes, np.bool_)
        while pending.any():
            layer, path = np.nonzero(pending)
            gradients = self._gradients(layer, path, nodes[pending], integral, first=not integral.nodes.any())
            for number, gradient in gradients.items():
                here = path[layer == number]
                self._judge(number, here, gradient, nodes[number, here], integral)
                done = integral.converged[here, number] | (not adaptive) | (nodes[number, here] >= MAX_NODES)
                self._add(number, here[done], gradient[torch.from_numpy(done).to(gradient.device)])
                pending[number, here[done]] = False
            nodes = np.minimum(2 * nodes, MAX_NODES)

    def _first_nodes(self, shape: tuple[int, int]) -> Ints:
        """Nodes that each integral starts with, (layers, paths)."""
        paths, layers = shape
        nodes: Ints = np.full((layers, paths), self.method.nodes)
        if not self.method.starts_low:
            return nodes
        recipe, recording = self.prepared.recipe, self.prepared.recording
        if recipe.bring != "sum":  # a norm follows the MLP: what it divides by is not recorded
            nodes[:] = min(FEWEST_NODES, self.method.nodes)
            return nodes
        sequence, position = self.prepared.sequence[self.paths.state], self.prepared.position[self.paths.state]
        for site, change in zip(self.engine.loaded.sites, self.changes, strict=True):
            after = recording.after[site.block][sequence]
            stream = after if self.whole else after[torch.arange(paths, device=after.device), position]
            nodes[site.layer] = expected_nodes(ellipse(stream, change), self.method.tolerance, self.method.nodes)
        return nodes

    def _gradients(self, layer: Ints, path: Ints, nodes: Ints, integral: _Integral, first: bool) -> dict[int, Tensor]:
        """Weighted mean gradients (jobs, width) by layer, of the jobs (layer, path) ordered by layer, of `nodes` (jobs,)
        each; F(w') on the way."""
        on = places(self.method.rule, nodes, start=first)
        brought = self.changes if self.linear else self.paths.start
        result = {
            number: torch.zeros_like(brought[number][torch.from_numpy(path[layer == number])])
            for number in np.unique(layer).tolist()
        }
        start_of = {number: int(np.searchsorted(layer, number)) for number in result}
        state = self.paths.state.cpu().numpy()
        for part in self.prepared.parts():
            rows = np.flatnonzero(np.isin(state[path[on.of]], part.cpu().numpy()))
            ends = part if first and on.end.any() else part[:0]

            def work(low: int, high: int, ends: Tensor = ends, rows: Ints = rows) -> None:
                here = rows[max(0, low - len(ends)) : max(0, high - len(ends))]
                job, at = on.of[here], on.at[here]
                f, gradients = self._pass(ends[low:high], layer[job], path[job], at)
                if first:
                    starts = at == 0
                    integral.f_start[path[job[starts]], layer[job[starts]]] = f[starts]
                for number, gradient in gradients.items():
                    mine = layer[job] == number
                    scale = torch.from_numpy(on.weight[here[mine]]).to(gradient)
                    to = torch.from_numpy(job[mine] - start_of[number]).to(gradient.device)
                    result[number].index_add_(0, to, gradient * scale.view(-1, *[1] * (gradient.dim() - 1)))

            entering = np.concatenate([np.zeros(len(ends), np.int64), layer[on.of[rows]]])
            for low, high in self.engine.chunks(self.prepared, entering, gradient=True):
                memory.halving(low, high, work)
        for number, total in result.items():
            at_neurons = self.circuit.product_back(number, total) if self.linear else total
            if on.end.any():
                chosen = torch.from_numpy(path[layer == number]).to(total.device)
                end = torch.from_numpy(on.end[layer == number]).to(at_neurons)
                ended = self.at_end[number][self.paths.state[chosen]]
                at_neurons += end.view(-1, *[1] * (ended.dim() - 1)) * ended
            result[number] = at_neurons
        return result

    def _pass(self, ends: Tensor, layer: Ints, path: Ints, at: Doubles) -> tuple[Doubles, dict[int, Tensor]]:
        """F (rows,) and dF/dx by layer, of rows (layer, path, place on the path) ordered by layer.

        All paths and layers of a state end in the model as it is. So one row a state in `ends` goes before these, from
        the lowest layer up, and its gradients at the neurons of every layer go to `at_end`.
        """
        paths, n = torch.from_numpy(path).to(ends.device), len(ends)
        state = torch.cat([ends, self.paths.state[paths]])
        position = self.prepared.position[state]
        leaves: dict[int, Tensor] = {}
        for number in np.unique(layer).tolist():
            low, high = np.searchsorted(layer, (number, number + 1))
            leaves[number] = self._brought(number, paths[low:high], at[low:high]).requires_grad_(True)
        zeros: list[Tensor] = []
        values = dict(leaves)
        if not self.linear:
            for number, leaf in leaves.items():
                values[number] = self._entering(
                    number, leaf, state[n:][torch.from_numpy(layer == number).to(state.device)]
                )
        if n:
            zeros = [torch.zeros_like(each[ends]).requires_grad_(True) for each in self.prepared.activations]
            unchanged = self._entering(0, self.prepared.activations[0][ends] + zeros[0], ends)
            values[0] = torch.cat([unchanged, *([values[0]] if 0 in leaves else [])])
        later = {number: partial(tapped, zero, position[:n]) for number, zero in enumerate(zeros) if number}
        rows = Rows(self.prepared.sequence[state], position, [0] * n + layer.tolist())
        logits = replay(self.circuit, self.prepared.recording, rows, values, self.prepared.recipe, later)
        f, slope = value_and_slope(self.method.target, logits.detach(), self.prepared.gold[state])
        gradients = torch.autograd.grad(logits, [*zeros, *leaves.values()], slope)
        for number, gradient in enumerate(gradients[: len(zeros)]):
            self.at_end[number][ends] = gradient
        return f[n:].double().cpu().numpy(), dict(zip(leaves, gradients[len(zeros) :], strict=True))

    def _brought(self, layer: int, paths: Tensor, at: Doubles) -> Tensor:
        """What rows at places `at` of paths bring to `layer`: (rows, [tokens,] width or hidden)."""
        if self.linear:  # x(a) - w = (1 - a) (w' - w)
            change = self.changes[layer][paths]
            return change * torch.from_numpy(1 - at).to(change).view(-1, *[1] * (change.dim() - 1))
        start, end = self.paths.start[layer][paths], self.prepared.activations[layer][self.paths.state[paths]]
        return start + torch.from_numpy(at).to(start).view(-1, *[1] * (start.dim() - 1)) * (end - start)

    def _entering(self, layer: int, neurons: Tensor, state: Tensor) -> Tensor:
        """What rows of `state` bring to `layer` whose neurons there are (rows, [tokens,] width)."""
        return brought(self.circuit, self.prepared.recipe, layer, neurons, self.prepared.activations[layer][state])

    def _judge(self, layer: int, path: Ints, gradient: Tensor, nodes: Ints, integral: _Integral) -> None:
        """Compare each job's sum of attributions with the change of F it should account for."""
        chosen = torch.from_numpy(path).to(gradient.device)
        state = self.paths.state[chosen]
        difference = self.prepared.activations[layer][state] - self.paths.start[layer][chosen]
        total = (difference.double() * gradient.double()).flatten(1).sum(1).cpu().numpy()
        integral.total[path, layer], integral.nodes[path, layer] = total, nodes
        integral.converged[path, layer] = converged(
            total,
            integral.f_start[path, layer],
            self.f_end[state.cpu().numpy()],
            torch.finfo(gradient.dtype).eps,
            self.method.tolerance,
        )

    def _add(self, layer: int, path: Ints, gradient: Tensor) -> None:
        if not len(path):
            return
        chosen = torch.from_numpy(path).to(gradient.device)
        state = self.paths.state[chosen]
        factor = self.prepared.activations[layer][state]
        if self.method.multiplier == "difference":
            factor = factor - self.paths.start[layer][chosen]
        product = factor.double() * gradient.double()
        self._accumulate(layer, state, product.sum(1) if self.whole else product)

    def _accumulate(self, layer: int, state: Tensor, values: Tensor) -> None:
        """Add (paths, width) to the scores of the queries that the states belong to."""
        low, high = self.engine.offsets[layer], self.engine.offsets[layer + 1]
        np.add.at(self.scores[:, low:high], (state // self.steps).cpu().numpy(), values.cpu().numpy())

    # --- the other kinds ---

    def _add_activations(self) -> None:
        everyone = torch.arange(len(self.prepared.gold), device=self.prepared.gold.device)
        for layer, activations in enumerate(self.prepared.activations):
            self._accumulate(layer, everyone, activations.double().abs())

    def _add_ablations(self) -> None:
        """F(w) - F(w_j <- w'_j), one row a neuron and path."""
        neurons = self.engine.loaded.n_neurons
        starts = torch.cat(self.paths.start, dim=1).double().cpu().numpy()
        state = self.paths.state.cpu().numpy()
        for path in range(len(self.paths)):
            everyone = np.arange(neurons)
            query = state[path] // self.steps

            def keep(
                rows: Ints, states: Tensor, logits: Tensor, query: int = query, end: float = self.f_end[state[path]]
            ) -> None:
                self.scores[query, rows] += (
                    end - value(self.method.target, logits, self.prepared.gold[states]).double().cpu().numpy()
                )

            edits = FlatEdits(everyone, everyone, np.zeros(neurons), starts[path])
            self.engine.run_edits(self.prepared, np.full(neurons, state[path]), edits, keep)

    def _shuffle(self) -> None:
        """Each layer keeps its scores and loses which neuron has which: seeded by the method and the query."""
        for index, query in enumerate(self.queries):
            generator = np.random.default_rng([self.method.seed, int(query.query.id, 16)])
            for low, high in zip(self.engine.offsets, self.engine.offsets[1:], strict=False):
                generator.shuffle(self.scores[index, low:high])

    # --- results ---

    def _normalised(self, scores: Doubles) -> tuple[Doubles, tuple[int, ...]]:
        """Eq. 5: by the layer's signed sum. A neuron negative before it stays so, whatever the sign of the sum."""
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

    def _records(self, index: int, integral: _Integral) -> PathRecords:
        state = self.paths.state.cpu().numpy()
        layers = integral.shape[1]
        if self.kind in ("activation", "ablation"):
            state, layers = np.empty(0, np.int64), 0
        mine = np.flatnonzero(state // self.steps == index)
        path, layer = np.repeat(mine, layers), np.tile(np.arange(layers), len(mine))
        f_end, f_start, total = self.f_end[state[path]], integral.f_start[path, layer], integral.total[path, layer]
        return PathRecords(
            step=state[path] % self.steps,
            path=self.paths.path[path],
            word=tuple(self.paths.word[each] for each in path),
            layer=layer,
            f_start=f_start,
            f_end=f_end,
            total=total,
            residual=total - (f_end - f_start),
            nodes=integral.nodes[path, layer],
            converged=integral.converged[path, layer],
        )


def _as_integral(method: MethodConfig) -> MethodConfig:
    """Gradient times activation is the one-node right rule from zero, by w."""
    if method.kind != "grad_x_act":
        return method
    return replace(method, baseline="zero", rule="right", nodes=1, multiplier="activation")
