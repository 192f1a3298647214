"""A small store of invented numbers with everything a reader can meet: two models of uneven layers, two methods, three languages, two
templates, scans of three roles, a finished and a running run, a query without a positive score, answers of p 0 and 1, a fact missing
in a language.

`build(path)` takes about a second. The same seed gives the same store.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from knscope import store
from knscope.store import runs, schema
from knscope.store.shards import write_shard

WIDTHS = (40, 24, 40, 32)
OFFSETS = tuple(np.cumsum((0, *WIDTHS[:-1])).tolist())
N_NEURONS = sum(WIDTHS)
MODELS = ("bert-small@0000aaaa", "gpt-small@0000bbbb")
METHODS = ("amig", "bkn")
LANGS = ("en", "zh", "fr")
TEMPLATES = ("The capital of [X] is [Y]", "[X] is governed from [Y]")
RELATIONS = ("P36", "P30", "P1376")
ROLES = ("kn", "layer_control", "drop_control")
FLOOR = 0.05
SCANNED = 8
CERTAIN = {(3, "en"): 0.0, (6, "zh"): 1.0}
"""p of the answer where it is not drawn."""


@dataclass(frozen=True)
class Size:
    """How much to make up."""

    facts: int = 30
    models: tuple[str, ...] = MODELS
    methods: tuple[str, ...] = METHODS
    langs: tuple[str, ...] = LANGS
    templates: tuple[str, ...] = TEMPLATES
    scanned: int = SCANNED
    shard_facts: int = 10
    seed: int = 0


@dataclass
class _Rows:
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dense: list[np.ndarray] = field(default_factory=list)

    def add(self, table: str, **row: Any) -> None:
        self.tables.setdefault(table, []).append(row)


def address(flat: int) -> tuple[int, int]:
    """(layer, neuron) of a flat neuron."""
    layer = int(np.searchsorted(OFFSETS, flat, side="right")) - 1
    return layer, int(flat) - OFFSETS[layer]


def named(*parts: object, length: int = 32) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:length]


def made_frames(size: Size, facts: range) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    """Tables and dense scores of these facts: what one shard holds."""
    rows = _Rows()
    for model in size.models:
        _model_rows(rows, model)
        for fact in facts:
            for lang in size.langs:
                if not (fact % 7 == 5 and lang == size.langs[-1]):
                    _fact_rows(rows, size, model, fact, lang)
    for method in size.methods:
        rows.add("method", method=method, options="{}", numerics_version=1)
    return {name: frame(name, columns) for name, columns in rows.tables.items()}, np.stack(rows.dense)


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with all columns of a stored table; those not given are null."""
    names = schema.tables()[table].schema.names
    return pl.DataFrame(rows, infer_schema_length=None).select(
        pl.col(name) if name in rows[0] else pl.lit(None).alias(name) for name in names
    )


def build(path: Path, size: Size | None = None) -> Path:
    """A finished run holding all but the last shard, and a running one holding that."""
    size = size or Size()
    store.create(path)
    parts = [range(at, min(at + size.shard_facts, size.facts)) for at in range(0, size.facts, size.shard_facts)]
    done, running = sorted(runs.new_name() for _ in range(2))  # the finished one comes first
    runs.new_run(path, {"methods": list(size.methods)}, done)
    runs.new_run(path, {"facts": size.facts}, running)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        write_shard(path, running if last and len(parts) > 1 else done, *made_frames(size, part))
    total = size.facts * len(size.langs)
    finished = replace(runs.read_run(path, done), status="done", total=total, done=total, computed=total, started=1.0)
    runs.write_run(path, finished)
    runs.write_run(path, runs.beating(replace(runs.read_run(path, running), status="running", total=total, done=3)))
    return path


def _model_rows(rows: _Rows, model: str) -> None:
    rows.add(
        "model",
        model=model,
        name=model.partition("@")[0],
        kind="encoder",
        n_layers=len(WIDTHS),
        n_neurons=N_NEURONS,
        replay=True,
    )
    for layer, width in enumerate(WIDTHS):
        rows.add(
            "site",
            model=model,
            stack="",
            layer=layer,
            width=width,
            offset=OFFSETS[layer],
            module=f"h.{layer}",
            call=0,
            gated=False,
        )


