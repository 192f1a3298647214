"""From what the numeric core returns to rows of the store's tables. Knows no torch: it reads attributes and numpy
arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from knscope.analysis.attribution.method import NUMERICS_VERSION, parse_method
from knscope.analysis.edits.sets import set_id
from knscope.analysis.prompts.encode import Query
from knscope.store.address import Addresses
from knscope.store.view import FLOOR

Row = Mapping[str, Any]


class Batch:
    """Rows by table, and dense score rows, until they are written as one shard.

    :param dense: False keeps no dense score rows
    """

    def __init__(self, dense: bool = True) -> None:
        self._keeps_dense = dense
        self._rows: dict[str, list[Row]] = {}
        self._frames: dict[str, list[pl.DataFrame]] = {}
        self._dense: list[NDArray[np.float32]] = []

    def __bool__(self) -> bool:
        return bool(self._rows or self._frames)

    def add(self, table: str, *rows: Row) -> None:
        self._rows.setdefault(table, []).extend(rows)

    def add_frame(self, table: str, frame: pl.DataFrame) -> None:
        if frame.height:
            self._frames.setdefault(table, []).append(frame)

    def add_dense(self, scores: NDArray[np.float32]) -> int | None:
        """Keep a dense row; returns its place among the shard's dense rows."""
        if not self._keeps_dense:
            return None
        self._dense.append(scores)
        return len(self._dense) - 1

    def tables(self) -> dict[str, pl.DataFrame]:
        made = {name: [pl.DataFrame(rows, infer_schema_length=None)] for name, rows in self._rows.items()}
        for name, frames in self._frames.items():
            made.setdefault(name, []).extend(frames)
        return {name: pl.concat(frames, how="diagonal_relaxed") for name, frames in made.items()}

    def dense(self) -> NDArray[np.float32] | None:
        return np.stack(self._dense) if self._dense else None


def query_row(query: Query) -> Row:
    row = asdict(query)
    others = list(row.pop("alternatives"))
    return {"query": query.id, "prompt_note": row.pop("prefix") or None, "alternatives": others, **row}


def method_row(label: str) -> Row:
    import json

    options = json.dumps(parse_method(label).to_json(), sort_keys=True)
    return {"method": label, "options": options, "numerics_version": NUMERICS_VERSION}


def prediction_row(
    key: str, model: str, encoded: Any, prediction: Any, argmax_tokens: Sequence[str], says: Sequence[Any] = ()
) -> Row:
    return {
        "key": key,
        "model": model,
        "query": encoded.query.id,
        "p": float(prediction.p),
        "p_root": float(prediction.p_root),
        "rank": int(prediction.rank),
        "known": bool(prediction.known),
        "p_steps": [float(p) for p in prediction.p_steps],
        "ranks": [int(rank) for rank in prediction.ranks],
        "answer_tokens": list(encoded.answer_tokens),
        "argmax_tokens": list(argmax_tokens),
        "n_words": encoded.n_words,
        "words_without_path": encoded.words_without_path,
        "prompt": encoded.prompt,
        "says": [word.text for word in says],
        "says_p": [float(word.p) for word in says],
    }


def add_attribution(batch: Batch, key: str, model: str, method: str, attribution: Any, addresses: Addresses) -> None:
    """Table `attribution` (one row), `score` (rel >= FLOOR, sorted by rel descending), `path`, and the dense row."""
    scores = np.asarray(attribution.scores, dtype=np.float32)
    best = float(scores.max(initial=0.0))
    rel = scores.astype(np.float64) / best if best > 0 else np.zeros(scores.shape)
    kept = np.flatnonzero(rel >= FLOOR)
    kept = kept[np.argsort(-rel[kept], kind="stable")]
    layers, neurons = addresses.split(kept)
    paths = attribution.paths
    residual = np.abs(paths.residual)
    highest = np.maximum(np.abs(paths.f_end), np.abs(paths.f_start))
    scale = np.abs(paths.f_end - paths.f_start) + 0.01 * highest  # at most 1e-3 of it where a path converged
    relative = residual / np.where(scale > 0, scale, 1.0)
    batch.add(
        "attribution",
        {
            "key": key,
            "model": model,
            "method": method,
            "query": attribution.query.query.id,
            "max_score": best,
            "n_positive": int((scores > 0).sum()),
            "kept": len(kept),
            "floor": FLOOR,
            "paths": len(residual),
            "converged": int(np.asarray(paths.converged, dtype=bool).sum()),
            "max_nodes": int(np.max(paths.nodes, initial=0)),
            "max_residual": float(relative.max(initial=0.0)),
            "flagged_layers": [int(layer) for layer in attribution.flagged_layers],
            "dense_row": batch.add_dense(scores),
        },
    )
    columns = {"layer": layers, "neuron": neurons, "score": scores[kept], "rel": rel[kept]}
    batch.add_frame("score", _keyed(key, columns))
    names = ("step", "path", "word", "layer", "f_start", "f_end", "total", "nodes", "converged")
    batch.add_frame("path", _keyed(key, {name: getattr(paths, name) for name in names} | {"residual": residual}))


def add_scan(batch: Batch, key: str, row: Row, scan: Any, addresses: Addresses) -> None:
    """Tables `scan`, `scan_neuron` and `ablation`: singles (layer_b null), then pairs."""
    layers, places = addresses.split(scan.neurons)
    before = {"p": float(scan.p_before), "p_root": float(scan.p_root_before)}
    batch.add("scan", {"key": key, "operation": "zero", "n": len(scan.neurons), **row, **before})
    order = np.arange(len(scan.neurons), dtype=np.int16)
    batch.add_frame("scan_neuron", _keyed(key, {"position": order, "layer": layers, "neuron": places}))
    paired = scan.second >= 0
    columns = {
        "layer_a": layers[scan.first],
        "neuron_a": places[scan.first],
        "layer_b": _where(paired, layers[scan.second]),
        "neuron_b": _where(paired, places[scan.second]),
        **{name: getattr(scan, name) for name in ("p", "p_root", "rank", "argmax_kept")},
    }
    batch.add_frame("ablation", _keyed(key, columns))


