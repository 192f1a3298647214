"""A small made-up store for the workbench's tests: real shards, invented numbers. Not a result of anything.

`python -m tests.tui.made_store FOLDER [facts] [width]` writes one to look at.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from knscope import store
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.keys import attribution_key, model_hash
from knscope.store import runs
from knscope.store.shards import write_shard

LANGS = {"en": "The capital of [X] is [Y]", "zh": "[X]的首都是[Y]", "fr": "La capitale de [X] est [Y]"}
PLACES = (
    ("Tanzania", "Dodoma", "坦桑尼亚", "多多马"),
    ("France", "Paris", "法国", "巴黎"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
)
RELATIONS = ("P36", "P30")
LAYERS, SCANNED = 4, 6
CONFIG = {
    "models": [{"source": "/models/bert-made", "langs": []}],
    "data": "demo",
    "methods": ["amig"],
    "what": ["attribution", "dkn"],
    "facts": 12,
}


def facts(count: int) -> list[tuple[str, str, str, str, str]]:
    """fact, relation, lang, subject, object: `count` facts in three languages."""
    rows = []
    for number in range(count):
        relation = RELATIONS[number % len(RELATIONS)]
        subject, answer, subject_zh, answer_zh = PLACES[number // len(RELATIONS) % len(PLACES)]
        ending = "" if number < len(PLACES) * len(RELATIONS) else f" {number}"
        for lang in LANGS:
            texts = (subject_zh, answer_zh) if lang == "zh" else (subject, answer)
            rows.append((f"{relation}-{number:02}", relation, lang, texts[0] + ending, texts[1]))
    return rows


def scores(rng: np.random.Generator, fact: str, lang: str, neurons: int) -> np.ndarray:
    """(neurons,) float32: some neurons of the fact in all languages, some of the language, the rest noise."""
    found = rng.normal(0, 0.02, neurons)
    own = np.random.default_rng(int(hashlib.md5(fact.encode()).hexdigest()[:8], 16))
    found[own.choice(neurons, 5, replace=False)] = own.uniform(0.4, 1.0, 5)
    found[rng.choice(neurons, 8, replace=False)] = rng.uniform(0.15, 0.9, 8)
    found[[3, neurons - 5]] = rng.uniform(0.5, 0.9, 2)  # two hubs
    return found.astype(np.float32)


def write_shards(
    path: Path, run: str, count: int = 12, width: int = 64, models: tuple[str, ...] = ("bert-made",), first: int = 0
) -> None:
    """Everything of `count` facts but the `first` ones, one shard a model."""
    for model_number, name in enumerate(models):
        write_shard(path, run, *_frames(f"{name}@{model_number:08x}", count, width, model_number, first))


def _frames(model: str, count: int, width: int, seed: int, first: int) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    rng = np.random.default_rng(seed)
    neurons = LAYERS * width
    tables: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("query", "prediction", "attribution", "score", "scan", "scan_neuron", "ablation")
    }
    identity = {"dtype": "float32", "attention": "eager", "weights_hash": model, "tokenizer_hash": "t"}
    dense = []
    for fact, relation, lang, subject, answer in facts(count)[first * len(LANGS) :]:
        query = Query(fact, relation, lang, LANGS[lang], subject, answer)
        found = scores(rng, fact, lang, neurons)
        dense.append(found)
        key = attribution_key(model_hash(identity), query.id, "amig")
        p = float(rng.beta(4, 2))
        known = p > 0.4
        best = found.max()
        kept = np.flatnonzero(found >= 0.05 * best)
        tables["query"].append({
            "query": query.id, "fact": fact, "relation": relation, "lang": lang, "template": LANGS[lang], "subject": subject,
            "object": answer, "alternatives": [], "prompt_note": "",
        })  # fmt: skip
        tables["prediction"].append({
            "key": f"p{key[1:]}", "model": model, "query": query.id, "p": p, "p_root": p, "rank": 1 if known else int(rng.integers(2, 400)),
            "known": known, "p_steps": [p], "ranks": [1], "answer_tokens": [answer], "argmax_tokens": [answer if known else "?"],
            "n_words": 5, "words_without_path": 0, "prompt": LANGS[lang].replace("[X]", subject).replace("[Y]", ""),
            "says": [answer, "Rome"], "says_p": [p, (1 - p) / 2],
        })  # fmt: skip
        tables["attribution"].append({
            "key": key, "model": model, "method": "amig", "query": query.id, "max_score": float(best), "n_positive": int((found > 0).sum()),
            "kept": len(kept), "floor": 0.05, "paths": 20, "converged": 20, "max_nodes": 10,
            "max_residual": float(10 ** rng.uniform(-7, -4)),
            "flagged_layers": [], "dense_row": len(dense) - 1,
        })  # fmt: skip
        for neuron in kept[np.argsort(-found[kept], kind="stable")]:
            tables["score"].append({
                "key": key, "layer": int(neuron // width), "neuron": int(neuron % width), "score": float(found[neuron]),
                "rel": float(found[neuron]) / float(best),
            })  # fmt: skip
        _scan(tables, rng, model, query.id, key, p, np.argsort(-found)[:SCANNED], width, "kn")
        _scan(tables, rng, model, query.id, key, p, rng.choice(neurons, SCANNED, replace=False), width, "layer_control")
    name = model.partition("@")[0]
    frames = {name_: pl.DataFrame(rows, infer_schema_length=None) for name_, rows in tables.items()}
    frames["model"] = pl.DataFrame({
        "model": [model], "name": [name], "source": [f"/models/{name}"], "revision": [""], "architecture": ["BertForMaskedLM"],
        "kind": ["encoder"], **{column: [value] for column, value in identity.items()},
        "n_layers": [LAYERS], "n_neurons": [neurons], "replay": [True],
    })  # fmt: skip
    frames["site"] = pl.DataFrame({
        "model": [model] * LAYERS, "stack": [""] * LAYERS, "layer": list(range(LAYERS)), "width": [width] * LAYERS,
        "offset": [layer * width for layer in range(LAYERS)], "module": [f"layer.{layer}" for layer in range(LAYERS)],
        "call": [0] * LAYERS, "gated": [False] * LAYERS,
    })  # fmt: skip
    frames["method"] = pl.DataFrame({"method": ["amig"], "options": ["{}"], "numerics_version": [1]})
    return frames, np.stack(dense)


def _scan(
    tables: dict[str, list[dict[str, object]]], rng: np.random.Generator, model: str, query: str, attribution: str, p: float,
    chosen: np.ndarray, width: int, role: str,
) -> None:  # fmt: skip
    """Singles that do little, pairs of which some do much."""
    key = hashlib.md5(f"{attribution}{role}".encode()).hexdigest()
    tables["scan"].append({
        "key": key, "model": model, "method": "amig", "query": query, "role": role, "operation": "zero", "n": len(chosen),
        "p": p, "p_root": p,
    })  # fmt: skip
    places = [(int(neuron // width), int(neuron % width)) for neuron in chosen]
    for position, (layer, neuron) in enumerate(places):
        tables["scan_neuron"].append({"key": key, "position": position, "layer": layer, "neuron": neuron})
    pairs = [(a, None) for a in range(len(places))] + [(a, b) for a in range(len(places)) for b in range(a)]
    for a, b in pairs:
        strong = b is not None and rng.random() < (0.25 if role == "kn" else 0.03)
        after = p * (rng.uniform(0.4, 0.7) if strong else rng.uniform(0.85, 1.02))
        other = places[b] if b is not None else (None, None)
        tables["ablation"].append({
            "key": key, "layer_a": places[a][0], "neuron_a": places[a][1], "layer_b": other[0], "neuron_b": other[1], "p": float(after),
            "p_root": float(after), "rank": 1, "argmax_kept": not strong,
        })  # fmt: skip


def make(path: Path, count: int = 12, width: int = 64, models: tuple[str, ...] = ("bert-made", "gpt-made")) -> Path:
    """A finished store."""
    store.create(path)
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, count, width, models)
    total = count * len(LANGS) * 3
    record = replace(
        runs.read_run(path, run),
        status="done",
        total=total,
        done=total,
        computed=total,
        started=1000.0,
        heartbeat=1040.0,
    )
    runs.write_run(path, record)
    return path


if __name__ == "__main__":
    sizes = [int(text) for text in sys.argv[2:4]]
    make(Path(sys.argv[1]), *sizes)
