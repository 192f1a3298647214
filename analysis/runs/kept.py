"""What `faithfulness` takes from a store and leaves in it: attributions of runs, and what it measured of each fact."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knscope.analysis.attribution.integrate import attribute, shuffle
from knscope.analysis.attribution.method import NUMERICS_VERSION, MethodConfig, parse_method
from knscope.analysis.engine.replay import Engine
from knscope.analysis.faithfulness.compare import Comparison, GroupRow, Item, Row
from knscope.analysis.faithfulness.stored import FOLDER
from knscope.analysis.prompts.encode import EncodedQuery
from knscope.analysis.runs.keys import attribution_key, model_hash
from knscope.analysis.runs.measuring import Task
from knscope.store import files
from knscope.store.errors import UserError
from knscope.store.reader import Reader


class KeptItems:
    """Results by item, in a folder of the store. What cannot be read is measured again."""

    def __init__(self, task: Task, hash_of_model: str, model: str) -> None:
        self._folder = Path(task.store, FOLDER)
        self._told = {"model": model, "methods": list(task.methods), "seed": task.config.seed}
        asked = {"singles": task.singles, "permutations": task.permutations, "seed": task.config.seed}
        self._about = [hash_of_model, NUMERICS_VERSION, list(task.methods), asked]

    def _file(self, item: Item) -> Path:
        spared = [one.query.id for one in item.irrelevant]
        alike = {kind: [one.query.id for one in some] for kind, some in item.alike.items()}
        source = item.source.query.id if item.source else None
        text = json.dumps([*self._about, item.query.query.id, spared, source, alike, item.grouped], sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def find(self, item: Item) -> Comparison | None:
        with suppress(OSError, ValueError, TypeError, LookupError, RecursionError):
            stored = json.loads(files.read(self._folder, self._file(item).name))
            rows, groups = stored["rows"], stored["groups"]
            return Comparison(tuple(Row(**row) for row in rows), tuple(GroupRow(**row) for row in groups))
        return None

    def keep(self, item: Item, found: Comparison) -> None:
        file = self._file(item)
        self._folder.mkdir(exist_ok=True)
        rows, groups = ([asdict(row) for row in some] for some in (found.rows, found.groups))
        document = {**self._told, "rows": rows, "groups": groups}
        part = file.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(file)  # whole or not at all


class StoredScores:
    """Scores of queries by a method: those that the store holds are read, the others computed. `random` shuffles those of the
    method that it is the control of, which are there already where that one was asked for just before."""

    def __init__(self, engine: Engine, others: Any, store: str) -> None:
        self._engine, self._others = engine, others
        self._reader = Reader(Path(store)) if store else None
        if self._reader:
            self._reader.poll()
        self._hash = model_hash(asdict(engine.loaded.identity))
        self._last: dict[str, dict[str, npt.NDArray[np.floating]]] = {}
        """By method and query: what was given last, for `random`."""

    def __call__(self, method: str, queries: Sequence[EncodedQuery]) -> Iterator[npt.NDArray[np.floating]]:
        config = parse_method(method)
        given = self._last[method] = {}
        shuffled = config.kind == "random" and config.normalise == "none"
        if shuffled and not all(self._key(method, query) for query in queries):
            found = self._shuffled(config, queries)
        else:
            found = self._read_or_computed(method, queries)
        for query, scores in zip(queries, found, strict=True):
            given[query.query.id] = scores
            yield scores

    def _shuffled(self, config: MethodConfig, queries: Sequence[EncodedQuery]) -> Iterator[npt.NDArray[np.floating]]:
        seed = config.seed if config.baseline in ("mean", "resample") else 0
        method = replace(config, kind="integrated_gradients", seed=seed).label
        last = self._last.get(method, {})
        there = bool(queries) and queries[0].query.id in last
        plain = (last[query.query.id] for query in queries) if there else self._read_or_computed(method, queries)
        for query, scores in zip(queries, plain, strict=True):
            mixed = scores.copy()
            shuffle(mixed, self._engine.offsets, config.seed, query)
            yield mixed

    def _read_or_computed(self, method: str, queries: Sequence[EncodedQuery]) -> Iterator[npt.NDArray[np.floating]]:
        stored = [self._stored(method, query) for query in queries]
        lacking = [query for query, scores in zip(queries, stored, strict=True) if scores is None]
        others = self._others(method, lacking)
        computed = attribute(self._engine, lacking, parse_method(method), others)
        for scores in stored:
            yield next(computed).scores if scores is None else scores

    def _key(self, method: str, query: EncodedQuery) -> str:
        """Of a stored attribution; empty where there is none."""
        key = attribution_key(self._hash, query.query.id, method)
        return key if self._reader is not None and key in self._reader.keys("attribution") else ""

    def _stored(self, method: str, query: EncodedQuery) -> npt.NDArray[np.float32] | None:
        key = self._key(method, query)
        if self._reader is None or not key:
            return None
        try:
            return self._reader.dense(key)
        except UserError:  # damaged: it is computed again
            return None
