"""`logprob_increase`: what each neuron adds to F by itself, written straight into the head (Yu & Ananiadou 2024).

    score_j = F(r_l + w_j v_j) - F(r_l)

w_j is the neuron's activation at the answer position of layer l, v_j its output vector (its row of the second MLP linear),
r_l the residual stream before the layer's MLP; F reads what the model's final norm and head make of a residual stream. No
gradient, but one product with the vocabulary a neuron. Where a norm follows the MLP, r_l is what the block gives out with
the layer's neurons at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from knscope.analysis.engine import memory
from knscope.analysis.engine.circuit import matrix
from knscope.analysis.engine.devices import hidden_of, with_hidden
from knscope.analysis.engine.logits import value
from knscope.analysis.engine.replay import Engine, Prepared
from knscope.analysis.errors import ModelError


def increases(engine: Engine, prepared: Prepared, target: str) -> Iterator[tuple[int, list[Tensor]]]:
    """(state, scores by layer (width,)) for each state of the queries. Raises ModelError where no plain matrix follows the neurons."""
    circuit = prepared.circuit
    if not circuit.is_linear:
        raise ModelError(
            f"logprob_increase needs a plain second MLP linear after the neurons, which {engine.loaded.label} has not"
        )
    for state in range(len(prepared.gold)):
        ids = prepared.ids_of(state)
        position, gold = int(prepared.position[state]), prepared.gold[state : state + 1]
        streams = _streams(engine, ids, position)  # (layers, hidden)

        def f(hidden: Tensor, ids: Tensor = ids, gold: Tensor = gold, position: int = position) -> Tensor:
            return value(target, finish(engine, ids, hidden, position), gold.expand(len(hidden))).double()

        before = f(streams)
        scores = []
        for layer, stream in enumerate(streams):
            weights = matrix(circuit.linears[layer]).t().to(stream.device)  # (width, hidden)
            write = prepared.activations[layer][state][:, None] * weights
            scores.append(
                _in_chunks(engine, stream + write, 1 if engine.recipe.enter == "own" else ids.shape[1], f)
                - before[layer]
            )
        yield state, scores


def _in_chunks(engine: Engine, hidden: Tensor, tokens: int, f: Callable[[Tensor], Tensor]) -> Tensor:
    """F (rows,) of hidden states (rows, hidden), as many at a time as memory allows."""
    out = torch.empty(len(hidden), dtype=torch.float64, device=hidden.device)

    def work(start: int, end: int) -> None:
        out[start:end] = f(hidden[start:end])

    for start, end in memory.spans(len(hidden), engine.capacity(tokens, gradient=False)):
        engine.between()
        memory.halving(start, end, work)
    return out


def _streams(engine: Engine, ids: Tensor, position: int) -> Tensor:
    """r_l of every layer (layers, hidden) for ids (1, tokens): row l of a batch runs with layer l's neurons at 0."""
    circuit = engine.circuit
    sites = circuit.anatomy.sites
    found: list[Tensor] = [torch.empty(0)] * len(sites)
    tokens = circuit.tokens(ids)
    for start, end in memory.spans(len(sites), engine.capacity(ids.shape[1], gradient=False)):

        def on_site(layer: int, x: Tensor, start: int = start, end: int = end) -> Tensor | None:
            if not start <= layer < end:
                return None
            new = x.reshape(end - start, tokens, -1).clone()
            new[layer - start, position] = 0
            return new.view(x.shape)

        def on_block(
            index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
            start: int = start, end: int = end,
        ) -> Any:  # fmt: skip
            out = forward(*args, **kwargs)
            for site in sites[start:end]:
                if site.block == index:
                    found[site.layer] = hidden_of(out)[site.layer - start, position].clone()
            return out

        with torch.no_grad(), circuit.wired(on_block, on_site, head=False):
            circuit.model(input_ids=ids.expand(end - start, -1), **({"use_cache": False} if circuit.decodes else {}))
    if engine.recipe.sum:  # nothing follows the MLP: its bias is no part of the stream before it
        for layer, module in enumerate(circuit.linears):
            if isinstance(module.bias, Tensor):
                found[layer] = found[layer] - module.bias.to(found[layer].device)
    return torch.stack([each.to(ids.device) for each in found])


def finish(engine: Engine, ids: Tensor, hidden: Tensor, position: int) -> Tensor:
    """Logits (rows, vocabulary) where the last block gives out hidden (rows, hidden) at the answer position of ids (1, tokens)."""
    circuit = engine.circuit
    last, alone = circuit.n_blocks - 1, engine.recipe.enter == "own"

    def on_block(index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = forward(*args, **kwargs)
        if index < last:
            return out
        new = hidden_of(out).expand(len(hidden), -1, -1).clone()  # (rows, tokens, hidden)
        new[:, position] = hidden.to(new)
        return with_hidden(out, new)

    def on_head(h: Tensor) -> Tensor:
        return h[:, position : position + 1]

    ids = ids if alone else ids.expand(len(hidden), -1)  # others look at each row's own ids
    with torch.no_grad(), circuit.wired(on_block, lambda layer, x: None, on_head):
        logits = circuit.model(input_ids=ids, **({"use_cache": False} if circuit.decodes else {})).logits
    cut: Tensor = logits[:, 0].to(hidden.device)
    return cut
