"""What if, measured: the answers of a loaded model to the queries of a unit, without and with its neurons changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knscope.analysis.edits import attempt
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts import encode
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.units import Unit


def tried(engine: Engine, unit: Unit) -> Mapping[str, Any]:
    """The unit's readings, as `runs.whatif.answers` reads them."""
    return {"rows": [_tried(engine, unit, read["query"]) for read in unit.payload["reads"]]}


def _tried(engine: Engine, unit: Unit, row: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        query = encode.encode(engine.loaded, Query(**row))
    except UnusableQuery as error:
        return {"why": str(error)}
    found = attempt.attempt(engine, query, unit.payload["neurons"], unit.payload["factor"])
    return {"sides": [{**asdict(side), "tokens": texts(engine.loaded, np.array(side.ids))} for side in found]}


def texts(loaded: LoadedModel, ids: NDArray[np.int64]) -> list[str]:
    """Tokens as a person reads them, with the space before a word; a piece of a character as the tokenizer writes it."""
    tokenizer = loaded.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
    words = [tokenizer.decode([token]) for token in ids.tolist()]
    return [
        piece if "\ufffd" in text else f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text
        for piece, text in zip(pieces, words, strict=True)
    ]