def add_edits(
    batch: Batch,
    model: str,
    query: str,
    edits: Sequence[tuple[str, Sequence[int]]],
    wrong: str | None,
    found: Any,
    kl: Mapping[int, float],
    addresses: Addresses,
) -> list[Row]:
    """Table `edited_set`, and the rows of table `edit` without their keys, in the order of `edits`; `kl` by place in it."""
    made: list[Row] = []
    for i, (operation, neurons) in enumerate(edits):
        name = add_set(batch, model, sorted(neurons), addresses)
        made.append(
            {
                "model": model,
                "set": name,
                "query": query,
                "operation": operation,
                "p_before": found.p_before,
                "p_after": float(found.p_after[i]),
                "p_root_before": found.p_root_before,
                "p_root_after": float(found.p_root_after[i]),
                "rank_before": found.rank_before,
                "rank_after": int(found.rank_after[i]),
                "wrong_object": wrong,
                "p_wrong_before": found.p_wrong_before,
                "p_wrong_after": None if found.p_wrong_after is None else float(found.p_wrong_after[i]),
                "kl": kl.get(i),
                "rerouted": None if found.rerouted is None else bool(found.rerouted[i]),
            }
        )
    return made


def claim_row(query: Query, claim: Row) -> Row:
    """What table `claim` says of a claim before any model has read it; `query` is the fact's own main query."""
    return {
        "fact": query.fact,
        "relation": query.relation,
        "lang": query.lang,
        "query": claim["main"],
        "object": query.object,
        "correct": claim["correct"],
        "part": claim["part"],
    }


def add_claim(batch: Batch, key: str, row: Row, neurons: NDArray[np.int64], reading: Any, addresses: Addresses) -> None:
    """Tables `claim` and `claim_neuron`."""
    found = {name: getattr(reading, name) for name in ("p", "p_root", "rank", "is_argmax")}
    batch.add("claim", {"key": key, **row, **found})
    layers, places = addresses.split(neurons)
    values = {"activation": reading.activation, "attribution": reading.attribution}
    batch.add_frame("claim_neuron", _keyed(key, {"layer": layers, "neuron": places, **values}))


def add_promoted(
    batch: Batch,
    key: str,
    model: str,
    layer: int,
    parts: Sequence[Any],
    texts: Callable[[NDArray[np.int64]], list[str]],
) -> None:
    """Tables `vocabulary` and `promoted`, from the `Promoted` of a layer's neurons; `texts` reads token ids (n,)."""
    batch.add("vocabulary", {"key": key, "model": model, "layer": layer})
    for part in parts:
        columns: dict[str, Any] = {"neuron": part.neurons}
        for name in ("promotes", "suppresses"):
            ids = getattr(part, name)  # (n, tokens)
            columns[name] = _lists(texts(ids.ravel()), ids.shape)
            columns[f"{name}_by"] = _lists(getattr(part, f"{name}_by").astype(np.float32).ravel(), ids.shape)
        columns |= {"length": part.length.astype(np.float32), "seen": part.seen.astype(np.float32)}
        batch.add_frame("promoted", _keyed(key, columns))


def add_wiring(
    batch: Batch,
    model: str,
    found: Any,
    addresses: Addresses,
    texts: Callable[[NDArray[np.int64]], list[str]],
    keys: Sequence[str],
) -> None:
    """Table `wiring`, from the `Wired` of a layer's neurons, whose keys these are."""
    layers, places = addresses.split(found.neurons)
    near_layers, near_places = addresses.split(found.near)
    columns: dict[str, Any] = {"key": keys, "model": [model] * len(keys), "layer": layers, "neuron": places}
    for name in ("reads", "up"):
        read = getattr(found, name)
        columns[name] = _lists(texts(read.ids.ravel()), read.ids.shape) if read else [None] * len(keys)
        columns[f"{name}_by"] = (
            _lists(read.by.ravel().astype(np.float32), read.by.shape) if read else [None] * len(keys)
        )
    columns |= {"near_layers": near_layers.tolist(), "near_neurons": near_places.tolist()}
    columns["near_by"] = _lists(found.near_by.ravel().astype(np.float32), found.near_by.shape)
    batch.add_frame("wiring", pl.DataFrame(columns))


def add_set(batch: Batch, model: str, neurons: Sequence[int], addresses: Addresses) -> str:
    """Table `edited_set`: a set of flat neurons, ascending; returns its name."""
    layers, places = addresses.split(np.asarray(neurons, dtype=np.int64))
    name = set_id(layers, places)
    batch.add(
        "edited_set",
        {"set": name, "model": model, "n": len(neurons), "layers": layers.tolist(), "neurons": places.tolist()},
    )
    return name


def _lists(values: Any, shape: tuple[int, ...]) -> pl.Series:
    """Flat values as one list a row."""
    return pl.Series(values).reshape(shape).arr.to_list()


def _where(present: NDArray[np.bool_], values: NDArray[Any]) -> pl.Series:
    """The values, null where not present."""
    return pl.Series(values).zip_with(
        pl.Series(present), pl.Series([None] * len(values), dtype=pl.Series(values).dtype)
    )


def _keyed(key: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    frame = pl.DataFrame(dict(columns))
    return frame.select(pl.lit(key).alias("key"), *frame.columns)
