"""Claims: a fact with its right object and with a wrong one. Knows no torch.

Subjects are split once into three parts: neurons are chosen on the first, thresholds on the second, and the third is
judged. A wrong object is another fact's object of the same part and relation, dealt out as a derangement, so that an
object is as often wrong as right and its frequency says nothing.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from knscope.analysis.edits.sets import random_others
from knscope.analysis.types import Ints

PARTS = ("neurons", "threshold", "test")
SHARES = (0.6, 0.2, 0.2)


def split_subjects(subjects: Collection[str], seed: int = 0) -> dict[str, str]:
    """Part of each subject: 0.6 `neurons`, 0.2 `threshold`, 0.2 `test`, whatever relation or language it occurs in.

    Subjects are ordered by a seeded hash and cut at the shares, so that a few new subjects move few old ones.
    """
    unique = sorted(set(subjects), key=lambda text: hashlib.sha256(f"{seed}\x1f{text}".encode()).digest())
    first, second = round(SHARES[0] * len(unique)), round((SHARES[0] + SHARES[1]) * len(unique))
    return {text: PARTS[(i >= first) + (i >= second)] for i, text in enumerate(unique)}


def derange(objects: Sequence[str], right: Sequence[Collection[str]], seed: int = 0) -> list[str | None]:
    """A wrong object for each fact out of the facts' own `objects`, each dealt to exactly one fact.

    `right[i]` are all right answers of fact i (its own object counts as one anyhow). Where an object is so frequent that
    no such dealing exists, facts that find none are left out with their own objects: they get None, and both kinds of
    claims keep the same object frequencies.
    """
    rng = np.random.default_rng(seed)
    members = rng.permutation(len(objects)).tolist()
    allowed = [frozenset(right[i]) | {objects[i]} for i in range(len(objects))]
    while members:
        dealt = _match(members, [objects[i] for i in members], allowed, rng)
        if len(dealt) == len(members):
            return [objects[dealt[i]] if i in dealt else None for i in range(len(objects))]
        members = [i for i in members if i in dealt]
    return [None] * len(objects)


def _match(facts: list[int], texts: list[str], right: list[frozenset[str]], rng: np.random.Generator) -> dict[int, int]:
    """As many facts as possible, each with the fact whose object it gets: a random dealing, repaired by swaps.

    An augmenting path gives an unmatched fact an object and moves the facts along the path to other objects. Objects
    that a search without success reached can never help a later one, and are not looked at again.
    """
    n = len(facts)
    dealt = [-1] * n  # fact's place -> place of its object
    owner = [-1] * n  # object's place -> fact's place
    dead: set[int] = set()
    for place, slot in enumerate(rng.permutation(n).tolist()):
        if texts[slot] not in right[facts[place]]:
            dealt[place], owner[slot] = slot, place
    for start in range(n):
        if dealt[start] >= 0:
            continue
        came_from: dict[int, int] = {}  # object's place -> fact's place that reached it
        queue, free = deque([start]), -1
        while queue and free < 0:
            place = queue.popleft()
            for slot in rng.permutation(n).tolist():
                if slot in came_from or slot in dead or texts[slot] in right[facts[place]]:
                    continue
                came_from[slot] = place
                if owner[slot] < 0:
                    free = slot
                    break
                queue.append(owner[slot])
        if free < 0:
            dead.update(came_from)
        while free >= 0:
            place = came_from[free]
            free_next, dealt[place], owner[free] = dealt[place], free, place
            free = free_next if place != start else -1
    return {facts[place]: facts[slot] for place, slot in enumerate(dealt) if slot >= 0}


def claim_neurons(ablated: npt.ArrayLike, widths: npt.ArrayLike, seed: int = 0) -> tuple[Ints, Ints]:
    """Neurons to read on every claim of a relation and language: those ablated there, and random others like them.

    Any choice of degenerate neurons is among the first, whatever the thresholds; the second are as many, from the same
    layers, none of them ablated (fewer where a layer has no more). `widths` (n_layers,) are the layers' sizes.
    """
    watched = np.unique(np.asarray(ablated, dtype=np.int64))
    return watched, random_others(watched, widths, seed)
