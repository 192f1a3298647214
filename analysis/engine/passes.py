"""Two kinds of forward pass: one that records a prompt, and one that starts again in the middle of it.

A recording keeps what enters and leaves each block, and for causal models the keys and values of the prefix. A replay
then computes only what an edit can change: blocks below the lowest edited one hand their input through, each row enters
at the block of its own first edit (so one pass serves rows of all layers, and the head runs once), and after the last
block only the answer position goes on. An edit at a site touches nothing of its own block but what follows the neurons,
at the edited position: so an entering row runs that tail alone, and takes the rest of the block's output from the
recording. Where the MLP's result is added last, not even the tail: its change is added to what the block gave out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from knscope.analysis.engine.circuit import Circuit, Recipe, Recording, Routing, Rows
from knscope.analysis.engine.devices import hidden_of, with_hidden
from knscope.analysis.engine.places import Put, take

Edit = Callable[[Tensor, Tensor], Tensor]
"""(activations (rows, tokens, width), answer position of each row (rows,)) -> new activations."""


def record(
    circuit: Circuit, ids: Tensor, n_clean: int, sequence: Tensor, position: Tensor, n_logits: int, recipe: Recipe,
    whole: bool = False,
) -> Recording:  # fmt: skip
    """One forward without gradient of ids (sequences, tokens), the first `n_clean` of which may be replayed later.

    sequence, position: (reads,) where activations are read; the head runs on the first `n_logits` of them, if any. `whole`
    keeps the activations of all tokens of the read sequences: sites[layer] is then (reads, tokens, width).
    """
    before: list[Tensor] = []
    after: list[Tensor] = []
    extras: list[tuple[Any, ...] | None] = []
    sites: list[Tensor] = [torch.empty(0)] * len(circuit.anatomy.sites)
    routing: dict[int, Routing] = {}
    kept = n_clean if recipe.enter != "start" else 0
    asked, places, tokens = sequence[:n_logits], position[:n_logits], circuit.tokens(ids)

    def cut(h: Tensor) -> Tensor:
        return h[asked, places][:, None] if n_logits else h[:1, :1]

    def on_block(index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = forward(*args, **kwargs)
        if kept:
            if not recipe.sum:
                before.append(args[0][:kept])
            after.append(hidden_of(out)[:kept])
            extras.append(None if isinstance(out, Tensor) else tuple(out[1:]))
        last = index == circuit.n_blocks - 1 and recipe.cut == "block"
        return with_hidden(out, cut(hidden_of(out))) if last else out

    def on_site(layer: int, x: Tensor) -> None:
        x = x.view(ids.shape[0], tokens, -1)
        sites[layer] = x[sequence] if whole else x[sequence, position]

    def on_routing(layer: int, chosen: Routing) -> Routing:
        index, weights = (each.view(ids.shape[0], tokens, -1)[:n_clean] for each in chosen)
        routing[layer] = index, weights
        return chosen

    caching = recipe.prefix and kept > 0
    on_head = cut if recipe.cut == "head" else None
    with torch.no_grad(), circuit.wired(on_block, on_site, on_head, None, n_logits > 0, on_routing):
        out = circuit.model(input_ids=ids, **({"use_cache": caching} if circuit.decodes else {}))
    every = out.logits.to(ids.device)
    logits = every[asked, places] if recipe.cut == "none" else every[:n_logits, 0]
    cache = [(layer.keys[:kept], layer.values[:kept]) for layer in out.past_key_values.layers] if caching else []
    return Recording(ids[:n_clean], before, after, extras, cache, sites, logits, routing)


def replay(
    circuit: Circuit,
    recording: Recording,
    rows: Rows,
    values: Mapping[int, Tensor],
    recipe: Recipe,
    later: Mapping[int, Edit] | None = None,
    rerouted: Tensor | None = None,
) -> Tensor:
    """Logits (rows, vocabulary) at each row's answer position.

    values[layer]: the input of the rows that enter at `layer`, as `brought` makes it: (its rows, width or hidden) at the
    answer position, or (its rows, tokens, width or hidden). `later` edits layers above a row's first. Differentiable in
    `values`. Experts run as in the unedited model; with `rerouted` (rows,) the router is free to choose others, and the rows where it
    does are noted there.
    """
    return _Replay(circuit, recording, rows, values, recipe, later or {}, rerouted).run()


def brought(circuit: Circuit, recipe: Recipe, layer: int, neurons: Tensor, clean: Tensor) -> Tensor:
    """The input of rows whose neurons at `layer` change from `clean` to `neurons`, both (rows, [tokens,] width): the
    neurons, or for a `sum` recipe the change (rows, [tokens,] hidden) of the second MLP linear's output."""
    return circuit.product(layer, neurons - clean) if recipe.sum else neurons


