"""Two kinds of forward pass: one that records a prompt, and one that starts again in the middle of it.

A recording keeps each block's input, and for causal models the keys and values of the prefix. A replay then computes only what an edit
can change: blocks below the lowest edited one hand their input through, each row enters at the block of its own first edit (so one pass
serves rows of all layers, and the head runs once), and after the last block only the answer position goes on. How a model can be
replayed is its `Recipe`, proven by `probe`. Nothing is left on the model after a pass, whatever happens in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from analysis.models import LoadedModel

Edit = Callable[[Tensor], Tensor]
"""New activations of one site from the old (rows, tokens, width)."""


@dataclass(frozen=True)
class Recipe:
    """How a model is replayed: the fastest of these that is proven at load.

    `enter`: `own` - each row enters at its own block, the model is called with one row of ids; `shared` - all rows enter at one block and
    bring their own ids; `start` - no replay, every pass is a full forward. `prefix`: causal models replay only the answer position, over
    cached keys and values. `cut`: where all tokens but the answer's are dropped: after the last `block`, or before the `head`.
    """

    enter: str
    prefix: bool
    cut: str = "block"

    def __str__(self) -> str:
        if self.enter == "start":
            return "full forward"
        how = "each row from its own block" if self.enter == "own" else "from the lowest edited block"
        return f"replay {how}" + (" over the cached prefix" if self.prefix else "")


@dataclass(frozen=True)
class Recording:
    """What a recording pass kept of its `n` clean sequences of equal length, and of every place read.

    hidden[block]: (n, tokens, hidden); extras[block]: what else the block returned; cache[block]: keys and values (n, heads, tokens, d);
    sites[layer]: (reads, width); logits: (clean reads, vocabulary). Blocks and caches are empty where the recipe needs none.
    """

    ids: Tensor
    hidden: list[Tensor]
    extras: list[tuple[Any, ...] | None]
    cache: list[tuple[Tensor, Tensor]]
    sites: list[Tensor]
    logits: Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of one replay, in the order in which they enter.

    sequence, position: (rows,) which recorded sequence each row continues and where its answer stands; first: (rows,) block it enters at,
    ascending. With a prefix all positions are equal.
    """

    sequence: Tensor
    position: Tensor
    first: Sequence[int]


