"""Computes units: keys, core, rows, shards. Holds the models. Imports torch, so it lives in a process of its own."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import used
from knscope.analysis.dkn import measure as dkn_measure
from knscope.analysis.edits import measure as edits_measure
from knscope.analysis.engine import likeliest, models, replay
from knscope.analysis.errors import ModelError, UnusableQuery
from knscope.analysis.factcheck import measure as factcheck_measure
from knscope.analysis.neurons import measure as neurons_measure
from knscope.analysis.neurons import wiring as neurons_wiring
from knscope.analysis.prompts import encode
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs import rows
from knscope.analysis.runs.config import KEEP_BYTES
from knscope.analysis.runs.keys import (
    activation_key,
    attribution_key,
    claim_key,
    edit_key,
    model_hash,
    prediction_key,
    scan_key,
    vocabulary_key,
    wiring_key,
)
from knscope.analysis.runs.portions import StopUnitError, portions, watch
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.trying import Tries, texts
from knscope.analysis.runs.units import ScanItem, Unit
from knscope.store import shards
from knscope.store.address import Addresses
from knscope.store.errors import UserError

USER_ERRORS = (ModelError, UserError)  # what a person can put right; told without a traceback
SHARD_SECONDS = 15.0  # a slow unit commits what it has this often
PREDICTED_CPU, PREDICTED_GPU = 32, 512  # together: a large model reports and can be stopped between them


@dataclass(frozen=True)
class Held:
    """A loaded model, proven, with what its rows need."""

    loaded: models.LoadedModel
    engine: replay.Engine
    row: Mapping[str, Any]
    sites: Addresses

    @property
    def hash(self) -> str:
        return model_hash(self.row)

    @property
    def label(self) -> str:
        return str(self.row["model"])


class Worker:
    """Loads models on demand and commits what units ask for into one run of one store."""

    def __init__(self, store_path: Path, run: str, settings: WorkerSettings) -> None:
        self._store_path = store_path
        self._run = run
        self._settings = settings
        self._held: dict[str, Held] = {}
        self._batch = self._new_batch()
        self._unsaid: list[tuple[str, tuple[rows.Row, ...]]] = []
        """Rows of `model` and `site` of models without a result yet: the first shard of results takes them along."""
        self._written = time.monotonic()
        self.keys: list[str] = []
        self._tries: dict[str, Tries] = {}
        self._means: dict[tuple[str, tuple[str, ...]], NDArray[np.float32]] = {}
        torch.set_num_threads(settings.threads)

    @property
    def loaded(self) -> list[str]:
        return list(self._held)

    def compute(
        self, unit: Unit, cancelled: Callable[[], bool], progress: Callable[[int], None] = lambda done: None
    ) -> tuple[int, Mapping[str, Any] | None]:
        """Do a unit and commit it: how many of its results are stored (fewer when cancelled), and what a load (the model's row) or a
        try answers."""
        self.keys = []
        held = self.load(unit.source)
        if unit.model not in ("", held.hash):
            raise ModelError(
                f"{unit.source} holds another model now ({held.label}, other weights, tokenizer or precision) than the one "
                "whose results these belong to; bring that one back there, or start a run on what is there now"
            )
        if unit.phase == "load":
            return 1, held.row
        if unit.phase == "try":
            return unit.size if (found := self._tries_of(held).tried(unit, cancelled)) else 0, found
        steps: Mapping[str, Callable[[Held, Unit], Iterable[int]]] = {
            "predict": self._predict,
            "attribute": self._attribute,
            "scan": self._scan,
            "edit": self._edit,
            "claim": self._claim,
            "neurons": self._neurons,
            "wiring": self._wiring,
            "activate": self._activate,
        }
        done = 0
        held.engine.between = watch(cancelled, lambda: progress(done))
        try:
            for finished in steps[unit.phase](held, unit):
                done += finished
                progress(done)
                if time.monotonic() - self._written > SHARD_SECONDS:
                    self._commit()
                if cancelled():
                    break
        except StopUnitError:
            pass  # the row at hand is left; those before it are whole
        except Exception:
            self._batch = self._new_batch()
            raise
        finally:
            held.engine.between = lambda: None
        self._commit()
        return done, None

    def load(self, source: str) -> Held:
        """The model, loaded and proven; its rows of tables `model` and `site` go with its first results."""
        if source in self._held:
            return self._held[source]
        device = resolve_device(self._settings.device)
        if sum(_bytes(held.loaded) for held in self._held.values()) > KEEP_BYTES:
            self.unload()
        settings = self._settings
        loaded = models.load_model(source, dtype=settings.dtype, device=device, threads=settings.threads)
        engine = replay.Engine(loaded, memory_bytes=settings.memory)
        identity = asdict(loaded.identity)
        sites = [asdict(site) for site in loaded.sites]
        row = {
            "model": loaded.label,
            **{name: identity[name] for name in MODEL_COLUMNS},
            "kind": loaded.kind,
            "n_layers": len({site["layer"] for site in sites}),
            "n_neurons": loaded.n_neurons,
            "replay": engine.replay,
        }
        columns = ("stack", "layer", "width", "offset", "module", "call", "gated")
        of_sites = tuple({"model": loaded.label, **{name: site[name] for name in columns}} for site in sites)
        self._unsaid += [("model", (row,)), ("site", of_sites)]
        place = Addresses.of((site.layer, site.offset, site.width) for site in loaded.sites)
        self._held[source] = Held(loaded, engine, row, place)
        return self._held[source]

    def _tries_of(self, held: Held) -> Tries:
        if held.hash not in self._tries:
            self._tries[held.hash] = Tries(held.engine, partial(self._mean, held))
        return self._tries[held.hash]

    def unload(self) -> None:
        self._held.clear()
        self._tries.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _new_batch(self) -> rows.Batch:
        return rows.Batch(dense=self._settings.dense != "none")

    def _commit(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, self._new_batch()
            for table, unsaid in self._unsaid:
                batch.add(table, *unsaid)
            shards.write_shard(self._store_path, self._run, batch.tables(), batch.dense(), form=self._settings.dense)
            self._unsaid = []
        self._written = time.monotonic()

    def _encode(self, held: Held, wanted: Sequence[Query], note: bool = True) -> list[encode.EncodedQuery]:
        """Encode rows; those the model cannot use go to table `unusable` (a wrong object is no fact: `note` False)."""
        usable = []
        for row in wanted:
            try:
                usable.append(encode.encode(held.loaded, row))
            except UnusableQuery as error:
                if not note:
                    continue
                reason = {"model": held.label, "query": row.id, "reason": error.reason, "detail": str(error)}
                self._batch.add("unusable", reason)
        return usable

    def _predict(self, held: Held, unit: Unit) -> Iterable[int]:
        self._batch.add("query", *(rows.query_row(row) for row in unit.queries))
        usable = self._encode(held, unit.queries)
        yield len(unit.queries) - len(usable)
        size = PREDICTED_CPU if held.loaded.device.type == "cpu" else PREDICTED_GPU
        for start in range(0, len(usable), size):
            part = usable[start : start + size]
            found = held.engine.predict(part), likeliest.likeliest(held.engine, part)
            for encoded, prediction, words in zip(part, *found, strict=True):
                key = prediction_key(held.hash, encoded.query.id)
                tokens = held.loaded.tokenizer.convert_ids_to_tokens([int(token) for token in prediction.argmax])
                self._batch.add("prediction", rows.prediction_row(key, held.label, encoded, prediction, tokens, words))
                self.keys.append(key)
                yield 1

    def _attribute(self, held: Held, unit: Unit) -> Iterable[int]:
        method = parse_method(unit.method)
        self._batch.add("method", rows.method_row(unit.method))
        usable = self._encode(held, unit.queries)
        yield len(unit.queries) - len(usable)
        others = {name: used(method, self._encode(held, rows, note=False)) for name, rows in unit.others.items()}
        for part in portions(held.loaded, usable, method):
            for result in integrate.attribute(held.engine, part, method, others):
                key = attribution_key(held.hash, result.query.query.id, unit.method)
                rows.add_attribution(self._batch, key, held.label, unit.method, result, held.sites)
                self.keys.append(key)
                yield 1

    def _scan(self, held: Held, unit: Unit) -> Iterable[int]:
        self._batch.add("method", rows.method_row(unit.method))
        for item in unit.scans:
            encoded = self._encode(held, [item.query])
            if not encoded:
                yield len(item.roles)
                continue
            for role, scan in _roles(held, encoded[0], item, unit.seed):
                key = scan_key(held.hash, item.query.id, unit.method, role, unit.seed, item.chosen)
                row = {"model": held.label, "method": unit.method, "query": item.query.id, "role": role}
                rows.add_scan(self._batch, key, row, scan, held.sites)
                self.keys.append(key)
                yield 1

    def _edit(self, held: Held, unit: Unit) -> Iterable[int]:
        columns = ("fact", "other", "same_relation", "kind")
        for row in unit.payload.get("irrelevant", ()):
            self._batch.add("irrelevant", {"model": held.label, **dict(zip(columns, row, strict=True))})
        put_in = {name: self._mean(held, queries) for name, queries in unit.payload.get("sources", {}).items()}
        for read in unit.payload["reads"]:
            query = Query(**read["query"])
            encoded = self._encode(held, [query])
            if not encoded:
                yield len(read["edits"])
                continue
            wrong = self._wrong(held, query, read["wrong"])
            asked = [(operation, neurons) for operation, neurons, _ in read["edits"]]
            edits = [edits_measure.make_edit(operation, neurons, put_in.get(operation)) for operation, neurons in asked]
            found = edits_measure.read_edits(held.engine, encoded[0], edits, wrong)
            aside = [place for place, (_, _, unrelated) in enumerate(read["edits"]) if unrelated]
            kl = edits_measure.collateral(
                held.engine, encoded if aside else (), [edits[place] for place in aside]
            ).tolist()
            about = read["wrong"] if wrong else None, found, dict(zip(aside, kl, strict=True)), held.sites
            made = rows.add_edits(self._batch, held.label, query.id, asked, *about)
            for row, (operation, neurons) in zip(made, asked, strict=True):
                key = edit_key(held.hash, query.id, neurons, operation)
                self._batch.add("edit", {"key": key, **row})
                self.keys.append(key)
            yield len(edits)

    def _mean(self, held: Held, queries: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Mean activations over queries; means over more than one are kept for the units to come."""
        wanted = [Query(**query) for query in queries]
        name = held.hash, tuple(query.id for query in wanted)
        found = self._means.get(name)
        if found is None:
            found = edits_measure.mean_activations(held.engine, self._encode(held, wanted, note=False))
            if len(wanted) > 1:
                self._means[name] = found
        return found

    def _wrong(self, held: Held, query: Query, wrong: str | None) -> encode.EncodedQuery | None:
        """The query with a wrong object, where there is one that the model can be asked for."""
        if wrong is None:
            return None
        try:
            return encode.encode(held.loaded, replace(query, object=wrong))
        except UnusableQuery:
            return None

    def _claim(self, held: Held, unit: Unit) -> Iterable[int]:
        claims = [(Query(**claim["query"]), claim) for claim in unit.payload["claims"]]
        self._batch.add("query", *(rows.query_row(query) for query, claim in claims if claim["correct"]))
        self._batch.add("method", rows.method_row(unit.method))
        about = {query.id: claim for query, claim in claims}
        neurons = np.asarray(unit.payload["neurons"], dtype=np.int64)
        usable = self._encode(held, [query for query, _ in claims], note=False)
        yield len(claims) - len(usable)
        method = parse_method(unit.method)
        for part in portions(held.loaded, usable, method):
            known = [about[each.query.id].get("attribution") for each in part]
            found = factcheck_measure.read_claims(held.engine, part, [neurons] * len(part), method, known)
            for encoded, reading in zip(part, found, strict=True):
                query = encoded.query
                key = claim_key(held.hash, query.id, unit.method, unit.payload["neurons"])
                row = {"model": held.label, "method": unit.method, **rows.claim_row(query, about[query.id])}
                rows.add_claim(self._batch, key, row, neurons, reading, held.sites)
                self.keys.append(key)
                yield 1

    def _neurons(self, held: Held, unit: Unit) -> Iterable[int]:
        """A layer at a time: its rows share a key, so they are stored together or not at all."""
        for layer in unit.payload["layers"]:
            key = vocabulary_key(held.hash, layer)
            found = list(neurons_measure.promoted(held.engine, layer))
            rows.add_promoted(self._batch, key, held.label, layer, found, lambda ids: texts(held.loaded, ids))
            self.keys.append(key)
            yield 1

    def _wiring(self, held: Held, unit: Unit) -> Iterable[int]:
        for found in neurons_wiring.wired(held.engine, np.asarray(unit.payload["flat"], dtype=np.int64)):
            keys = [wiring_key(held.hash, neuron) for neuron in found.neurons.tolist()]
            rows.add_wiring(self._batch, held.label, found, held.sites, lambda ids: texts(held.loaded, ids), keys)
            self.keys += keys
            yield len(keys)

    def _activate(self, held: Held, unit: Unit) -> Iterable[int]:
        neurons: list[int] = unit.payload["neurons"]
        usable = self._encode(held, unit.queries, note=False)
        yield len(unit.queries) - len(usable)
        name = rows.add_set(self._batch, held.label, neurons, held.sites)
        for encoded in usable:
            query, values = encoded.query.id, held.engine.activations(encoded)[0, neurons].tolist()
            self.keys.append(activation_key(held.hash, query, neurons))
            row = {"key": self.keys[-1], "model": held.label, "query": query, "set": name, "activations": values}
            self._batch.add("activation", row)
            yield 1


def _roles(
    held: Held, encoded: encode.EncodedQuery, item: ScanItem, seed: int
) -> Iterable[tuple[str, dkn_measure.Scan]]:
    """The scan of the fact's own neurons and of its controls (METHOD §5), as far as the item asks for them."""
    chosen = np.asarray(item.chosen, dtype=np.int64)
    rel = np.zeros(held.loaded.n_neurons)
    for neuron, value in item.serving:
        rel[neuron] = value
    return dkn_measure.scan_roles(held.engine, encoded, chosen, rel, item.roles, seed)


MODEL_COLUMNS = ("name", "source", "revision", "architecture", "dtype", "attention", "weights_hash", "tokenizer_hash")


def resolve_device(device: str) -> str:
    """`auto` is a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def lower_priority() -> None:
    """A worker yields the processor to whoever types."""
    os.nice(10)


def _bytes(loaded: models.LoadedModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in loaded.model.parameters())
