"""What a person tries by hand: a set of neurons scaled, read on its fact and on one fact of each control kind. Knows no torch.

Nothing of it is stored: `attempt` measures in the model worker, and the answer comes back by the desk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from knscope.analysis.edits.choose import irrelevant
from knscope.analysis.edits.sets import KINDS
from knscope.analysis.edits.suppression import Suppressions
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.keys import model_hash
from knscope.analysis.runs.missing import model_row, source_of
from knscope.analysis.runs.units import Unit
from knscope.analysis.stored.facts import FIELDS, stored_facts
from knscope.store.reader import Reader
from knscope.store.view import View

OWN, TEMPLATE = "the fact", "other template"
TEMPLATES = 3
"""Other templates of the fact that a set is read on at most."""
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Steps of the slider: 0 suppresses, 1 leaves the model as it is, 2 is eq. 11's enhancement."""
Change = float | Literal["mean", "resample"]
"""The factor of the activations, or what is put in their place (METHOD §4): their mean over the main queries of the language that is
read, or what a random fact of another relation activates."""
Neuron = tuple[int, int]
"""Layer and place in it."""


@dataclass(frozen=True)
class Reading:
    """A query that the set is read on; `kind` is `OWN`, `TEMPLATE` or one of `KINDS`."""

    kind: str
    query: Query


@dataclass(frozen=True)
class Side:
    """The answer's p and rank, and the likeliest next tokens with their p, likeliest first."""

    p: float
    rank: int
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Answer:
    """A reading without and with the edit; both None where the model cannot use the query, and why."""

    reading: Reading
    before: Side | None
    after: Side | None
    why: str = ""

    @property
    def flips(self) -> bool | None:
        """Whether the likeliest next token is another one with the edit."""
        if self.before is None or self.after is None:
            return None
        return self.before.likeliest[0][0] != self.after.likeliest[0][0]


def readings(reader: Reader, view: View, fact: str, lang: str) -> tuple[Reading, ...]:
    """The fact's main query in `lang`, then in the View's other languages, its other templates in `lang`, and a fact of each control
    kind in `lang`."""
    facts = stored_facts(reader, view.model)
    langs = dict.fromkeys((lang, *view.langs))
    found = [Reading(OWN, facts.main[fact, one]) for one in langs if (fact, one) in facts.main]
    others_too = facts.frame.filter(fact=fact, lang=lang)
    more = [Query(*row) for row in others_too.select(FIELDS).iter_rows()]
    found += [Reading(TEMPLATE, one) for one in more if one != facts.main.get((fact, lang))][:TEMPLATES]
    others = irrelevant(reader, view, facts=facts).filter(fact=fact)
    for kind in KINDS:
        there = [facts.main[other, lang] for other in others.filter(kind=kind)["other"] if (other, lang) in facts.main]
        found += [Reading(kind, query) for query in there[:1]]
    return tuple(found)


def unit(
    reader: Reader,
    view: View,
    wanted: Sequence[Reading],
    neurons: Iterable[Neuron],
    change: Change,
    goes_on: bool = False,
) -> Unit:
    """What the model worker is asked: the readings under one change, or with `goes_on` how the model goes on without and with it.

    :raises UserError: the View's model is not in the store
    """
    row = model_row(reader, view.model)
    layers, places = np.array(list(neurons), dtype=np.int64).reshape(-1, 2).T
    flat = reader.addresses(view.model).flat(layers, places)
    ways = Suppressions(stored_facts(reader, view.model), 0) if isinstance(change, str) else None
    named = [_put_in(ways, one.query, change) for one in wanted]
    payload = {
        "reads": [
            {"query": asdict(one.query), "edits": [], "put_in": name}
            for one, (name, _) in zip(wanted, named, strict=True)
        ],
        "put_in": {name: [asdict(one) for one in queries] for name, queries in named if queries is not None},
        "neurons": flat.tolist(),
        "factor": None if isinstance(change, str) else change,
        "goes_on": goes_on,
        "size": len(wanted),
    }
    return Unit("try", source_of(reader, row), payload=payload, model=model_hash(row))


def _put_in(ways: Suppressions | None, query: Query, change: Change) -> tuple[str, tuple[Query, ...] | None]:
    """A name, and the queries whose mean activations are put in: none for a factor, None where there is no such fact."""
    if ways is None or not isinstance(change, str):
        return "factor", ()
    found = ways.operations((change,), query.fact, query.lang, ())
    return next(((name, queries) for name, queries in found.items() if queries), (change, None))


def goes_on(document: Mapping[str, Any]) -> tuple[str, str]:
    """How the model goes on without and with the change, of a unit of one reading."""
    (row,) = document["rows"]
    before, after = row.get("goes_on", ("", ""))
    return before, after


def answers(wanted: Sequence[Reading], document: Mapping[str, Any]) -> tuple[Answer, ...]:
    """What the worker answered, a row a reading."""
    return tuple(
        Answer(reading, None, None, row["why"]) if "why" in row else Answer(reading, _side(row, 0), _side(row, 1))
        for reading, row in zip(wanted, document["rows"], strict=True)
    )


def _side(row: Mapping[str, Any], number: int) -> Side:
    found = row["sides"][number]
    return Side(found["p"], found["rank"], tuple(zip(found["tokens"], found["probabilities"], strict=True)))
