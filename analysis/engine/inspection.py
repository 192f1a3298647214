"""Inspect a model: its neurons, how edits are computed, and the cost of a query."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import PRESETS
from knscope.analysis.attribution.promotion import finish
from knscope.analysis.attribution.quadrature import nodes_and_weights
from knscope.analysis.engine.models import LoadedModel, probe_ids
from knscope.analysis.engine.replay import Engine
from knscope.analysis.engine.ways import Case
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import EncodedQuery, Query, Step, Word

COSTED = ("amig", "bkn", "attribution_patching", "logprob_increase")
_TOKENS = 12
_WORDS = 6


@dataclass(frozen=True)
class QueryCost:
    """One query of 12 tokens, 6 words and one answer token."""

    method: str
    rows: int
    """Rows of all passes together, before any path asks for more nodes."""
    seconds: float
    """Measured on one path, times the number of paths: of processor time, of a GPU's by the clock."""
    rows_a_pass: int
    mib_a_pass: float


def inspect(loaded: LoadedModel, memory_bytes: int | None = None) -> dict[str, Any]:
    """Prove the model's sites and passes, and time one path per method; a document. Raises ModelError where they cannot be proven.

    `substitute`: the token that takes the place of a hidden word (eq. 3) unless a method names another; `computed_by_long`: prompts
    of `long_from` tokens or more, None where their length makes no difference; `error`: the largest relative difference to full
    forwards in the proof at load; `not_faster_because`: faster ways that are not exact here, each with why; `mib_scores`: the
    scores of all neurons of one query on disk, in float32; `costs`: as QueryCost; `sites`: as Site.
    """
    clock = _clock(loaded)
    started = clock()
    engine = Engine(loaded, memory_bytes, remember=False)
    proof = engine.proof
    whole = proof.way(Case(whole=True)).recipe
    long = proof.recipe if proof.longest_prefix >= loaded.context else proof.way(Case(prefix=False)).recipe
    proving = clock() - started
    identity, differs = loaded.identity, long != proof.recipe
    return {
        "model": loaded.label,
        "source": identity.source,
        "revision": identity.revision,
        "architecture": identity.architecture,
        "kind": loaded.kind,
        "dtype": identity.dtype,
        "attention": identity.attention,
        "device": str(loaded.device),
        "context": loaded.context,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "layers": len(loaded.sites),
        "neurons": loaded.n_neurons,
        "weights_hash": identity.weights_hash,
        "tokenizer_hash": identity.tokenizer_hash,
        "substitute": _substitute(loaded),
        "computed_by": str(proof.recipe),
        "computed_by_all_positions": str(whole),
        "computed_by_long": str(long) if differs else None,
        "long_from": proof.longest_prefix if differs else None,
        "error": proof.error,
        "not_faster_because": proof.refused,
        "proving_seconds": round(proving, 3),
        "mib_scores": round(4 * loaded.n_neurons / 2**20, 3),
        "costs": [asdict(_cost(engine, name)) for name in COSTED if name != "amig" or _substitute(loaded)],
        "sites": [asdict(site) for site in loaded.sites],
    }


def _clock(loaded: LoadedModel) -> Callable[[], float]:
    """Processor time, which other processes do not lengthen; a GPU's work is waited for."""
    return time.process_time if loaded.device.type == "cpu" else time.perf_counter


def _substitute(loaded: LoadedModel) -> str | None:
    try:
        return str(loaded.tokenizer.convert_ids_to_tokens(loaded.substitute))
    except ModelError:  # a decoder without one
        return None


def _cost(engine: Engine, name: str) -> QueryCost:
    method = PRESETS[name]
    paths = _WORDS if method.baseline == "per_word" else 1
    tokens = min(_TOKENS, engine.loaded.context)
    query = sample_query(engine.loaded, tokens, words=1)
    timed = replace(method, rule="endpoints") if method.is_adaptive else method  # no path asks for more nodes
    if method.kind == "logprob_increase":
        return _cost_of_products(engine, name, query)
    others = {query.query.id: [query]}
    list(attribute(engine, [query], timed, others))  # a first one waits for libraries to wake up
    clock = _clock(engine.loaded)
    start = clock()
    list(attribute(engine, [query], timed, others))
    seconds = (clock() - start) * paths
    at, _ = nodes_and_weights(method.rule, method.nodes)
    # where a path ends is one row for all, its start one of its own
    rows = paths * len(engine.loaded.sites) * len({0.0, *at[at < 1]}) + int(1 in at)
    computed = 1 if engine.recipe.prefix else tokens
    held = min(rows, engine.capacity(computed, gradient=True))
    cost = engine.proof.cost
    return QueryCost(name, rows, round(seconds, 4), held, round(held * (cost.token * computed + cost.head) / 2**20, 1))


def _cost_of_products(engine: Engine, name: str, query: EncodedQuery) -> QueryCost:
    """One product with the vocabulary a neuron and layer, of which a pass of them is timed."""
    prepared = engine.prepare([query])
    tokens = len(query.steps[0].ids) if engine.recipe.enter != "own" else 1
    rows = engine.loaded.n_neurons + len(engine.loaded.sites)
    held = min(rows, engine.capacity(tokens, gradient=False))
    width = engine.circuit.product(0, prepared.activations[0]).shape[-1]
    hidden = prepared.activations[0].new_ones((held, width))
    clock = _clock(engine.loaded)
    start = clock()
    finish(engine, prepared.ids_of(0), hidden, int(prepared.position[0]))
    seconds = (clock() - start) * rows / held
    return QueryCost(name, rows, round(seconds, 4), held, round(held * engine.proof.cost.row(tokens, False) / 2**20, 1))


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
