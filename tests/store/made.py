"""A small store with random but plausible results, and the very rows it was made from, for literal comparisons."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from knscope import store
from knscope.store import runs, schema, shards
from knscope.store.view import FLOOR

MODEL, METHOD = "made@00000001", "amig"
LANGS = ("en", "fr", "zh")
LAYERS, WIDTH = 3, 40
TEMPLATES = ("t1", "t2")
SCANNED = 6


@dataclass
class Made:
    """A store's folder and its rows by table."""

    path: Path
    run: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dense: dict[str, np.ndarray] = field(default_factory=dict)


def make(path: Path, facts: int = 8, seed: int = 0, per_shard: int = 3, model: str = MODEL) -> Made:
    """Write `facts` facts in three languages and two templates, a few facts a shard."""
    made = Made(store.create(path), "")
    made.run = runs.new_run(made.path, {"made": True})
    generator = np.random.default_rng(seed)
    for start in range(0, facts, per_shard):
        rows, dense = _shard_rows(range(start, min(start + per_shard, facts)), generator, model)
        shards.write_shard(made.path, made.run, frames(rows), np.stack(list(dense.values())))
        made.dense |= dense
        for table, some in rows.items():
            made.rows.setdefault(table, []).extend(some)
    return made


def frames(rows: dict[str, list[dict[str, Any]]]) -> dict[str, pl.DataFrame]:
    """Rows as frames with every column of the schema."""
    wanted = {name: schema.tables()[name].schema.names for name in rows}
    return {
        name: pl.DataFrame(
            [{column: row.get(column) for column in wanted[name]} for row in some], infer_schema_length=None
        )
        for name, some in rows.items()
    }


def _shard_rows(
    facts: range, generator: np.random.Generator, model: str
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, np.ndarray]]:
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("query", "prediction", "attribution", "score", "scan", "scan_neuron", "ablation")
    }
    rows["model"] = [{"model": model, "name": model.split("@")[0], "n_layers": LAYERS, "n_neurons": LAYERS * WIDTH}]
    rows["site"] = [
        {"model": model, "stack": "", "layer": layer, "width": WIDTH, "offset": layer * WIDTH, "module": "m", "call": 0}
        for layer in range(LAYERS)
    ]
    dense: dict[str, np.ndarray] = {}
    for number, lang, template in itertools.product(facts, LANGS, TEMPLATES):
        query, fact = f"q-{number}-{lang}-{template}", f"f{number}"
        rows["query"].append(
            {"query": query, "fact": fact, "relation": f"P{number % 2}", "lang": lang, "template": template,
             "subject": f"s{number}", "object": f"o{number % 3}"}
        )  # fmt: skip
        known, p = bool(generator.random() < 0.8), float(generator.random())
        rows["prediction"].append(
            {
                "key": f"p-{model}-{query}",
                "model": model,
                "query": query,
                "p": p,
                "p_root": p,
                "rank": 1 if known else 2,
                "known": known,
            }
        )
        scores = (generator.standard_normal(LAYERS * WIDTH) * generator.random(LAYERS * WIDTH) ** 2).astype(np.float32)
        key, best = f"a-{model}-{query}", float(scores.max())
        rows["attribution"].append(
            {"key": key, "model": model, "method": METHOD, "query": query, "max_score": best, "floor": FLOOR,
             "max_residual": 1e-6, "dense_row": len(dense)}
        )  # fmt: skip
        dense[key] = scores
        for flat in np.flatnonzero(scores / best >= FLOOR):
            rows["score"].append(
                {"key": key, "layer": int(flat) // WIDTH, "neuron": int(flat) % WIDTH, "score": float(scores[flat]),
                 "rel": float(scores[flat]) / best}
            )  # fmt: skip
        if template == TEMPLATES[0]:
            top = np.argsort(-scores)[:SCANNED]
            others = generator.permutation(np.argsort(scores)[: LAYERS * WIDTH // 2])[:SCANNED]
            for role, chosen in (("kn", top), ("layer_control", others)):
                _scan_rows(rows, model, query, role, chosen, p, generator)
    return rows, dense


def _scan_rows(
    rows: dict[str, list[dict[str, Any]]], model: str, query: str, role: str, chosen: np.ndarray, p: float,
    generator: np.random.Generator,
) -> None:  # fmt: skip
    key = f"s-{model}-{query}-{role}"
    rows["scan"].append(
        {
            "key": key,
            "model": model,
            "method": METHOD,
            "query": query,
            "role": role,
            "operation": "zero",
            "n": len(chosen),
            "p": p,
        }
    )
    places = [(int(flat) // WIDTH, int(flat) % WIDTH) for flat in chosen]
    for position, (layer, neuron) in enumerate(places):
        rows["scan_neuron"].append({"key": key, "position": position, "layer": layer, "neuron": neuron})
    for a, b in [*((place, (None, None)) for place in places), *itertools.combinations(places, 2)]:
        rows["ablation"].append(
            {"key": key, "layer_a": a[0], "neuron_a": a[1], "layer_b": b[0], "neuron_b": b[1],
             "p": p * float(generator.random() ** 0.4), "argmax_kept": bool(generator.random() < 0.7)}
        )  # fmt: skip
