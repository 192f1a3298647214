"""Where the paths of a query start: one per word hidden (eq. 3), at zero, at the mean over hidden sub-word tokens, or at
what other facts activate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from knscope.analysis.attribution.method import MethodConfig
from knscope.analysis.engine.circuit import Circuit
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine, Prepared, Variant
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery
from knscope.analysis.types import Ints


@dataclass(frozen=True)
class Paths:
    """The paths of queries of one shape, as parallel arrays; a state is a query at a step."""

    state: Tensor
    path: Ints
    """The word's index; 0 where there is one path."""
    word: list[str]
    start: list[Tensor]
    """w' by layer: (paths, width), or (paths, tokens, width) where all positions are on the path."""

    def __len__(self) -> int:
        return len(self.path)


@dataclass(frozen=True)
class _Hidden:
    """One query's sequence with word or token number `place` replaced, read in the variant's states."""

    variant: Variant
    place: int


def prepare(
    engine: Engine,
    circuit: Circuit,
    queries: Sequence[EncodedQuery],
    method: MethodConfig,
    logits: bool = True,
    others: Mapping[str, Sequence[EncodedQuery]] | None = None,
) -> tuple[Prepared, Paths]:
    """Record the queries, with or without their logits, and read in the same passes where their paths start.

    `others`: by language or by the query's id, for the baselines that start from other facts. Raises ModelError where a
    query has none.
    """
    hidden = [each for index, query in enumerate(queries) for each in _hidden(engine, index, query, method)]
    variants = list(dict.fromkeys(each.variant for each in hidden))
    prepared = engine.prepare(queries, variants, logits=logits, whole=method.positions == "all", circuit=circuit)
    reading = ((variant, state) for variant in variants for state in variant.states)
    row = {key: index for index, key in enumerate(reading)}
    by_state: list[list[tuple[int, int]]] = [[] for _ in prepared.gold]  # (row read, place)
    for each in hidden:
        for state in each.variant.states:
            by_state[state].append((row[each.variant, state], each.place))
    of_path: list[int] = []
    places: list[int] = []
    words: list[str] = []
    reads: list[list[int]] = []
    for state, read in enumerate(by_state):
        query, step = divmod(state, prepared.n_steps)
        if method.baseline == "per_word":
            for one, place in _kept(engine, queries[query], step, read, method):
                of_path.append(state)
                places.append(place)
                words.append(queries[query].words[place].text)
                reads.append([one])
        else:
            of_path.append(state)
            places.append(0)
            words.append("")
            reads.append([one for one, _ in read])
    both = zip(prepared.activations, prepared.extra, strict=True)
    if method.baseline in ("mean", "resample"):
        start = _from_others(engine, circuit, queries, prepared.n_steps, others or {})
    else:
        start = [_starts(clean, extra, reads, method.baseline) for clean, extra in both]
    states = torch.tensor(of_path, device=engine.loaded.device, dtype=torch.long)
    return prepared, Paths(states, np.array(places, np.int64), words, start)


def _hidden(engine: Engine, index: int, query: EncodedQuery, method: MethodConfig) -> list[_Hidden]:
    """Query number `index` with each of its words, or each of its tokens, replaced."""
    if method.baseline in ("zero", "mean", "resample"):
        return []
    steps, loaded = len(query.steps), engine.loaded
    substitute = loaded.token_id(method.substitute) if method.substitute else loaded.substitute
    found = []
    for step in [steps - 1] if loaded.causal else range(steps):
        ids = query.steps[step].ids
        states = range(index * steps, (index + 1) * steps) if loaded.causal else [index * steps + step]
        for place, tokens in enumerate(_changes(loaded, query, ids, method)):
            changed = tuple(substitute if at in tokens else token for at, token in enumerate(ids))
            if loaded.kind == "decoder":  # a step's own sequence ends at its position and has no later tokens
                reading = [s for s in states if tokens[0] <= query.steps[s - index * steps].position]
            else:
                reading = list(states)
            found.append(_Hidden(Variant(changed, tuple(reading)), place))
    return found


def _changes(
    loaded: LoadedModel, query: EncodedQuery, ids: tuple[int, ...], method: MethodConfig
) -> list[tuple[int, ...]]:
    """The tokens of `ids` that each path hides: one word's, or one token where paths start at the mean over tokens."""
    if method.baseline != "mean_tokens":
        return [word.tokens for word in query.words]
    reads_source = loaded.causal and loaded.kind != "decoder"
    return [(place,) for place in range(ids.index(loaded.start) if reads_source else len(ids))]


def _kept(
    engine: Engine, query: EncodedQuery, step: int, read: list[tuple[int, int]], method: MethodConfig
) -> list[tuple[int, int]]:
    """Drop the path of the word at a decoder's answer position where `last_word` is `drop` and other words remain."""
    if method.last_word == "keep" or engine.loaded.kind != "decoder":
        return read
    position = query.steps[step].position
    return [entry for entry in read if position not in query.words[entry[1]].tokens] or read


def _from_others(
    engine: Engine,
    circuit: Circuit,
    queries: Sequence[EncodedQuery],
    steps: int,
    others: Mapping[str, Sequence[EncodedQuery]],
) -> list[Tensor]:
    """By layer (states, width): the mean, over each query's others, of the mean over their steps of what they activate."""
    read: dict[str, list[Tensor]] = {}

    def activations(other: EncodedQuery) -> list[Tensor]:
        if other.query.id not in read:
            found = engine.prepare([other], replayed=False, logits=False, circuit=circuit).activations
            read[other.query.id] = [layer.mean(0) for layer in found]
        return read[other.query.id]

    of_query: dict[tuple[str, ...], list[Tensor]] = {}
    starts: list[list[Tensor]] = []
    for query in queries:
        mine = others.get(query.query.id) or others.get(query.query.lang) or ()
        if not mine:
            raise ModelError(
                f"fact {query.query.fact} ({query.query.lang}): there is no other fact of the language that a path could start from"
            )
        name = tuple(other.query.id for other in mine)
        if name not in of_query:
            of_query[name] = [torch.stack(layer).mean(0) for layer in zip(*map(activations, mine), strict=True)]
        starts += [of_query[name]] * steps
    return [torch.stack(layer) for layer in zip(*starts, strict=True)]


def _starts(clean: Tensor, extra: Tensor, reads: list[list[int]], baseline: str) -> Tensor:
    if baseline == "zero":
        return torch.zeros_like(clean)
    if baseline == "per_word":
        return extra[torch.tensor([read for (read,) in reads], device=extra.device)]
    return torch.stack([extra[torch.tensor(read, device=extra.device)].mean(0) for read in reads])
