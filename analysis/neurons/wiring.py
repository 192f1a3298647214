"""What a neuron reads, and whose output vectors lie nearest to its own, read off the weights alone.

An activation comes of one row u_j of its block's first MLP linear, act(u_j · x), or in a gated MLP of two,
act(g_j · x) (u_j · x), biases aside. x is what enters that linear: the residual stream behind the norm of the block. Of a token
t a row reads its product where the stream holds the token's embedding e_t and nothing else:

    r_jt = row_j · norm_l(e_t)

The norm takes away the length of e_t (and its mean where it is a LayerNorm) and stretches each dimension by its gain, so tokens
compare by direction and r is in the units of the activation function's argument. No attention and no position is added.
Nearest are the neurons k of all layers whose output vectors (`measure`) have the largest cosine with that of j:

    near_jk = w_j · w_k / (|w_j| |w_k|)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from knscope.analysis.engine.circuit import is_plain, matrix
from knscope.analysis.neurons.measure import TOP, Lens
from knscope.analysis.types import Floats, Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine

_PRODUCTS = 1 << 24
"""Numbers of a product: 64 MiB in float32."""


@dataclass(frozen=True)
class Read:
    """The `TOP` tokens of each of n rows: ids and r, (n, TOP) each, strongest first."""

    ids: Ints
    by: Floats


@dataclass(frozen=True)
class Wired:
    """n neurons of a layer. neurons: (n,) flat; near: (n, TOP) flat neurons and their cosines, nearest first.

    reads: what the row before the activation function reads, by r; up: by |r| what the other row of a gated MLP reads, whose sign
    decides with that of the gate. None where there is no such row, or it is no plain matrix behind a norm.
    """

    neurons: Ints
    reads: Read | None
    up: Read | None
    near: Ints
    near_by: Floats


def wired(engine: Engine, neurons: Ints) -> Iterator[Wired]:
    """What flat `neurons` (ascending) read and lie near to, a layer at a time.

    :raises ModelError: for encoder-decoders
    """
    lens = Lens(engine)
    layers = np.searchsorted(engine.offsets, neurons, side="right") - 1
    near, near_by = _nearest(engine, lens, neurons, layers)
    tokens = _tokens(engine, lens)
    for layer in np.unique(layers).tolist():
        mine = np.flatnonzero(layers == layer)
        reads, up = _reads(engine, lens, layer, neurons[mine] - engine.offsets[layer], tokens)
        yield Wired(neurons[mine], reads, up, near[mine], near_by[mine])


class _Best:
    """The largest values of n rows that come in stretches of columns; with `signed` by their size."""

    def __init__(self, rows: int, by_size: bool, device: torch.device) -> None:
        self.by_size = by_size
        self.values = torch.empty(rows, 0, device=device)
        self.columns = torch.empty(rows, 0, dtype=torch.long, device=device)

    def take(self, values: Tensor, columns: Tensor) -> None:
        """values (rows, m) of columns (m,)."""
        best = self._largest(values)
        every = torch.cat([self.values.to(values), values.gather(1, best)], dim=1)
        names = torch.cat([self.columns, columns[best]], dim=1)
        best = self._largest(every)
        self.values, self.columns = every.gather(1, best), names.gather(1, best)

    def _largest(self, values: Tensor) -> Tensor:
        """Places (rows, at most TOP) of the largest of each row."""
        sized = values.abs() if self.by_size else values
        return sized.topk(min(TOP, values.shape[1]), dim=1).indices

    def found(self) -> tuple[Ints, Floats]:
        return self.columns.cpu().numpy(), self.values.double().cpu().numpy()


def _nearest(engine: Engine, lens: Lens, neurons: Ints, layers: Ints) -> tuple[Ints, Floats]:
    """(n, TOP): the neurons of all layers whose output vectors point most the same way, and their cosines."""
    device = engine.loaded.device
    parts = [lens.written(one, neurons[layers == one] - engine.offsets[one]) for one in np.unique(layers).tolist()]
    mine = _unit(torch.cat(parts))  # (n, hidden)
    best = _Best(len(neurons), False, device)
    flat = torch.from_numpy(neurons).to(device)
    for layer, site in enumerate(engine.loaded.sites):
        size = max(1, _PRODUCTS // max(site.width, len(neurons)))
        for start in range(0, site.width, size):
            places = np.arange(start, min(start + size, site.width))
            others = torch.from_numpy(places + engine.offsets[layer]).to(device)  # (m,)
            cosines = mine @ _unit(lens.written(layer, places)).T  # (n, m)
            cosines[flat[:, None] == others] = -torch.inf
            best.take(cosines, others)
    return best.found()


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (n, hidden) of length 1; one of length 0 stays."""
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    unit: Tensor = wide / wide.norm(dim=1, keepdim=True).clamp_min(torch.finfo(wide.dtype).tiny)
    return unit


