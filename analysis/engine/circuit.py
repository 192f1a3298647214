"""A loaded model as a chain of blocks with sites in them, and the hooks that let a pass read and rewrite both.

Nothing is left on the model after a pass, whatever happens in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from knscope.analysis.engine.devices import Home, LayerOf, OnBlock, OnTensor
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.seq2seq import Sourced
from knscope.analysis.engine.sites import Site
from knscope.analysis.engine.vocabulary import in_pieces


@dataclass(frozen=True)
class Recipe:
    """How a model is replayed: the fastest way that is proven at load.

    enter: `own` - each row enters at its own block, and the model is called with one row of ids; `shared` - all rows
    enter at one block and bring their own ids; `start` - no replay, every pass is a full forward.
    prefix: causal models compute the answer position alone, over cached keys and values.
    cut: where all tokens but the answer's are dropped: after the last `block`, before the `head`, or `none`.
    tail: an entering row skips its block up to the neurons, which no edit of that block can change.
    narrow: the last block's MLP runs for the answer position alone.
    sum: rows enter with the change of the second MLP linear's output instead of with neurons. It is added to the block's
    recorded output, and nothing of the block is run: exact where no norm follows the MLP.
    """

    enter: str
    prefix: bool = False
    cut: str = "none"
    tail: bool = False
    narrow: bool = False
    sum: bool = False

    @property
    def skips(self) -> bool:
        """Whether entering rows leave out what precedes the neurons in their block."""
        return self.tail or self.sum

    @property
    def needs_tail(self) -> bool:
        """Whether entering rows run what follows the neurons in their block, and that alone."""
        return self.tail and not self.sum

    def __str__(self) -> str:
        if self.enter == "start":
            return "full forward"
        how = "each row from its own block" if self.enter == "own" else "from the lowest edited block"
        noted = ((self.prefix, "cached prefix"), (self.needs_tail, "tail"), (self.sum, "sum"), (self.narrow, "narrow"))
        notes = [text for on, text in noted if on]
        return f"replay {how}" + (f" ({', '.join(notes)})" if notes else "")

    @property
    def detail(self) -> str:
        """The same, with where the answer's tokens are taken out."""
        where = {"block": ", cut after the last block", "head": ", cut before the head"}
        return f"{self}{where.get(self.cut, '')}"


FULL = Recipe("start")


Routing = tuple[Tensor, Tensor]
"""The experts that tokens run and the router's weights of these, (..., k) each."""
OnRouting = Callable[[int, Routing], Routing]
"""(layer, routing of the tokens that run (tokens, k)) -> the routing to use."""


@dataclass(frozen=True)
class Recording:
    """What a recording pass kept of its n clean sequences of equal length, and of every place read.

    before[block], after[block]: (n, tokens, hidden), what entered and left the block; extras[block]: what else it
    returned; cache[block]: keys and values (n, heads, tokens, d); sites[layer]: (reads, width); routing[layer], of routed
    experts: (n, tokens, k) each; logits: (clean reads, vocabulary). Blocks and caches are empty where the recipe needs none.
    """

    ids: Tensor
    before: list[Tensor]
    after: list[Tensor]
    extras: list[tuple[Any, ...] | None]
    cache: list[tuple[Tensor, Tensor]]
    sites: list[Tensor]
    logits: Tensor
    routing: dict[int, Routing]


@dataclass(frozen=True)
class Rows:
    """The rows of one replay, in the order in which they enter.

    sequence, position: (rows,) which recorded sequence each row continues and where its answer stands; layer: (rows,)
    the lowest layer it is edited at, ascending. With a prefix all positions are equal.
    """

    sequence: Tensor
    position: Tensor
    layer: Sequence[int]


