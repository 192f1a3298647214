"""What a neuron writes: the tokens whose logits its output vector raises and lowers, read off the weights alone.

With every other neuron of its layer at 0, neuron j at 1 changes what its block gives out by

    w_j = block(e_j) - block(0)                      (hidden,)

which is column j of the second MLP linear, behind the norm that follows it where a model has one. The logits of that vector
are those of the model's own final norm and head, less what they say of nothing:

    z_j = head(sqrt(hidden) w_j / |w_j|) - head(0)   (vocabulary,)

All vectors get one length, as a final norm gives them anyhow, so z_j compares neurons by direction. No prompt is read: the
block runs on the one token that stands for a hidden word. The idea is the "logit lens" of single neurons (Geva
et al. 2022, "Transformer feed-forward layers build predictions by promoting concepts in the vocabulary space").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from knscope.analysis.engine.circuit import Recipe
from knscope.analysis.engine.devices import hidden_of, with_hidden
from knscope.analysis.engine.passes import record
from knscope.analysis.errors import ModelError
from knscope.analysis.types import Floats, Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine

TOP = 10
"""Tokens kept a neuron and direction."""
_LOGITS = 1 << 24
"""Logits of a pass: 64 MiB in float32."""
_RANDOM = 64


@dataclass(frozen=True)
class Promoted:
    """The `TOP` tokens that each of n neurons of a layer raises most, and lowers most, strongest first.

    promotes, suppresses: (n, TOP) token ids; promotes_by, suppresses_by: (n, TOP) their z. length: (n,), of w. seen: (n,),
    the standard deviation of z over the vocabulary, over its mean for random directions: 1 for a vector that the head reads
    as well as any, near 0 for one that it does not see.
    """

    neurons: Ints
    promotes: Ints
    promotes_by: Floats
    suppresses: Ints
    suppresses_by: Floats
    length: Floats
    seen: Floats


def promoted(engine: Engine, layer: int, neurons: Ints | None = None) -> Iterator[Promoted]:
    """What `neurons` of a layer (default: all) write, in stretches of one pass each.

    :raises ModelError: for a layer that the model lacks, and for encoder-decoders
    """
    lens = Lens(engine)
    if not 0 <= layer < len(engine.loaded.sites):
        raise ModelError(f"{engine.loaded.label} has the layers 0 to {len(engine.loaded.sites) - 1}, not {layer}")
    wanted = np.arange(engine.loaded.sites[layer].width) if neurons is None else neurons
    size = max(1, _LOGITS // lens.vocabulary)
    usual = lens.spread(torch.randn(_RANDOM, lens.hidden, generator=torch.Generator().manual_seed(0)))
    for start in range(0, len(wanted), size):
        part = wanted[start : start + size]
        vectors = lens.written(layer, part)  # (n, hidden)
        logits = lens.logits(vectors)  # (n, vocabulary)
        spread = _deviation(logits) / usual
        raised, lowered = lens.strongest(logits, largest=True), lens.strongest(logits, largest=False)
        yield Promoted(part, *raised, *lowered, vectors.norm(dim=1).double().cpu().numpy(), spread.cpu().numpy())


class Lens:
    """The blocks and the head of a loaded model, run on vectors instead of prompts. Raises ModelError for encoder-decoders."""

    def __init__(self, engine: Engine) -> None:
        loaded = engine.loaded
        if loaded.kind == "encoder-decoder":
            raise ModelError(f"{loaded.label}: single neurons are read for encoders and decoders only")
        self.circuit, self.dtype = engine.circuit, loaded.dtype
        token = loaded.tokenizer.mask_token_id if loaded.kind == "encoder" else loaded.end or 0
        self.ids = torch.tensor([[token]], device=loaded.device)  # any: its hidden states are never read
        first = torch.zeros(1, dtype=torch.long, device=loaded.device)
        self.recording = record(self.circuit, self.ids, 1, first, first, 1, Recipe("own"))
        self.vocabulary = self.recording.logits.shape[-1]
        self.hidden = self.recording.before[0].shape[-1]
        special = {token for token in loaded.tokenizer.all_special_ids if token < self.vocabulary}
        beyond = range(len(loaded.tokenizer), self.vocabulary)
        self.aside = torch.tensor(sorted(special.union(beyond)), dtype=torch.long, device=loaded.device)
        """Special tokens, and rows of the head that no token stands for."""
        self.nothing = self._head(torch.zeros(1, self.hidden, device=loaded.device, dtype=self.dtype))

    def written(self, layer: int, neurons: Ints) -> Tensor:
        """(n, hidden): w of these neurons of a layer."""
        site = self.circuit.anatomy.sites[layer]
        alone = torch.zeros(len(neurons) + 1, 1, site.width, device=self.ids.device, dtype=self.dtype)
        alone[torch.arange(len(neurons)), 0, torch.from_numpy(neurons)] = 1  # the last row has every neuron at 0
        found: list[Tensor] = []

        def on_block(index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if index != site.block:
                return self._passed(index, args)
            entered = self.recording.before[index].expand(len(alone), -1, -1)
            out = forward(entered, *args[1:], **kwargs)
            found.append(hidden_of(out)[:, 0])
            return out

        def on_site(at: int, x: Tensor) -> Tensor | None:
            return alone.view(*x.shape[:-1], -1) if at == layer else None

        with torch.no_grad(), self.circuit.wired(on_block, on_site, head=False):
            self._run(len(alone))
        return found[0][:-1] - found[0][-1:]

    def logits(self, vectors: Tensor) -> Tensor:
        """(n, vocabulary): z of vectors (n, hidden)."""
        length = vectors.norm(dim=1, keepdim=True).clamp_min(torch.finfo(self.dtype).tiny)
        return _precise(self._head(vectors / length * self.hidden**0.5) - self.nothing)

    def spread(self, vectors: Tensor) -> float:
        """Mean standard deviation of z over the vocabulary."""
        return float(_deviation(self.logits(vectors.to(self.nothing))).mean())

    def strongest(self, logits: Tensor, largest: bool) -> tuple[Ints, Floats]:
        """Ids and z, (n, TOP) each, of the tokens that z raises or lowers most."""
        logits[:, self.aside] = -torch.inf if largest else torch.inf
        values, ids = logits.topk(min(TOP, self.vocabulary - len(self.aside)), largest=largest)
        return ids.cpu().numpy(), values.double().cpu().numpy()

    def _head(self, vectors: Tensor) -> Tensor:
        """(n, vocabulary): logits where the last block gives out `vectors` (n, hidden)."""
        last = self.circuit.n_blocks - 1

        def on_block(index: int, _: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            passed = self._passed(index, args)
            return with_hidden(passed, vectors[:, None]) if index == last else passed

        with torch.no_grad(), self.circuit.wired(on_block, lambda _layer, _x: None):
            return self._run(len(vectors))[:, 0]

    def _passed(self, index: int, args: tuple[Any, ...]) -> Any:
        """What a block that is left out returns: what entered it."""
        extra = self.recording.extras[index]
        return args[0] if extra is None else (args[0], *extra)

    def _run(self, rows: int) -> Tensor:
        options = {"use_cache": False} if self.circuit.decodes else {}
        logits: Tensor = self.circuit.model(input_ids=self.ids.expand(rows, -1), **options).logits
        return logits


def _deviation(logits: Tensor) -> Tensor:
    """(n,): standard deviation over the vocabulary of logits (n, vocabulary), from two sums: `std` takes four times as long."""
    n = logits.shape[1]
    squares, mean = logits.norm(dim=1).double().square(), logits.mean(dim=1).double()
    variance: Tensor = (squares - n * mean.square()) / (n - 1)
    return variance.clamp_min(0).sqrt()


def _precise(logits: Tensor) -> Tensor:
    precision = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(precision)