class Circuit:
    """A loaded model as a chain of blocks with sites in them."""

    def __init__(self, loaded: LoadedModel, pre_act: bool = False) -> None:
        model = loaded.model
        self.model, self.anatomy, self.decodes = model, loaded.anatomy, loaded.kind == "decoder"
        self.pre_act = pre_act
        self._blocks: dict[nn.Module, list[int]] = {}
        for index, block in enumerate(loaded.anatomy.blocks):
            self._blocks.setdefault(model.get_submodule(block.module), []).append(index)
        self._sites: dict[nn.Module, dict[int, int]] = {}
        for site in loaded.anatomy.sites:
            module = model.get_submodule(site.feeders[0] if pre_act else site.module)
            self._sites.setdefault(module, {})[site.block] = site.layer
        self._hidden_name = {
            module: next(iter(inspect.signature(module.forward).parameters)) for module in self._blocks
        }
        self.n_blocks = len(loaded.anatomy.blocks)

    # --- recording -------------------------------------------------------------------------------------------------------

    def record(
        self,
        ids: Tensor,
        n_clean: int,
        sequence: Tensor,
        position: Tensor,
        n_logits: int,
        recipe: Recipe,
        whole: bool = False,
    ) -> Recording:
        """One no-grad forward of ids (sequences, tokens), the first `n_clean` of which may be replayed later.

        sequence, position: (reads,) where activations are read; the head runs on the first `n_logits` of them. `whole` keeps the
        activations of all tokens of the read sequences: sites[layer] is then (reads, tokens, width).
        """
        hidden: list[Tensor] = []
        extras: list[tuple[Any, ...] | None] = []
        sites: list[Tensor] = [torch.empty(0)] * len(self.anatomy.sites)
        replayable = recipe.enter != "start" and n_clean > 0
        asked, places = sequence[:n_logits], position[:n_logits]

        def on_block(
            index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
        ) -> Any:
            x = args[0] if args else kwargs[name]
            out = forward(*args, **kwargs)
            if replayable:
                hidden.append(x[:n_clean])
                extras.append(None if isinstance(out, Tensor) else tuple(out[1:]))
            return _with_hidden(out, cut) if index == self.n_blocks - 1 and recipe.cut == "block" else out

        def cut(h: Tensor) -> Tensor:
            return h[asked, places][:, None] if n_logits else h[:1, :1]

        def on_site(layer: int, x: Tensor) -> None:
            x = x.view(ids.shape[0], ids.shape[1], -1)
            sites[layer] = x[sequence] if whole else x[sequence, position]

        caching = recipe.prefix and n_clean > 0
        with torch.no_grad(), self._wired(on_block, on_site, cut if recipe.cut == "head" else None):
            out = self.model(input_ids=ids, **({"use_cache": caching} if self.decodes else {}))
        logits = out.logits[asked, places] if recipe.cut == "none" else out.logits[:n_logits, 0]
        cache = _keys_and_values(out.past_key_values, n_clean) if caching else []
        return Recording(ids[:n_clean], hidden, extras, cache, sites, logits)

    # --- replaying -------------------------------------------------------------------------------------------------------

    def replay(self, recording: Recording, rows: Rows, edits: dict[int, Edit], recipe: Recipe) -> Tensor:
        """Logits (rows, vocabulary) at each row's answer position, with `edits` by layer applied to the rows that have entered.

        Differentiable in whatever the edits close over.
        """
        if recipe.enter == "start":
            return self._full(recording, rows, edits)
        prefix = int(rows.position[0]) if recipe.prefix else 0
        lowest, total = rows.first[0], len(rows.first)
        entered = [0] * (self.n_blocks + 1)  # entered[b]: rows whose first block is below b
        for first in rows.first:
            entered[first + 1] += 1
        for block in range(self.n_blocks):
            entered[block + 1] += entered[block]
        tokens = recording.ids.shape[1] if not recipe.prefix else 1
        local = torch.zeros_like(rows.position) if recipe.prefix else rows.position
        everywhere = torch.arange(total, device=local.device)

        def on_block(
            index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
        ) -> Any:
            x = args[0] if args else kwargs[name]
            if index < lowest:
                extra = recording.extras[index]
                return x if extra is None else (x, *extra)
            start, end = entered[index], entered[index + 1]
            if end > start:
                clean = recording.hidden[index][rows.sequence[start:end]]
                new = clean[:, prefix : prefix + 1] if recipe.prefix else clean
                x = new if start == 0 else torch.cat([x, new])
            out = forward(x, *args[1:], **kwargs) if args else forward(**{**kwargs, name: x})
            return _with_hidden(out, cut) if index == self.n_blocks - 1 and recipe.cut == "block" else out

        def cut(h: Tensor) -> Tensor:
            return h if tokens == 1 else h[everywhere, local][:, None]

        def on_site(layer: int, x: Tensor) -> Tensor | None:
            if layer not in edits:
                return None
            active = entered[self.anatomy.sites[layer].block + 1]
            return edits[layer](x.view(active, tokens, -1)).view(x.shape)

        ids = recording.ids[:1] if recipe.enter == "own" else recording.ids[rows.sequence]
        kwargs: dict[str, Any] = {}
        if recipe.prefix:
            ids = ids[:, prefix : prefix + 1]
            kwargs = {"past_key_values": self._prefix(recording, rows, entered, prefix), "use_cache": True}
        elif self.decodes:
            kwargs = {"use_cache": False}
        with self._wired(on_block, on_site, cut if recipe.cut == "head" else None):
            return self.model(input_ids=ids, **kwargs).logits[:, 0]  # type: ignore[no-any-return]

    def _full(self, recording: Recording, rows: Rows, edits: dict[int, Edit]) -> Tensor:
        ids = recording.ids[rows.sequence]

        def on_block(
            _index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], _: str
        ) -> Any:
            return forward(*args, **kwargs)

        def on_site(layer: int, x: Tensor) -> Tensor | None:
            return edits[layer](x.view(*ids.shape, -1)).view(x.shape) if layer in edits else None

        with self._wired(on_block, on_site):
            logits = self.model(input_ids=ids, **({"use_cache": False} if self.decodes else {})).logits
        return logits[torch.arange(len(ids), device=ids.device), rows.position]  # type: ignore[no-any-return]

    def _prefix(self, recording: Recording, rows: Rows, entered: list[int], prefix: int) -> DynamicCache:
        """The cached prefix of every row that runs a block; one row where none does, for the positions read off it."""
        cache = DynamicCache(config=self.model.config)
        for index, (keys, values) in enumerate(recording.cache):
            chosen = rows.sequence[: entered[index + 1] or 1]
            cache.update(keys[chosen, :, :prefix], values[chosen, :, :prefix], index)
        return cache

    # --- hooks -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _wired(
        self,
        on_block: Callable[..., Any],
        on_site: Callable[[int, Tensor], Tensor | None],
        on_head: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[None]:
        """Route every block and site, and the head's input, through the callbacks; undone on the way out, whatever happened."""
        current = -1

        def block_forward(module: nn.Module, indices: list[int]) -> Callable[..., Any]:
            forward, name, calls = module.forward, self._hidden_name[module], iter(indices)

            def routed(*args: Any, **kwargs: Any) -> Any:
                nonlocal current
                current = next(calls)
                return on_block(current, forward, args, kwargs, name)

            return routed

        def site_input(by_block: dict[int, int]) -> Callable[..., Any]:
            def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                new = on_site(by_block[current], args[0])
                return None if new is None else (new, *args[1:])

            return hook

        def site_output(by_block: dict[int, int]) -> Callable[..., Any]:
            def hook(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor | None:
                return on_site(by_block[current], output)

            return hook

        handles: list[Any] = []
        before = {module: module.__dict__.get("forward") for module in self._blocks}
        try:
            for module, by_block in self._sites.items():
                if self.pre_act:
                    handles.append(module.register_forward_hook(site_output(by_block)))
                else:
                    handles.append(module.register_forward_pre_hook(site_input(by_block)))
            if on_head is not None:
                head = self.model.get_output_embeddings()
                handles.append(head.register_forward_pre_hook(lambda _, args: (on_head(args[0]), *args[1:])))
            for module, indices in self._blocks.items():
                module.forward = block_forward(module, indices)
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module, own in before.items():
                module.__dict__.pop("forward", None)
                if own is not None:
                    module.__dict__["forward"] = own


def _with_hidden(out: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(out) if isinstance(out, Tensor) else (change(out[0]), *out[1:])


def _keys_and_values(cache: Any, n_clean: int) -> list[tuple[Tensor, Tensor]]:
    return [(layer.keys[:n_clean], layer.values[:n_clean]) for layer in cache.layers]
