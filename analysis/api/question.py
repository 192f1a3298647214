"""One prompt put to a model: its likeliest answers, and for each answer that is named its probability and its neurons.

`knscope query` runs this in a process of its own, as it imports torch, and prints the document that `answer` returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knscope.analysis.api.model import load
from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.likeliest import likeliest
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts.encode import EncodedQuery, encode
from knscope.analysis.prompts.open_prompt import open_prompt, with_answer
from knscope.store.address import Addresses
from knscope.store.errors import UserError

NEURONS = 20


@dataclass(frozen=True)
class Question:
    """What is asked. `top`: likeliest answers; `answers`: those to attribute to neurons with `method`."""

    model: str
    prompt: str
    answers: tuple[str, ...] = ()
    subject: str = ""
    method: str = "amig"
    top: int = 5
    masks: int = 1
    prefix: str = ""
    device: str = "auto"
    dtype: str = "float32"

    @classmethod
    def from_json(cls, text: str) -> Question:
        stored = json.loads(text)
        return cls(**{**stored, "answers": tuple(stored["answers"])})


def answer(asked: Question, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """The rows of the tables likeliest, prediction and neurons, and notes on each attribution.

    :raises UserError, ModelError: a prompt or answer that this model cannot be asked, or no model
    """
    model = load(asked.model, asked.device, asked.dtype)
    loaded, engine, method = model.loaded, Engine(model.loaded), parse_method(asked.method)
    queries = [_encoded(loaded, asked, one) for one in asked.answers]
    filled = asked.prompt.replace("[X]", asked.subject) if asked.subject else asked.prompt
    (words,) = likeliest(engine, [open_prompt(loaded, filled, asked.masks, asked.prefix)], asked.top)
    document: dict[str, Any] = {
        "model": model.label,
        "likeliest": [{"answer": word.text, "p": word.p} for word in words],
        "prediction": [],
        "neurons": [],
        "notes": [],
    }
    for done, found in enumerate(integrate.attribute(engine, queries, method), 1):
        document["prediction"].append(_prediction(loaded.tokenizer, found))
        rows, notes = _neurons(found, model.addresses)
        document["neurons"] += rows
        document["notes"] += notes
        progress(done, len(queries))
    return document


def _encoded(loaded: LoadedModel, asked: Question, text: str) -> EncodedQuery:
    query = with_answer(asked.prompt, text, asked.subject, asked.prefix)
    try:
        return encode(loaded, query)
    except UnusableQuery as error:
        raise UserError(str(error).rpartition(f"{query.template!r}: ")[2]) from error


def _prediction(tokenizer: Any, found: integrate.Attribution) -> dict[str, Any]:
    query, said = found.query, found.prediction
    return {
        "prompt": query.prompt,
        "answer": query.query.object,
        "p": float(said.p),
        "p_root": float(said.p_root),
        "rank": int(said.rank),
        "known": bool(said.known),
        "answer_tokens": list(query.answer_tokens),
        "argmax_tokens": tokenizer.convert_ids_to_tokens([int(token) for token in said.argmax]),
        "p_steps": [float(p) for p in said.p_steps],
        "words": query.n_words,
        "words_without_path": query.words_without_path,
    }


def _neurons(found: integrate.Attribution, addresses: Addresses) -> tuple[list[dict[str, Any]], list[str]]:
    """The neurons of highest positive score, and what is to say of their integrals."""
    name = found.query.query.object
    order = [int(neuron) for neuron in (-found.scores).argsort(kind="stable")[:NEURONS] if found.scores[neuron] > 0]
    best = float(found.scores.max(initial=0.0))
    rows = [
        {"answer": name, "layer": int(layer), "neuron": int(neuron), "score": float(score), "rel": float(score) / best}
        for layer, neuron, score in zip(*addresses.split(order), found.scores[order], strict=True)
    ]
    paths = found.paths
    residual = abs(paths.residual).max(initial=0.0)
    notes = [
        f"{name}: {int(paths.converged.sum()):,} of {len(paths):,} paths converged; largest residual {residual:.2e}"
    ]
    if not rows:
        notes.append(f"{name}: no neuron has a positive score")
    return rows, notes
