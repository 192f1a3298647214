"""Made-up results of any size for the store's benchmark: a trained model's fall of scores, or a flat one. Not results of anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from knscope import store
from knscope.store import runs, schema
from knscope.store.shards import write_shard
from knscope.store.view import FLOOR

LAYERS, SCANNED, QUERIES_A_SHARD = 12, 20, 16
MODEL, METHOD, LANGS = "made@00000000", "amig", ("en", "zh")
DEGENERATE, FLAT_DEGENERATE = 0.01, 0.11
"""Share of the scanned pairs that the default thresholds call degenerate: as in the bundled models, where it is at most that, and flat."""
ROLES = ("kn", "layer_control", "drop_control")
Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class Shape:
    """How much is made up. `flat`: rows with rel >= floor in a query, or 0 for the fall of a trained model's scores."""

    facts: int
    neurons: int
    flat: int = 0
    scans: bool = True


def write(path: Path, shape: Shape) -> int:
    """Write a store; returns the number of queries."""
    store.create(path)
    run = runs.new_run(path, {"made up": True})
    for tables, dense in shards(shape):
        write_shard(path, run, tables, dense)
    return shape.facts * len(LANGS)


def shards(shape: Shape, queries: int = QUERIES_A_SHARD) -> Iterator[tuple[Tables, np.ndarray]]:
    """What each shard of so many queries holds."""
    rng = np.random.default_rng(0)
    curve = falling(shape)
    pairs = [(fact, lang) for fact in range(shape.facts) for lang in LANGS]
    for start in range(0, len(pairs), queries):
        some = pairs[start : start + queries]
        dense = np.stack([_scores(rng, curve, fact, shape.neurons) for fact, _ in some])
        yield _tables(rng, shape, some, dense), dense


