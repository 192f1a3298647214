"""Which facts a set of neurons is judged on. Knows no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from knscope.analysis.prompts.encode import Query
from knscope.analysis.stored.facts import join_subjects
from knscope.store.errors import UserError

KINDS = ("own", "same relation", "other relations")


@dataclass(frozen=True)
class Fact:
    """A fact in a language on its first template. `kind`: whether the set is meant for it, or how far off it is."""

    query: Query
    subject: str
    kind: str


def chosen(rows: Sequence[Query], own: Collection[str], others: int, seed: int) -> list[Fact]:
    """The facts that a set is meant for (all where none is named), and up to `others` facts of each other kind: of the
    relations of its own with another answer, and of other relations. Drawn by `seed`; about no subject of its own.

    :raises UserError: a fact that is not in the data
    """
    first: dict[tuple[str, str], Query] = {}
    for row in rows:
        first.setdefault((row.fact, row.lang), row)
    known = {row.fact for row in rows}
    if missing := [one for one in own if one not in known]:
        raise UserError(f"--fact {missing[0]} is not in the data; it has {', '.join(sorted(known)[:5])}, …")
    subject = join_subjects(sorted({(row.fact, row.lang, row.subject) for row in rows}))
    mine = set(own) or known
    subjects = {subject[fact] for fact in mine}
    relations = {row.relation for row in rows if row.fact in mine}
    answers = {(row.relation, row.lang, row.object) for row in rows if row.fact in mine}
    kinds = dict.fromkeys(mine, "own")
    for row in sorted(first.values(), key=lambda query: (query.fact, query.lang)):
        if row.fact in mine or subject[row.fact] in subjects:
            continue
        same = row.relation in relations
        if not same or (row.relation, row.lang, row.object) not in answers:
            kinds.setdefault(row.fact, KINDS[1] if same else KINDS[2])
    rng = np.random.default_rng(seed)
    kept = set(mine)
    for kind in KINDS[1:]:
        there = sorted(fact for fact, name in kinds.items() if name == kind)
        kept |= {there[place] for place in rng.permutation(len(there))[:others]}
    return [Fact(query, subject[fact], kinds[fact]) for (fact, _), query in first.items() if fact in kept]
