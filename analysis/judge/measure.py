"""Ablate a set of neurons, and random sets of its size, on the main prompts of facts. Imports torch; runs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knscope.analysis.api.model import load
from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.edits.sets import random_others
from knscope.analysis.engine.edits import Edit
from knscope.analysis.engine.replay import Engine
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.judge.choose import Fact, chosen
from knscope.analysis.prompts.encode import EncodedQuery, encode
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.facts import load_facts


@dataclass(frozen=True)
class Task:
    """`own`: ids of the facts that the set is meant for, empty: all; `others`: how many other facts it is read on too."""

    model: str
    neurons: tuple[tuple[int, int], ...]
    made_for: str
    data: str
    own: tuple[str, ...] = ()
    others: int = 50
    columns: tuple[str, ...] = ()
    langs: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    draws: int = 20
    seed: int = 0
    prefix: str = ""
    device: str = "auto"
    dtype: str = "float32"

    @classmethod
    def from_json(cls, text: str) -> Task:
        stored = json.loads(text)
        lists = {name: tuple(stored.get(name, ())) for name in ("own", "columns", "langs", "relations")}
        return cls(**{**stored, **lists, "neurons": tuple((layer, neuron) for layer, neuron in stored["neurons"])})


def measure(task: Task, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """rows: for each fact and language that the model knows, p before, under the ablated set, and under each random set.
    question: all that decides the verdict beside the set and the model, with the hash of the data in place of their path.

    :raises UserError, ModelError: a set of another model, facts that are not in the data, no usable model
    """
    config = RunConfig(
        (ModelSource(task.model),),
        task.data,
        columns=task.columns,
        langs=task.langs,
        relations=task.relations,
        prefix=task.prefix,
        device=task.device,
        dtype=task.dtype,
    )
    read = load_facts(config)
    facts = chosen(read.rows, task.own, task.others, task.seed)
    model = load(task.model, task.device, task.dtype)
    flat = NeuronSet(task.neurons, (), task.made_for).flat(model.addresses, model.label)
    engine = Engine(model.loaded)
    usable: list[tuple[Fact, EncodedQuery]] = []
    for fact in facts:
        try:
            usable.append((fact, encode(model.loaded, fact.query)))
        except UnusableQuery:
            continue
    predicted = engine.predict([query for _, query in usable])
    known = [pair for pair, said in zip(usable, predicted, strict=True) if said.known]
    widths = model.addresses.width
    sets = [flat, *(random_others(flat, widths, (task.seed, draw)) for draw in range(task.draws))]
    rows = []
    for done, (fact, query) in enumerate(known, 1):
        rows.append(_row(engine, fact, query, [Edit.suppress(one) for one in sets]))
        progress(done, len(known))
    return {
        "model": model.label,
        "neurons": len(flat),
        "rows": rows,
        "asked": len(facts),
        "unusable": len(facts) - len(usable),
        "unknown": len(usable) - len(known),
        "question": {
            "data": read.hash,
            **{
                name: getattr(task, name) for name in ("own", "langs", "relations", "prefix", "others", "draws", "seed")
            },
        },
    }


def _row(engine: Engine, fact: Fact, query: EncodedQuery, edits: Sequence[Edit]) -> dict[str, Any]:
    found = engine.edited(query, edits)
    (before,) = engine.predict([query])
    p = [float(np.prod(one.p_steps)) for one in found]
    return {
        "fact": fact.query.fact,
        "lang": fact.query.lang,
        "subject": fact.subject,
        "kind": fact.kind,
        "before": float(np.prod(before.p_steps)),
        "after": p[0],
        "random": p[1:],
    }
