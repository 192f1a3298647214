"""What if, measured: the answers of a loaded model to the queries of a unit, without and with its neurons changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knscope.analysis.edits import attempt
from knscope.analysis.edits.attempt import Begun, Side
from knscope.analysis.engine.edits import Edit
from knscope.analysis.engine.likeliest import continued
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts import encode
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.units import Unit

KEPT = 64
"""Recorded queries that are kept for the next try."""
Mean = Callable[[Sequence[Mapping[str, Any]]], NDArray[np.float32]]


class Tries:
    """One loaded model's queries that were recorded for a person who tries changes. `mean`: activations over queries (n_neurons,)."""

    def __init__(self, engine: Engine, mean: Mean) -> None:
        self._engine, self._mean = engine, mean
        self._begun: dict[str, Begun] = {}
        self._says: dict[str, str] = {}

    def tried(self, unit: Unit, cancelled: Callable[[], bool] = lambda: False) -> Mapping[str, Any] | None:
        """The unit's readings, as `runs.whatif.answers` reads them; or, of a unit that goes on, as `runs.whatif.goes_on` does: None
        where that was `cancelled`, which is asked before each of its tokens."""
        edits = {name: self._edit(unit, queries) for name, queries in unit.payload["put_in"].items()}
        answer = partial(self._goes_on, cancelled) if unit.payload["goes_on"] else self._tried
        rows = [self._row(read, edits, answer) for read in unit.payload["reads"]]
        return None if unit.payload["goes_on"] and cancelled() else {"rows": rows}

    def _edit(self, unit: Unit, queries: Sequence[Mapping[str, Any]]) -> Edit:
        neurons, factor = np.unique(np.asarray(unit.payload["neurons"], np.int64)), unit.payload["factor"]
        return (
            Edit.scaled(neurons, factor) if factor is not None else Edit.replace(neurons, self._mean(queries)[neurons])
        )

    def _row(
        self, read: Mapping[str, Any], edits: Mapping[str, Edit], answer: Callable[[Begun, Edit], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        if read["put_in"] not in edits:
            return {"why": "no fact of another relation to take activations from"}
        query = Query(**read["query"])
        begun = self._begun.get(query.id)
        if begun is None:
            try:
                begun = attempt.begin(self._engine, encode.encode(self._engine.loaded, query))
            except UnusableQuery as error:
                return {"why": str(error)}
            if len(self._begun) >= KEPT:
                self._begun.clear()
            self._begun[query.id] = begun
        return answer(begun, edits[read["put_in"]])

    def _tried(self, begun: Begun, edit: Edit) -> Mapping[str, Any]:
        return {"sides": [self._named(begun.before), self._named(attempt.attempt(self._engine, begun, edit))]}

    def _named(self, side: Side) -> Mapping[str, Any]:
        return {**asdict(side), "tokens": texts(self._engine.loaded, np.array(side.ids))}

    def _goes_on(self, cancelled: Callable[[], bool], begun: Begun, edit: Edit) -> Mapping[str, Any]:
        query = begun.query.query.id
        if query not in self._says:
            before = continued(self._engine, begun.query, cancelled=cancelled)
            if cancelled():
                return {}
            self._says[query] = before
        return {"goes_on": [self._says[query], continued(self._engine, begun.query, edit, cancelled=cancelled)]}


def texts(loaded: LoadedModel, ids: NDArray[np.int64]) -> list[str]:
    """Tokens as a person reads them, with the space before a word; a piece of a character as the tokenizer writes it."""
    tokenizer = loaded.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
    words = [tokenizer.decode([token]) for token in ids.tolist()]
    return [
        piece if "\ufffd" in text else f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text
        for piece, text in zip(pieces, words, strict=True)
    ]