@dataclass(frozen=True)
class _Entry:
    """Rows lo..hi of the pass enter at one layer; they continue `sequences`, row r being copy slot // n of one of n."""

    lo: int
    hi: int
    sequences: Tensor
    slot: Tensor
    copies: int


class _Replay:
    """One replay pass. A row's number is its index in `rows`."""

    def __init__(
        self,
        circuit: Circuit,
        recording: Recording,
        rows: Rows,
        values: Mapping[int, Tensor],
        recipe: Recipe,
        later: Mapping[int, Edit],
        rerouted: Tensor | None = None,
    ) -> None:
        self.circuit, self.recording, self.rows = circuit, recording, rows
        self.values, self.recipe, self.later, self.rerouted = values, recipe, later, rerouted
        self.sites = circuit.anatomy.sites
        counts = Counter(rows.layer)
        ends = {layer: sum(counts[low] for low in counts if low <= layer) for layer in values}
        self.ranges = {layer: (ends[layer] - counts[layer], ends[layer]) for layer in values}
        last = circuit.n_blocks - 1
        full = recipe.enter == "start"
        entering = Counter(0 if full else self.sites[layer].block for layer in rows.layer)
        self.entered = [0]  # entered[b]: rows whose block is below b
        for block in range(last + 1):
            self.entered.append(self.entered[-1] + entering[block])
        self.lowest = 0 if full else min(entering)
        self.prefix = int(rows.position[0]) if recipe.prefix else 0
        self.tokens = 1 if recipe.prefix else circuit.tokens(recording.ids)
        self.position = torch.zeros_like(rows.position) if recipe.prefix else rows.position
        self.entries: dict[int, _Entry] = {}  # by block
        self.now: _Entry | None = None  # set while a block's tail runs
        self.cache: DynamicCache | None = None
        self.tail_cache: DynamicCache | None = None

    def run(self) -> Tensor:
        ids, kwargs = self.recording.ids, {}
        ids = ids[:1] if self.recipe.enter == "own" else ids[self.rows.sequence]
        if self.recipe.needs_tail:
            self.entries = {self.sites[layer].block: self._entry(*self.ranges[layer]) for layer in self.values}
        if self.recipe.prefix:
            ids = ids[:, self.prefix : self.prefix + 1]
            self.cache, self.tail_cache = self._caches()
            kwargs = {"past_key_values": self.cache, "use_cache": True}
        elif self.circuit.decodes:
            kwargs = {"use_cache": False}
        narrow = self.recipe.narrow and self.tokens > 1
        on_head = self._cut if self.recipe.cut == "head" else None
        on_feeder = self._on_feeder if narrow else None
        with self.circuit.wired(self._on_block, self._on_site, on_head, on_feeder, on_routing=self._on_routing):
            logits = self.circuit.model(input_ids=ids, **kwargs).logits.to(self.position.device)
        cut = (logits if self.recipe.cut != "none" else take(logits, self.position)).squeeze(1)  # (rows, vocabulary)
        assert isinstance(cut, Tensor)
        return cut

    # --- blocks ---

    def _on_block(self, index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.recipe.enter == "start":
            return forward(*args, **kwargs)
        if index < self.lowest:
            extra = self.recording.extras[index]
            return args[0] if extra is None else (args[0], *extra)
        start, end = self.entered[index], self.entered[index + 1]
        cutting = index == self.circuit.n_blocks - 1 and self.recipe.cut == "block"
        out: Any = None
        hidden: list[Tensor] = []
        if end > start and not self.recipe.skips:
            clean = self._clean(self.recording.before[index], self.rows.sequence[start:end])
            args = (torch.cat([args[0], clean]) if start else clean, *args[1:])
            start = end
        if start:
            out = forward(*args, **kwargs)
            hidden.append(take(hidden_of(out), self.position[:start]) if cutting else hidden_of(out))
        if end > start and self.recipe.sum:
            hidden.append(self._sum(index, cutting))
            extra = self.recording.extras[index]
            out = out if start else hidden[0] if extra is None else (hidden[0], *extra)
        elif end > start:
            out, new = self._enter(index, forward, args, kwargs, cutting)
            hidden.append(new)
        return with_hidden(out, hidden[0] if len(hidden) == 1 else torch.cat(hidden))

    def _enter(
        self, index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], cutting: bool
    ) -> tuple[Any, Tensor]:
        """The block for entering rows: once per sequence up to the neurons, then its tail once per row."""
        entry = self.entries[index]
        clean = self._clean(self.recording.before[index], entry.sequences)
        if self.cache is not None:
            args = tuple(self.tail_cache if each is self.cache else each for each in args)
            kwargs = {name: self.tail_cache if each is self.cache else each for name, each in kwargs.items()}
        self.now = entry
        out = forward(clean, *args[1:], **kwargs)
        self.now = None
        tail = hidden_of(out)  # (copies, sequences, tokens, hidden), right at the tokens that were edited
        tail = tail.reshape(-1, self.tokens, tail.shape[-1])[entry.slot]
        site = self.circuit.site_of(index)
        assert site is not None
        position = self.position[entry.lo : entry.hi]
        whole = self.values[site.layer].dim() == 3
        if cutting or self.tokens == 1:
            return out, take(tail, position)
        if whole:
            return out, tail
        rest = self.recording.after[index][self.rows.sequence[entry.lo : entry.hi]]
        everyone = torch.arange(len(position), device=position.device)
        return out, rest.index_put_((everyone, position), tail[everyone, position])  # a gathered copy: ours to write to

    def _sum(self, index: int, cutting: bool) -> Tensor:
        """The block's recorded output plus the changes of its entering rows: (rows, tokens or 1, hidden)."""
        site = self.circuit.site_of(index)
        assert site is not None
        lo, hi = self.ranges[site.layer]
        change, position = self.values[site.layer], self.position[lo:hi]
        after = self._clean(self.recording.after[index], self.rows.sequence[lo:hi])  # (rows, tokens, hidden)
        change = (change if change.dim() == 3 else change[:, None]).to(after.dtype)
        if cutting or self.tokens == 1:
            return take(after, position) + take(change, position)
        if change.shape[1] == self.tokens:
            return after + change
        everyone = torch.arange(len(position), device=position.device)
        # `after` is a gathered copy: ours to write to.
        return after.index_put_((everyone, position), change[:, 0], accumulate=True)

    def _clean(self, recorded: Tensor, sequences: Tensor) -> Tensor:
        """Recorded hidden states of `sequences` at the tokens that are replayed: (rows, tokens, hidden)."""
        return recorded[sequences, self.prefix : self.prefix + 1] if self.recipe.prefix else recorded[sequences]

    def _cut(self, h: Tensor) -> Tensor:
        return h if h.shape[1] == 1 else take(h, self.position)

    # --- sites ---

    def _on_site(self, layer: int, x: Tensor) -> Tensor | None:
        if self.now is not None:
            return self._tail_values(layer, self.now)
        if layer not in self.later and (self.recipe.skips or layer not in self.values):
            return None
        active = self._active(layer)
        new = x.view(active, -1, x.shape[-1])
        position = self.position[:active]
        if new.shape[1] == 1:  # a narrow last block
            position = torch.zeros_like(position)
        if layer in self.values and not self.recipe.skips:
            lo, hi = self.ranges[layer]
            new = Put.apply(new, self.values[layer].to(x.dtype), lo, hi, position)  # type: ignore[no-untyped-call]
        if layer in self.later:
            new = self.later[layer](new, position)
        return new.view(x.shape)

    def _on_routing(self, layer: int, chosen: Routing) -> Routing:
        """The experts that the unedited model runs, with its weights: what is routed is no function of an edit."""
        assert self.now is None
        active = self._active(layer)
        sequences, tokens = self.rows.sequence[:active], chosen[0].shape[0] // active

        def recorded(each: Tensor) -> Tensor:
            if tokens == 1 and self.recipe.prefix:
                return each[sequences, self.prefix]
            if tokens == 1:  # a narrow last block
                return each[sequences, self.position[:active]]
            return each[sequences].flatten(0, 1)

        index, weights = map(recorded, self.recording.routing[layer])
        if self.rerouted is None:
            return index, weights
        others = (chosen[0].sort(-1).values != index.sort(-1).values).view(active, -1).any(1)
        self.rerouted[:active] |= others.to(self.rerouted.device)
        return chosen

    def _active(self, layer: int) -> int:
        """Rows that run the layer's MLP."""
        if self.recipe.enter == "start":
            return len(self.rows.layer)
        block = self.sites[layer].block
        return self.entered[block] if self.recipe.skips else self.entered[block + 1]

    def _tail_values(self, layer: int, entry: _Entry) -> Tensor:
        """The neurons of the entering rows as (copies, sequences, 1 or tokens, width)."""
        values, n = self.values[layer], len(entry.sequences)
        values = values if values.dim() == 3 else values[:, None]
        padded = values.new_zeros((entry.copies * n, *values.shape[1:])).index_copy(0, entry.slot, values)
        return padded.view(entry.copies, n, *values.shape[1:])

    def _on_feeder(self, _layer: int, x: Tensor) -> Tensor | None:
        """Run the last block's MLP for the answer position alone; the other positions are never read."""
        return None if self.now is not None else take(x, self.position[: x.shape[0]])

    def _entry(self, lo: int, hi: int) -> _Entry:
        sequences, which, counts = torch.unique(self.rows.sequence[lo:hi], return_inverse=True, return_counts=True)
        order = which.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        copy = torch.empty_like(which)
        copy[order] = torch.arange(hi - lo, device=which.device) - starts[which[order]]
        return _Entry(lo, hi, sequences, copy * len(sequences) + which, int(counts.max()))

    # --- prefix ---

    def _caches(self) -> tuple[DynamicCache, DynamicCache]:
        """The cached prefix of the rows that run each block, and of the sequences that run only its tail."""
        config, one = self.circuit.model.config, self.rows.sequence[:1]
        cache, tail = DynamicCache(config=config), DynamicCache(config=config)
        for index, (keys, values) in enumerate(self.recording.cache):
            keys, values = keys[:, :, : self.prefix], values[:, :, : self.prefix]
            active = self.rows.sequence[: self.entered[index if self.recipe.skips else index + 1]]
            active = active if len(active) else one  # blocks below the lowest edit: only the length is read
            cache.update(_rows_of(keys, active), _rows_of(values, active), index)
            entering = self.entries[index].sequences if index in self.entries else one
            tail.update(_rows_of(keys, entering), _rows_of(values, entering), index)
        return cache, tail


def _rows_of(recorded: Tensor, sequences: Tensor) -> Tensor:
    """recorded[sequences], without a copy where only one sequence is recorded."""
    if len(recorded) == 1:
        return recorded.expand(len(sequences), *recorded.shape[1:])
    return recorded[sequences.to(recorded.device)]