class Circuit:
    """The modules of a loaded model by block and by layer."""

    def __init__(self, loaded: LoadedModel, pre_act: bool = False) -> None:
        """`pre_act`: sites are the outputs of the first MLP linear instead of the inputs of the second."""
        model, anatomy = loaded.model, loaded.anatomy
        self.model, self.anatomy, self.decodes, self.pre_act = model, anatomy, loaded.kind == "decoder", pre_act
        self.n_blocks, self._home = len(anatomy.blocks), Home.of(model)
        self._blocks: dict[nn.Module, list[int]] = {}
        for index, block in enumerate(anatomy.blocks):
            self._blocks.setdefault(model.get_submodule(block.module), []).append(index)
        self._sites: dict[nn.Module, dict[int, int]] = {}
        self._feeders: dict[nn.Module, int] = {}
        self.experts: dict[nn.Module, int] = {}
        for site in anatomy.sites:
            module = model.get_submodule(site.feeders[0] if pre_act else site.module)
            self._sites.setdefault(module, {})[site.block] = site.layer
            if site.experts > 1:
                self.experts[model.get_submodule(site.module.rpartition(".")[0])] = site.layer
            if site.block == self.n_blocks - 1:
                self._feeders |= {model.get_submodule(name): site.layer for name in site.feeders}
        second = [model.get_submodule(site.module) for site in anatomy.sites]
        self.linears = second if all(map(is_plain, second)) else []
        """The second MLP linear of each layer; none where one of them is no plain matrix."""
        self._head = model.get_output_embeddings()
        self._hidden_name = {
            module: next(iter(inspect.signature(module.forward).parameters)) for module in self._blocks
        }

    @property
    def has_one_site_a_block(self) -> bool:
        return len({site.block for site in self.anatomy.sites}) == len(self.anatomy.sites)

    @property
    def is_linear(self) -> bool:
        """Whether every site is followed by a plain matrix."""
        return bool(self.linears) and not self.pre_act

    def product(self, layer: int, change: Tensor) -> Tensor:
        """The change (..., hidden) of the second MLP linear's output for a change of neurons (..., width)."""
        weights = matrix(self.linears[layer])  # (hidden, width)
        return (change.to(weights.device) @ weights.t()).to(change.device)

    def product_back(self, layer: int, gradient: Tensor) -> Tensor:
        """Gradient (..., width) at the neurons of one (..., hidden) at what the second MLP linear gives out."""
        weights = matrix(self.linears[layer])
        return (gradient.to(weights.device) @ weights).to(gradient.device)

    def tokens(self, ids: Tensor) -> int:
        """Tokens that the blocks see of ids (rows, …): all, or those of the decoder behind a source."""
        return ids.shape[1] - (self.model.source_length(ids) if isinstance(self.model, Sourced) else 0)

    def site_of(self, block: int) -> Site | None:
        return next((site for site in self.anatomy.sites if site.block == block), None)

    @contextmanager
    def wired(
        self,
        on_block: OnBlock,
        on_site: OnTensor,
        on_head: Callable[[Tensor], Tensor] | None = None,
        on_feeder: OnTensor | None = None,
        head: bool = True,
        on_routing: OnRouting | None = None,
    ) -> Iterator[None]:
        """Route every block, every site, the head's input and the input of the last block's MLP through callbacks.
        Without `head` the head returns its input."""
        current, home = -1, self._home
        on_block, on_site = home.blocks(on_block), home.tensors(on_site)

        def block_forward(module: nn.Module, indices: list[int]) -> Callable[..., Any]:
            forward, name, calls = module.forward, self._hidden_name[module], iter(indices)

            def routed(*args: Any, **kwargs: Any) -> Any:
                nonlocal current
                current = next(calls)
                if not args:  # the hidden states always come first for the callbacks
                    args = (kwargs.pop(name),)
                return on_block(current, forward, args, kwargs)

            return routed

        def layer_of(by_block: dict[int, int]) -> int:
            return by_block[current]

        def in_last() -> bool:
            return current == self.n_blocks - 1

        with self._undone() as handles:
            for module, by_block in self._sites.items():
                if self.pre_act:
                    handles.append(module.register_forward_hook(_site_output(on_site, layer_of, by_block)))
                else:
                    handles.append(module.register_forward_pre_hook(_site_input(on_site, layer_of, by_block)))
            for module, layer in self._feeders.items() if on_feeder else ():
                assert on_feeder is not None
                handles.append(module.register_forward_pre_hook(_feeder_input(home.tensors(on_feeder), layer, in_last)))
            for module, layer in self.experts.items() if on_routing else ():
                assert on_routing is not None
                handles.append(module.register_forward_pre_hook(_routed(on_routing, layer)))
            if on_head is not None:
                at_head = home.head(on_head)
                handles.append(self._head.register_forward_pre_hook(lambda _, args: (at_head(args[0]), *args[1:])))
            for module, indices in self._blocks.items():
                module.forward = block_forward(module, indices)
            vocabulary = in_pieces(self._head) if head else _same
            if vocabulary is not None:
                self._head.forward = vocabulary
            yield

    @contextmanager
    def _undone(self) -> Iterator[list[Any]]:
        """A list for the handles of hooks. At the end, come what may, the hooks are removed and blocks and head get their
        own forward back."""
        handles: list[Any] = []
        before = {module: module.__dict__.get("forward") for module in (*self._blocks, self._head)}
        try:
            yield handles
        finally:
            for handle in handles:
                handle.remove()
            for module, own in before.items():
                module.__dict__.pop("forward", None)
                if own is not None:
                    module.__dict__["forward"] = own


def _same(x: Tensor, *_args: Any) -> Tensor:
    return x


def _site_input(on_site: OnTensor, layer_of: LayerOf, by_block: dict[int, int]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = on_site(layer_of(by_block), args[0])
        return None if new is None else (new, *args[1:])

    return hook


def _site_output(on_site: OnTensor, layer_of: LayerOf, by_block: dict[int, int]) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return on_site(layer_of(by_block), output)

    return hook


def _routed(on_routing: OnRouting, layer: int) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, index, weights = args
        found = on_routing(layer, (index, weights))
        return (hidden, *(new.to(hidden.device) for new in found))

    return hook


def _feeder_input(change: OnTensor, layer: int, in_last: Callable[[], bool]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = change(layer, args[0]) if in_last() else None
        return None if new is None else (new, *args[1:])

    return hook


def is_plain(module: nn.Module) -> bool:
    """Whether the module gives x @ matrix.T + bias of x (..., width) and nothing else: not adapted, quantised or
    hooked."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    return type(module) in (nn.Linear, Conv1D) and not hooked


def matrix(module: nn.Module) -> Tensor:
    """(hidden, width) of a plain module."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.t() if isinstance(module, Conv1D) else weight