def falling(shape: Shape) -> np.ndarray:
    """rel by rank, (neurons,) float32: 254 neurons a query at or above .05 and 1,960 at or above .01, as measured on a trained model
    of 36,864 neurons; or `flat` of them evenly spread above the floor."""
    rank = np.arange(1, shape.neurons + 1, dtype=np.float64)
    if shape.flat:
        rel = np.where(rank <= shape.flat, 1 - (1 - FLOOR) * (rank - 1) / shape.flat, 0.04 * shape.flat / rank)
    else:
        head = 254 * shape.neurons / 36_864
        rel = np.where(rank <= head, rank ** (np.log(FLOOR) / np.log(head)), FLOOR * (rank / head) ** (-1 / 1.27))
    rel[shape.neurons // 2 :] *= -1
    return rel.astype(np.float32)


def _scores(rng: np.random.Generator, curve: np.ndarray, fact: int, neurons: int) -> np.ndarray:
    order = rng.permutation(neurons)
    own = np.random.default_rng(fact).choice(neurons, 30, replace=False)
    place = np.empty(neurons, np.int64)
    place[order] = np.arange(neurons)
    for rank, neuron in zip(
        rng.choice(60, 30, replace=False), own, strict=True
    ):  # a fact's own neurons are high in every language
        other = order[rank]
        order[rank], order[place[neuron]] = neuron, other
        place[other], place[neuron] = place[neuron], rank
    scores = np.empty(neurons, np.float32)
    scores[order] = curve
    return scores * np.float32(rng.uniform(1e-3, 1e-1))


def _tables(rng: np.random.Generator, shape: Shape, some: list[tuple[int, str]], dense: np.ndarray) -> Tables:
    width = shape.neurons // LAYERS
    queries = [f"{fact:06x}{lang:>10}".replace(" ", "0") for fact, lang in some]
    keys = [f"a{'0' * 15}{query}" for query in queries]
    best = dense.max(axis=1).astype(np.float64)
    rel = dense.astype(np.float64) / best[:, None]
    row, flat = np.nonzero(rel >= FLOOR)
    order = np.lexsort((-rel[row, flat], row))
    row, flat = row[order], flat[order]
    n = len(some)
    tables: dict[str, dict[str, object]] = {
        "model": {"model": [MODEL], "name": ["made"], "n_layers": [LAYERS], "n_neurons": [shape.neurons]},
        "site": {
            "model": [MODEL] * LAYERS, "layer": range(LAYERS), "width": [width] * LAYERS, "offset": range(0, width * LAYERS, width),
            "module": [f"h.{layer}" for layer in range(LAYERS)], "call": [0] * LAYERS,
        },
        "query": {
            "query": queries, "fact": [f"fact-{fact:05}" for fact, _ in some], "relation": [f"P{fact % 40}" for fact, _ in some],
            "lang": [lang for _, lang in some], "template": ["The capital of [X] is [Y]"] * n,
            "subject": [f"subject {fact}" for fact, _ in some], "object": [f"object {fact}" for fact, _ in some],
        },
        "prediction": {
            "key": [f"p{key}" for key in keys], "model": [MODEL] * n, "query": queries, "p": rng.random(n), "p_root": rng.random(n),
            "rank": [1] * n, "known": rng.random(n) < 0.7,
        },
        "attribution": {
            "key": keys, "model": [MODEL] * n, "method": [METHOD] * n, "query": queries, "max_score": best, "floor": [FLOOR] * n,
            "kept": np.bincount(row, minlength=n), "max_residual": rng.random(n) * 1e-3, "dense_row": range(n),
        },
        "score": {
            "key": pa.array(keys).take(pa.array(row)), "layer": flat // width, "neuron": flat % width, "score": dense[row, flat],
            "rel": rel[row, flat],
        },
    }  # fmt: skip
    if shape.scans:
        tables |= _scans(rng, queries, dense, width, FLAT_DEGENERATE if shape.flat else DEGENERATE)
    return {name: table(name, columns) for name, columns in tables.items()}


def _scans(
    rng: np.random.Generator, queries: list[str], dense: np.ndarray, width: int, degenerate: float
) -> dict[str, dict[str, object]]:
    """The scan of each query's 20 best neurons and of two controls: 20 singles and 190 pairs each."""
    top = np.argsort(-dense, axis=1)[:, :SCANNED]
    count = len(queries) * len(ROLES)
    chosen = np.repeat(top, len(ROLES), axis=0)
    controls = np.arange(count) % len(ROLES) > 0
    chosen[controls] = rng.integers(0, dense.shape[1], (int(controls.sum()), SCANNED))
    keys = pa.array([f"s{role:>16}{query}".replace(" ", "0") for query in queries for role in ROLES])
    pairs = [(a, -1) for a in range(SCANNED)] + list(itertools.combinations(range(SCANNED), 2))
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    p = rng.random(count)
    steep = np.log(0.5) / np.log(1 - degenerate)  # so that half of a pair's largest drop is passed by that share
    after = p[:, None] * np.where(
        second < 0, rng.uniform(0.8, 1, (count, len(pairs))), 1 - 0.5 * rng.random((count, len(pairs))) ** steep
    )
    a, b = chosen[:, first].ravel(), chosen[:, np.maximum(second, 0)].ravel()
    single = np.tile(second < 0, count)
    of_scan = pa.array(np.repeat(np.arange(count), len(pairs)))
    return {
        "scan": {
            "key": keys, "model": [MODEL] * count, "method": [METHOD] * count, "query": [q for q in queries for _ in ROLES],
            "role": list(ROLES) * len(queries), "operation": ["zero"] * count, "n": [SCANNED] * count, "p": p, "p_root": p,
        },
        "scan_neuron": {
            "key": keys.take(pa.array(np.repeat(np.arange(count), SCANNED))), "position": np.tile(np.arange(SCANNED), count),
            "layer": chosen.ravel() // width, "neuron": chosen.ravel() % width,
        },
        "ablation": {
            "key": keys.take(of_scan), "layer_a": a // width, "neuron_a": a % width,
            "layer_b": pa.array(b // width, mask=single), "neuron_b": pa.array(b % width, mask=single), "p": after.ravel(),
            "p_root": after.ravel(), "rank": np.ones(len(a), np.int32), "argmax_kept": rng.random(len(a)) < 0.9,
        },
    }  # fmt: skip


def table(name: str, columns: dict[str, object]) -> pa.Table:
    """Columns of a stored table, those not given null."""
    wanted = schema.tables()[name].schema
    rows = len(next(iter(columns.values())))  # type: ignore[arg-type]
    made = {f.name: pa.array(columns[f.name]) if f.name in columns else pa.nulls(rows) for f in wanted}
    return pa.table({f.name: made[f.name].cast(f.type) for f in wanted}, schema=wanted)
