"""What is known about a model before it is used: its neurons, how edits of them are computed, and what a query costs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.attribution import attribute
from analysis.method import PRESETS
from analysis.models import LoadedModel, probe_ids
from analysis.prompts import EncodedQuery, Query, Step, Word
from analysis.quadrature import nodes_and_weights
from analysis.replay import Engine

_TOKENS = 12
_WORDS = 6


@dataclass(frozen=True)
class SiteReport:
    layer: int
    module: str
    call: int
    width: int
    gated: bool


@dataclass(frozen=True)
class QueryCost:
    """One query of 12 tokens, 6 words and one answer token."""

    method: str
    rows: int
    """Rows of all passes together, before any path asks for more nodes."""
    seconds: float
    """Measured on one path, times the number of paths."""
    rows_a_pass: int
    bytes_a_pass: int


@dataclass(frozen=True)
class ModelReport:
    model: str
    source: str
    architecture: str
    kind: str
    dtype: str
    attention: str
    context: int
    n_layers: int
    n_neurons: int
    sites: tuple[SiteReport, ...]
    computed_by: str
    computed_by_all_positions: str
    error: float
    """Largest relative difference to full forwards in the proof at load."""
    not_faster_because: tuple[tuple[str, str], ...]
    """Faster ways that are not exact on this model, each with why."""
    costs: tuple[QueryCost, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect(loaded: LoadedModel, memory_bytes: int | None = None) -> ModelReport:
    """Prove the model's sites and passes, and time one path per method. Raises ModelError where they cannot be proven."""
    engine = Engine(loaded, memory_bytes)
    identity = loaded.identity
    return ModelReport(
        model=loaded.label,
        source=identity.source,
        architecture=identity.architecture,
        kind=loaded.kind,
        dtype=identity.dtype,
        attention=identity.attention,
        context=loaded.context,
        n_layers=len(loaded.sites),
        n_neurons=loaded.n_neurons,
        sites=tuple(SiteReport(s.layer, s.module, s.call, s.width, s.gated) for s in loaded.sites),
        computed_by=str(engine.proof.recipe),
        computed_by_all_positions=str(engine.proof.recipe_whole),
        error=engine.proof.error,
        not_faster_because=tuple(dict.fromkeys(engine.proof.refused)),
        costs=tuple(_cost(engine, name) for name in ("amig", "bkn")),
    )


def _cost(engine: Engine, name: str) -> QueryCost:
    method = PRESETS[name]
    paths = _WORDS if method.baseline == "per_word" else 1
    tokens = min(_TOKENS, engine.loaded.context)
    query = sample_query(engine.loaded, tokens, words=1)
    timed = replace(method, rule="endpoints") if method.is_adaptive else method  # no path asks for more nodes
    start = time.process_time()
    list(attribute(engine, [query], timed))
    seconds = (time.process_time() - start) * paths
    at, _ = nodes_and_weights(
        method.rule, method.nodes
    )  # where a path ends is one row for all, its start one of its own
    rows = paths * len(engine.loaded.sites) * len({0.0, *at[at < 1]}) + int(1 in at)
    held = engine.capacity(1 if engine.recipe.prefix else tokens, gradient=True)
    size = engine.proof.cost.token * (1 if engine.recipe.prefix else tokens) + engine.proof.cost.head
    return QueryCost(name, rows, seconds, min(held, rows), min(held, rows) * size)


def sample_query(loaded: LoadedModel, tokens: int, words: int, steps: int = 1, seed: int = 0) -> EncodedQuery:
    """A query of ordinary tokens that say nothing: for timing. The answer stands last (decoders) or last but one."""
    sequence = probe_ids(loaded.model, loaded.tokenizer, rows=seed + 1, tokens=tokens + steps)[seed].tolist()
    gold = tuple(sequence[-steps:])
    made = []
    for step in range(steps):
        if loaded.kind == "encoder":
            first = tokens - steps - 1
            ids = sequence[:tokens]
            ids[first : first + steps] = [*gold[:step], *[loaded.substitute] * (steps - step)]
            made.append(Step(tuple(ids), first + step, gold[step]))
        elif loaded.kind == "encoder-decoder":
            source = [token for token in sequence if token != loaded.start][:tokens]
            made.append(Step((*source, loaded.start, loaded.substitute, *gold[:step]), 1 + step, gold[step]))
        else:
            ids = [*sequence[:tokens], *gold[:step]]
            made.append(Step(tuple(ids), len(ids) - 1, gold[step]))
    places = range(1, 1 + words)
    query = Query(str(seed), "sample", "", "[X] [Y]", "", "")
    return EncodedQuery(query, "", ("",) * steps, tuple(made), tuple(Word(str(i), (i,)) for i in places))