def _tokens(engine: Engine, lens: Lens) -> Tensor:
    """Ids of the ordinary tokens that have an embedding as wide as the residual stream; none where it is narrower."""
    embedding = engine.loaded.model.get_input_embeddings()
    weight = getattr(embedding, "weight", None)
    if not isinstance(weight, Tensor) or weight.shape[1] != lens.hidden:
        return torch.empty(0, dtype=torch.long)
    special = set(engine.loaded.tokenizer.all_special_ids)
    count = min(len(weight), len(engine.loaded.tokenizer))
    return torch.tensor([one for one in range(count) if one not in special], device=weight.device)


def _reads(engine: Engine, lens: Lens, layer: int, places: Ints, tokens: Tensor) -> tuple[Read | None, Read | None]:
    """What the rows of these neurons of a layer read."""
    rows = _rows(engine, layer, places)
    norm = _norm(engine, lens, layer) if rows and len(tokens) else None
    if norm is None:
        return None, None
    embedding = engine.loaded.model.get_input_embeddings()
    best = [_Best(len(places), number > 0, tokens.device) for number in range(len(rows))]
    size = max(1, _PRODUCTS // max(lens.hidden, len(places)))
    for start in range(0, len(tokens), size):
        part = tokens[start : start + size]
        with torch.no_grad():
            entering = norm(embedding(part))  # (tokens, hidden)
            for one, row in zip(best, rows, strict=True):
                one.take(row.to(entering) @ entering.T, part)
    first, *second = (Read(*one.found()) for one in best)
    return first, second[0] if second else None


def _rows(engine: Engine, layer: int, places: Ints) -> list[Tensor]:
    """(n, hidden): the gate's and the other row, or the one input row, of neurons of a layer; none where they are not plain."""
    site = engine.loaded.sites[layer]
    names = sorted(site.feeders, key=lambda name: "gate" not in name.rpartition(".")[2])
    feeders = [engine.loaded.model.get_submodule(name) for name in names]
    if not all(map(is_plain, feeders)):
        return []
    matrices = [matrix(one).detach() for one in feeders]
    if len(matrices) == 1 and len(matrices[0]) == 2 * site.width:
        matrices = list(matrices[0].chunk(2))
    if not 1 <= len(matrices) <= 2 or any(len(one) != site.width for one in matrices):
        return []
    return [one[torch.from_numpy(places).to(one.device)] for one in matrices]


def _norm(engine: Engine, lens: Lens, layer: int) -> nn.Module | None:
    """The norm whose output enters the first MLP linear of a layer, as one token's pass shows."""
    model, site = engine.loaded.model, engine.loaded.sites[layer]
    block, feeder = (model.get_submodule(name) for name in (_block(engine, layer), site.feeders[0]))
    made: list[tuple[nn.Module, Tensor]] = []
    entered: list[Tensor] = []

    def left(module: nn.Module, _args: object, out: object) -> None:
        if isinstance(out, Tensor):
            made.append((module, out))

    with ExitStack() as stack, torch.no_grad():
        for module in block.modules():
            stack.callback(module.register_forward_hook(left).remove)
        hook = feeder.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        stack.callback(hook.remove)
        model(input_ids=lens.ids)
    place = site.call if len(entered) > site.call else -1
    return next(
        (
            module
            for module, out in made
            if "norm" in type(module).__name__.lower()
            and (out.data_ptr(), out.numel()) == (entered[place].data_ptr(), entered[place].numel())
        ),
        None,
    )


def _block(engine: Engine, layer: int) -> str:
    return engine.loaded.anatomy.blocks[engine.loaded.sites[layer].block].module