def _fact_rows(rows: _Rows, size: Size, model: str, fact: int, lang: str) -> None:
    rng = np.random.default_rng(int(named(size.seed, model, fact, lang, length=12), 16))
    name, relation = f"fact-{fact:05}", RELATIONS[fact % len(RELATIONS)]
    for number, template in enumerate(size.templates):
        query = named(name, relation, lang, template, length=16)
        known = bool(rng.random() < 0.7)
        p = CERTAIN[fact, lang] if (fact, lang) in CERTAIN else float(rng.beta(4, 2))
        rows.add(
            "query",
            query=query,
            fact=name,
            relation=relation,
            lang=lang,
            template=template,
            subject=f"Land {fact}",
            object=f"Town {fact}",
        )
        rows.add(
            "prediction", key=named("p", model, query), model=model, query=query, p=p, p_root=p, rank=1 if known else 7,
            known=known, p_steps=[p], ranks=[1], answer_tokens=["Town"], argmax_tokens=["Town"],
                    n_words=5, words_without_path=0, prompt=template,
        )  # fmt: skip
        for method in size.methods:
            scores = _scores(rng, size, model, fact, number)
            _attribution_rows(rows, model, method, query, scores)
            if number == 0 and method == size.methods[0]:
                _scan_rows(rows, rng, size, model, method, query, scores, p)


def _scores(rng: np.random.Generator, size: Size, model: str, fact: int, template: int) -> np.ndarray:
    """(N_NEURONS,) float32: the fact's own neurons in every language, some of this query alone, noise on both sides of the floor."""
    if fact == 4 and template == 1:
        return -rng.random(N_NEURONS).astype(np.float32)
    own = np.random.default_rng(int(named(size.seed, model, fact, length=12), 16))
    found = rng.normal(0, 0.05, N_NEURONS)
    found[own.choice(N_NEURONS, 6, replace=False)] = own.uniform(0.3, 1.0, 6)
    found[rng.choice(N_NEURONS, 8, replace=False)] = np.round(rng.uniform(0.1, 0.9, 8), 1)
    return found.astype(np.float32)


def _attribution_rows(rows: _Rows, model: str, method: str, query: str, scores: np.ndarray) -> None:
    key, best = named("a", model, method, query), float(scores.max())
    rel = scores.astype(np.float64) / best if best > 0 else np.zeros(len(scores))
    kept = [int(flat) for flat in np.argsort(-rel, kind="stable") if rel[flat] >= FLOOR]
    rows.add(
        "attribution", key=key, model=model, method=method, query=query, max_score=best, n_positive=int((scores > 0).sum()),
        kept=len(kept), floor=FLOOR, paths=4, converged=4, max_nodes=5, max_residual=1e-5, flagged_layers=[], dense_row=len(rows.dense),
    )  # fmt: skip
    rows.dense.append(scores)
    for flat in kept:
        layer, neuron = address(flat)
        rows.add("score", key=key, layer=layer, neuron=neuron, score=float(scores[flat]), rel=float(rel[flat]))


def _scan_rows(
    rows: _Rows, rng: np.random.Generator, size: Size, model: str, method: str, query: str, scores: np.ndarray, p: float
) -> None:
    """Singles that mostly do little, pairs of which some do much; the controls from other neurons."""
    chosen = np.argsort(-scores, kind="stable")[: size.scanned]
    others = np.setdiff1d(np.arange(N_NEURONS), chosen)
    for role in ROLES:
        scanned = chosen if role == "kn" else rng.choice(others, len(chosen), replace=False)
        key = named("s", model, method, query, role)
        rows.add(
            "scan",
            key=key,
            model=model,
            method=method,
            query=query,
            role=role,
            operation="zero",
            n=len(scanned),
            p=p,
            p_root=p,
        )
        places = [address(flat) for flat in scanned]
        for position, (layer, neuron) in enumerate(places):
            rows.add("scan_neuron", key=key, position=position, layer=layer, neuron=neuron)
        for a, (layer, neuron) in enumerate(places):
            pairs: list[tuple[int | None, int | None]] = [(None, None), *places[a + 1 :]]
            for layer_b, neuron_b in pairs:
                after = p * float(rng.uniform(0.7, 1.05) if layer_b is None else rng.uniform(0.4, 1.0))
                rows.add(
                    "ablation", key=key, layer_a=layer, neuron_a=neuron, layer_b=layer_b, neuron_b=neuron_b, p=after, p_root=after,
                    rank=1, argmax_kept=bool(rng.random() < (0.9 if layer_b is None else 0.5)),
                )  # fmt: skip
