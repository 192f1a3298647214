"""One prompt put to a model: its likeliest answers, and for each answer that is named its probability and its neurons.

`knscope query` runs this in a process of its own, as it imports torch, and prints the document that `answer` returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from knscope.analysis.api.model import load
from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.attribution import integrate
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.edits import Edit
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
    """What is asked. `top`: likeliest answers; `answers`: those to attribute to neurons with `method`; `neurons`, of the model
    `made_for`: a set that is scaled to see what the model answers then."""

    model: str
    prompt: str
    answers: tuple[str, ...] = ()
    subject: str = ""
    method: str = "amig"
    top: int = 5
    masks: int = 1
    prefix: str = ""
    neurons: tuple[tuple[int, int], ...] | None = None
    made_for: str = ""
    scale: float = 0.0
    device: str = "auto"
    dtype: str = "float32"

    @classmethod
    def from_json(cls, text: str) -> Question:
        stored = json.loads(text)
        lists = {"answers": tuple(stored["answers"])}
        if stored.get("neurons") is not None:
            lists["neurons"] = tuple((layer, neuron) for layer, neuron in stored["neurons"])
        return cls(**{**stored, **lists})


def answer(asked: Question, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """The rows of the tables likeliest, prediction and neurons, and notes on each attribution.

    :raises UserError, ModelError: a prompt or answer that this model cannot be asked, or no model
    """
    model = load(asked.model, asked.device, asked.dtype)
    loaded, engine, method = model.loaded, Engine(model.loaded), parse_method(asked.method)
    queries = [_encoded(loaded, asked, one) for one in asked.answers]
    filled = asked.prompt.replace("[X]", asked.subject) if asked.subject else asked.prompt
    opened = open_prompt(loaded, filled, asked.masks, asked.prefix)
    (words,) = likeliest(engine, [opened], asked.top)
    document: dict[str, Any] = {
        "model": model.label,
        "likeliest": [{"answer": word.text, "p": word.p} for word in words],
        "prediction": [],
        "neurons": [],
        "notes": [],
    }
    if asked.neurons is not None:
        flat = NeuronSet(asked.neurons, (), asked.made_for).flat(model.addresses, model.label)
        document |= _edited(engine, opened, queries, Edit.scaled(flat, asked.scale), asked.top)
    for done, found in enumerate(integrate.attribute(engine, queries, method), 1):
        document["prediction"].append(_prediction(loaded.tokenizer, found))
        rows, notes = _neurons(found, model.addresses)
        document["neurons"] += rows
        document["notes"] += notes
        progress(done, len(queries))
    return document


def _edited(
    engine: Engine, opened: EncodedQuery, queries: Sequence[EncodedQuery], edit: Edit, top: int
) -> dict[str, Any]:
    """The likeliest answers under an edit, and p and rank of each named answer before and after."""
    (words,) = likeliest(engine, [opened], top, edit)
    notes = []
    for query, before in zip(queries, engine.predict(queries), strict=True):
        (after,) = engine.edited(query, [edit])
        moved = f"p {float(before.p):.4g} → {float(after.p):.4g}, rank {int(before.rank)} → {int(after.rank)}"
        notes.append(f"{query.query.object}: {moved}")
    return {"edited": [{"answer": word.text, "p": word.p} for word in words], "edited_notes": notes}


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
