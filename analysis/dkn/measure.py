"""Algorithm 1's measurements: what is left of p(answer) when one neuron, or two, are taken away (eq. 9-10).

For a fact's n neurons of highest mean rel, every neuron alone and every pair is ablated on the main query. Nothing here
knows a threshold: which pairs are degenerate is a question to what is stored. Two controls take the same road: neurons
outside N from the same layers, and neurons outside N with the same single drops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from knscope.analysis.dkn.choose import control_neurons, drop_candidates, match_drops
from knscope.analysis.engine.edits import FlatEdits
from knscope.analysis.engine.logits import Edited
from knscope.analysis.types import Bools, Floats, Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine
    from knscope.analysis.prompts.encode import EncodedQuery


@dataclass(frozen=True)
class Scan:
    """Singles, then pairs, of one query. `first`, `second` index `neurons`; `second` is -1 for a single.

    `p`, `p_root`, `rank`, `argmax_kept` (rows,) are after the ablation, `*_before` without one. `argmax_kept`: every
    step still predicts the gold token.
    """

    neurons: Ints
    first: Ints
    second: Ints
    p: Floats
    p_root: Floats
    rank: Ints
    argmax_kept: Bools
    p_before: float
    p_root_before: float
    known_before: bool


def relative_drop(before: float, after: Floats) -> Floats:
    """(before − after) / before, and 0 for a probability that was 0 already."""
    return (before - after) / before if before > 0 else np.zeros_like(after)


def scan_roles(
    engine: Engine, query: EncodedQuery, chosen: npt.ArrayLike, rel: Floats, roles: Collection[str], seed: int
) -> Iterator[tuple[str, Scan]]:
    """Scans of the fact's own neurons (`kn`) and of its two controls (`layer_control`, `drop_control`), as `roles` asks.

    What does not wait for another's result is ablated together: all but the pairs of the drop-matched control, whose
    neurons are known once the candidates' single drops are.

    :param rel: (n_neurons,) as `choose.control_neurons` takes it
    """
    own = np.asarray(chosen, dtype=np.int64)
    layered, matched = "layer_control" in roles, "drop_control" in roles
    control = control_neurons(rel, own, engine.offsets, seed) if layered else own[:0]
    candidates = drop_candidates(rel, own) if matched else own[:0]
    neurons = np.concatenate([own, control, candidates])
    parts, place = [], 0
    for size, paired in ((len(own), "kn" in roles), (len(control), True), (len(candidates), False)):
        first, second = _singles_and_pairs(size) if paired else (np.arange(size), np.full(size, -1))
        parts.append((first + place, np.where(second < 0, -1, second + place)))
        place += size
    ends = np.cumsum([0, *(len(first) for first, _ in parts)])
    first, second = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    found = _ablate(engine, query, neurons, first, second)
    if "kn" in roles:
        yield "kn", _scan(own, found, np.arange(ends[0], ends[1]))
    if layered:
        yield "layer_control", _scan(control, found, np.arange(ends[1], ends[2]))
    if matched:
        drops = relative_drop(found.before.p, found.p_answer)
        partners = match_drops(drops[: len(own)], drops[ends[2] :])
        yield "drop_control", _scan_known(engine, query, candidates[partners], found, ends[2] + partners)


def _scan_known(engine: Engine, query: EncodedQuery, neurons: Ints, singles: Edited, rows: Ints) -> Scan:
    """A scan whose singles are `rows` of what was ablated before: only the pairs are left to do."""
    first, second = _singles_and_pairs(len(neurons))
    n = len(neurons)
    pairs = _ablate(engine, query, neurons, first[n:], second[n:])
    p, ranks = np.concatenate([singles.p[rows], pairs.p]), np.concatenate([singles.ranks[rows], pairs.ranks])
    return _scan(neurons, Edited(singles.before, p, ranks), np.arange(len(first)))


def _singles_and_pairs(n: int) -> tuple[Ints, Ints]:
    """Places of the first and the second neuron of each ablation, -1 for no second."""
    upper, lower = np.triu_indices(n, 1)
    first = np.concatenate([np.arange(n), upper]).astype(np.int64)
    return first, np.concatenate([np.full(n, -1), lower]).astype(np.int64)


def _ablate(engine: Engine, query: EncodedQuery, neurons: Ints, first: Ints, second: Ints) -> Edited:
    """Row r has neurons[first[r]], and neurons[second[r]] where there is one, set to 0."""
    pairs = np.flatnonzero(second >= 0)
    rows = np.concatenate([np.arange(len(first)), pairs])
    members = np.concatenate([first, second[pairs]])
    zeros = np.zeros(len(rows))
    edits = FlatEdits(rows, neurons[members], zeros, zeros)
    return engine.edited_rows(query, edits, len(first))


def _scan(neurons: Ints, found: Edited, rows: Ints) -> Scan:
    """The scan of `neurons` from its rows of what was ablated: singles, then pairs."""
    first, second = _singles_and_pairs(len(neurons))
    p = found.p_answer[rows]
    root, rank, known = p ** (1 / found.p.shape[1]), found.ranks[rows, 0], found.known[rows]
    before = found.before
    return Scan(neurons, first, second, p, root, rank, known, before.p, before.p_root, before.known)
