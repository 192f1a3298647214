"""The engine: predictions, activations and edits of neurons, each computed from the lowest edited block up.

    engine = Engine(load_model("bert-base-multilingual-cased"))
    query = encode(engine.loaded, Query("tz", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma"))
    before, = engine.predict([query])
    after, = engine.edited(query, [Edit.suppress([17, 4711])])

Queries of one shape share a pass and are never padded, so a result does not depend on what else is computed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knscope.analysis.engine import memory, proof
from knscope.analysis.engine.circuit import Circuit, Recipe, Recording, Rows
from knscope.analysis.engine.edits import Edit as Edit
from knscope.analysis.engine.edits import FlatEdits as FlatEdits
from knscope.analysis.engine.edits import slices_by_value
from knscope.analysis.engine.logits import Edited, log_probabilities, predictions, read_logits
from knscope.analysis.engine.logits import Prediction as Prediction
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.passes import Edit as SiteEdit
from knscope.analysis.engine.passes import brought, record, replay
from knscope.analysis.engine.ways import Case
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery, Step, encode_statement
from knscope.analysis.types import Bools, Ints


@dataclass(frozen=True)
class Prepared:
    """Queries of one shape, recorded. State q*T + t is query q at step t; sequence, position and gold are per state.

    activations[layer]: (states, width) at the answer positions, or (states, tokens, width) where asked for.
    """

    queries: tuple[EncodedQuery, ...]
    recording: Recording
    sequence: Tensor
    position: Tensor
    gold: Tensor
    activations: list[Tensor]
    extra: list[Tensor]
    """Activations of the extra sequences, layer by layer."""
    logits: Tensor
    circuit: Circuit
    recipe: Recipe
    """The recipe that replays them."""

    @property
    def n_steps(self) -> int:
        return len(self.queries[0].steps)

    @property
    def tokens(self) -> int:
        """Tokens of a replayed row."""
        return 1 if self.recipe.prefix else int(self.recording.ids.shape[1])

    @property
    def prefix(self) -> int:
        """Most cached tokens before a replayed row."""
        return int(self.recording.ids.shape[1]) - 1 if self.recipe.prefix else 0

    def ids_of(self, state: int) -> Tensor:
        """(1, tokens) of a state's sequence."""
        sequence = int(self.sequence[state])
        return self.recording.ids[sequence : sequence + 1]

    def parts(self) -> list[Tensor]:
        """Groups of states that may share a replay: all of them, or one answer position at a time over a cached prefix."""
        states = torch.arange(len(self.gold), device=self.gold.device)
        return [states[step :: self.n_steps] for step in range(self.n_steps)] if self.recipe.prefix else [states]


@dataclass(frozen=True)
class Variant:
    """A changed sequence: `ids`, read at the answer position of each state in `states`."""

    ids: tuple[int, ...]
    states: tuple[int, ...]


@dataclass(frozen=True)
class _States:
    """State s reads the gold token gold[s] at position[s] of ids[sequence[s]]."""

    ids: list[tuple[int, ...]]
    sequence: list[int]
    position: list[int]
    gold: list[int]

    def reads(self, variants: Sequence[Variant], clean: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The sequences of one pass, the queries' own first where `clean`, and which of them are read where."""
        ids = [*self.ids] if clean else []
        reads = [*zip(self.sequence, self.position, strict=True)] if clean else []
        for row, variant in enumerate(variants, len(ids)):
            reads += [(row, self.position[state]) for state in variant.states]
        at = torch.tensor(reads, device=device)  # (reads, 2)
        return torch.tensor([*ids, *(variant.ids for variant in variants)], device=device), at[:, 0], at[:, 1]


class Engine:
    """A loaded model with proven passes and a memory budget. Construction proves the passes that nearly all need (some
    eight small forwards); the others are proven when they are first asked for."""

    def __init__(
        self, loaded: LoadedModel, memory_bytes: int | None = None, recipe: Recipe | None = None, remember: bool = True
    ) -> None:
        """`memory_bytes` bounds what the passes may fill (default: half of what is free); `recipe` skips the choice,
        for tests; `remember`: a proof of the very same model is kept and used again."""
        self.loaded = loaded
        self.circuit = Circuit(loaded)
        self.proof = proof.prove(self.circuit, loaded, recipe, remember)
        self.recipe = self.proof.recipe
        self.budget = memory.budget(memory_bytes, loaded.device)
        self.offsets = np.array([site.offset for site in loaded.sites] + [loaded.n_neurons], np.int64)
        self._pre_act = proof.pre_act_circuit(loaded)
        self.between: Callable[[], None] = lambda: None
        """Called before each pass of edits or paths: what it raises ends the work there."""

    @property
    def replay(self) -> bool:
        return self.recipe.enter != "start"

    def circuit_for(self, pre_act: bool) -> Circuit:
        """The circuit whose sites lie after the activation function, or before it with `pre_act`. Raises ModelError for
        `pre_act` on a gated MLP."""
        if not pre_act:
            return self.circuit
        if self._pre_act is None:
            name = self.loaded.identity.name
            raise ModelError(f"{name}: pre_act has no meaning for an MLP with a gate; use site=post_act")
        return self._pre_act

    def capacity(self, tokens: int, gradient: bool, prefix: int = 0) -> int:
        """Rows of `tokens` tokens, behind `prefix` cached ones, that one pass may hold."""
        return self.proof.cost.rows(self.budget, tokens, gradient, self.loaded.device.type == "cpu", prefix)

    # --- predictions and edits of a query ---

    def predict(self, queries: Sequence[EncodedQuery]) -> list[Prediction]:
        """The unedited model on each query, in order."""
        found: dict[int, Prediction] = {}
        for indices in shapes(queries):
            group = [queries[index] for index in indices]
            rows = self.capacity(len(group[0].steps[-1].ids), gradient=False)
            for start, end in memory.spans(len(group), max(1, rows // len(group[0].steps))):
                found |= dict(zip(indices[start:end], self._predict(group[start:end]), strict=True))
        return [found[index] for index in range(len(queries))]

    def _predict(self, group: Sequence[EncodedQuery]) -> list[Prediction]:
        prepared = self.prepare(group, replayed=False)
        return predictions(prepared.logits, prepared.gold, len(group[0].steps))

    def activations(self, query: EncodedQuery) -> NDArray[np.float32]:
        """(T, neurons): every neuron at each step's answer position."""
        prepared = self.prepare([query], replayed=False, logits=False)
        return torch.cat(prepared.activations, dim=1).float().cpu().numpy()

    def object_activations(self, query: EncodedQuery) -> NDArray[np.float32]:
        """(neurons,): activations at the answer's own tokens, filled into the text; their mean."""
        statement = encode_statement(self.loaded, query.query)
        mean: NDArray[np.float32] = self.activations(statement).mean(axis=0)
        return mean

    def edited(self, query: EncodedQuery, edits: Sequence[Edit]) -> list[Prediction]:
        """Predictions under each edit, applied at each step's answer position. Any number of edits."""
        argmax = np.empty(len(edits) * len(query.steps), np.int64)

        def more(rows: Ints, logits: Tensor) -> None:
            argmax[rows] = logits.argmax(-1).cpu().numpy()

        found = self.edited_rows(query, FlatEdits.of(edits), len(edits), more)
        return [Prediction(*row) for row in zip(found.p, found.ranks, argmax.reshape(found.p.shape), strict=True)]

    def edited_rows(
        self, query: EncodedQuery, edits: FlatEdits, n: int, more: Callable[[Ints, Tensor], None] | None = None
    ) -> Edited:
        """The query before and under edits 0..n-1, as arrays. `more` receives all logits; row r is edit r // T at step r % T."""
        prepared = self.prepare([query])
        steps = len(query.steps)
        p, ranks = np.empty(n * steps, np.float64), np.empty(n * steps, np.int64)

        def keep(rows: Ints, states: Tensor, logits: Tensor) -> None:
            p[rows], ranks[rows] = read_logits(logits, prepared.gold[states])
            if more:
                more(rows, logits)

        self.run_edits(prepared, np.tile(np.arange(steps), n), edits.at_each(steps), keep)
        (before,) = predictions(prepared.logits, prepared.gold, steps)
        return Edited(before, p.reshape(n, steps), ranks.reshape(n, steps))

    def rerouted(self, query: EncodedQuery, edits: Sequence[Edit]) -> Bools | None:
        """(edits,): whether the model, free to route, would run other experts above an edit at a token that is computed anew;
        None for a model without routed experts."""
        if not self.circuit.experts:
            return None
        prepared, steps = self.prepare([query]), len(query.steps)
        found = np.zeros(len(edits) * steps, np.bool_)
        states = np.tile(np.arange(steps), len(edits))
        self.run_edits(prepared, states, FlatEdits.of(edits).at_each(steps), lambda *_: None, found)
        return np.asarray(found.reshape(len(edits), steps).any(axis=1), np.bool_)

    def log_probs(self, query: EncodedQuery, edits: Sequence[Edit]) -> NDArray[np.float32]:
        """(1 + edits, vocabulary): log probabilities of the first step's next token, unedited in row 0, then under
        each edit."""
        query = replace(query, steps=query.steps[:1])
        prepared = self.prepare([query])
        result = np.empty((1 + len(edits), prepared.logits.shape[-1]), np.float32)
        result[0] = log_probabilities(prepared.logits.float()).cpu().numpy()[0]

        def keep(rows: Ints, _states: Tensor, logits: Tensor) -> None:
            result[1 + rows] = log_probabilities(logits.float()).cpu().numpy()

        self.run_edits(prepared, np.zeros(len(edits), np.int64), FlatEdits.of(edits), keep)
        return result

    # --- passes ---

    def prepare(
        self,
        queries: Sequence[EncodedQuery],
        variants: Sequence[Variant] = (),
        *,
        replayed: bool = True,
        logits: bool = True,
        whole: bool = False,
        circuit: Circuit | None = None,
    ) -> Prepared:
        """Record queries of one shape, and read the activations of `variants` of them (`extra`: one row per variant
        and state).

        `replayed=False` keeps nothing to replay from; `whole=True` keeps the activations of all tokens.
        """
        circuit, device = circuit or self.circuit, self.loaded.device
        states = self._states(queries)
        recipe = self._recipe_for(circuit, len(states.ids[0]), whole)
        room = max(1, self.capacity(len(states.ids[0]), gradient=False) - len(states.ids))
        cuts = [variants[start:end] for start, end in memory.spans(len(variants), room)] or [()]
        n, n_clean, n_logits = len(states.gold), len(states.ids) if replayed else 0, len(states.gold) if logits else 0
        ids, sequence, position = states.reads(cuts[0], True, device)
        first = record(circuit, ids, n_clean, sequence, position, n_logits, recipe, whole)
        extra = [[site[n:]] for site in first.sites]  # by layer: (reads of variants, [tokens,] width)
        for more in cuts[1:]:
            ids, sequence, position = states.reads(more, False, device)
            found = record(circuit, ids, 0, sequence, position, 0, recipe, whole)
            for parts, site in zip(extra, found.sites, strict=True):
                parts.append(site)
        return Prepared(
            tuple(queries),
            first,
            torch.tensor(states.sequence, device=device),
            torch.tensor(states.position, device=device),
            torch.tensor(states.gold, device=device),
            [site[:n] for site in first.sites],
            [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in extra],
            first.logits,
            circuit,
            recipe,
        )

    def _states(self, queries: Sequence[EncodedQuery]) -> _States:
        steps: list[Step] = [step for query in queries for step in query.steps]
        ids, sequence = [step.ids for step in steps], list(range(len(steps)))
        if self._shares_sequence(queries[0]):
            ids = [query.steps[-1].ids for query in queries]
            sequence = [index for index, query in enumerate(queries) for _ in query.steps]
        return _States(ids, sequence, [step.position for step in steps], [step.gold for step in steps])

    def _recipe_for(self, circuit: Circuit, tokens: int, whole: bool) -> Recipe:
        """The proven recipe for prompts of `tokens` tokens, edited at the answer position or at all of them."""
        short = whole or tokens < self.proof.longest_prefix
        recipe = self.proof.way(Case(whole, short)).recipe
        if recipe.sum and not circuit.is_linear:
            recipe = self.proof.way(Case(whole, short, linear=False)).recipe
        return recipe

    def _shares_sequence(self, query: EncodedQuery) -> bool:
        """Whether every step can be read off the longest one: in causal models, and in statements, whose steps are one
        sequence."""
        return self.loaded.causal or all(step.ids is query.steps[0].ids for step in query.steps)

    def run_edits(
        self, prepared: Prepared, states: Ints, edits: FlatEdits, keep: Callable[[Ints, Tensor, Tensor], None],
        rerouted: Bools | None = None,
    ) -> None:  # fmt: skip
        """Run one row per entry of `states`, edited by `edits`; keep(rows, states, logits) gets each chunk's
        results. `rerouted`, one entry a row, as `replay` has it."""
        layers = np.searchsorted(self.offsets, edits.neurons, side="right") - 1
        first = np.full(len(states), len(self.loaded.sites) - 1, np.int64)
        np.minimum.at(first, edits.rows, layers)
        for part in prepared.parts():
            mine = np.flatnonzero(np.isin(states, part.cpu().numpy()))
            mine = mine[np.argsort(first[mine], kind="stable")]
            for start, end in self.chunks(prepared, first[mine], gradient=False):
                rows = mine[start:end]
                work = partial(self._edit_rows, prepared, states, edits, layers, first, rows, keep, rerouted)
                memory.halving(0, len(rows), work)

    def _edit_rows(
        self, prepared: Prepared, states: Ints, edits: FlatEdits, layers: Ints, first: Ints, ordered: Ints,
        keep: Callable[[Ints, Tensor, Tensor], None], rerouted: Bools | None, start: int, end: int,
    ) -> None:  # fmt: skip
        """Run one pass. A row enters at its first edited layer with that layer's neurons already edited; the layers above
        are edited on the way up."""
        device, chosen = self.loaded.device, ordered[start:end]
        place = np.full(len(states), -1)
        place[chosen] = np.arange(len(chosen))
        row, entering = place[edits.rows], first[chosen]
        state = torch.from_numpy(states[chosen]).to(device)
        values: dict[int, Tensor] = {}
        later: dict[int, SiteEdit] = {}
        for layer, rows_of in slices_by_value(entering).items():
            here = np.flatnonzero((row >= rows_of.start) & (row < rows_of.stop) & (layers == layer))
            entry = self._sparse(edits, here, row[here] - rows_of.start, layer)
            clean = prepared.activations[layer][state[rows_of]]
            new = entry(clean[:, None], torch.zeros_like(state[rows_of]))[:, 0]
            values[layer] = brought(prepared.circuit, prepared.recipe, layer, new, clean)
        for layer in np.unique(layers[row >= 0]).tolist():
            here = np.flatnonzero((row >= 0) & (layers == layer))
            here = here[entering[row[here]] < layer]
            if len(here):
                later[layer] = self._sparse(edits, here, row[here], layer)
        rows = Rows(prepared.sequence[state], prepared.position[state], entering.tolist())
        with torch.no_grad():
            free = None if rerouted is None else torch.zeros(len(chosen), dtype=torch.bool, device=device)
            logits = replay(prepared.circuit, prepared.recording, rows, values, prepared.recipe, later, free)
        if free is not None and rerouted is not None:
            rerouted[chosen] = free.cpu().numpy()
        keep(chosen, state, logits)

    def _sparse(self, edits: FlatEdits, here: Ints, rows: Ints, layer: int) -> SiteEdit:
        """The edits `here`, all at one layer, as a function of that layer's activations; rows[i] is the row of here[i]."""
        device = self.loaded.device
        at = torch.from_numpy(rows).to(device)
        neuron = torch.from_numpy(edits.neurons[here] - self.offsets[layer]).to(device)
        scale, shift = (torch.from_numpy(x[here]).to(device, self.loaded.dtype) for x in (edits.scale, edits.shift))

        def edit(x: Tensor, position: Tensor) -> Tensor:
            index = (at, position[at], neuron)
            return x.index_put(index, (x[index] * scale + shift).to(x.dtype))

        return edit

    def chunks(self, prepared: Prepared, first: Ints, gradient: bool) -> Iterator[tuple[int, int]]:
        """Ranges of rows, ordered by first layer, that fit a pass; one layer each where rows of several cannot mix."""
        recipe = prepared.recipe
        size = self.capacity(prepared.tokens, gradient, prepared.prefix)
        bounds = [0, len(first)]
        if recipe.enter == "shared":
            bounds = [0, *(np.flatnonzero(np.diff(first)) + 1).tolist(), len(first)]
        for low, high in pairwise(bounds):
            for start, end in memory.spans(high - low, size):
                self.between()
                yield low + start, low + end


def shapes(queries: Sequence[EncodedQuery]) -> list[list[int]]:
    """Indices of queries that may share a pass (same lengths and number of steps), in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, query in enumerate(queries):
        lengths = tuple(len(step.ids) for step in query.steps)
        groups.setdefault(lengths, []).append(index)
    return list(groups.values())
