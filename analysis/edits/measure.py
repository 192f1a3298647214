"""Suppress and enhance sets of neurons and read what happens to this fact and to others (eq. 11's measurements).

An edited set is a multiset of flat neurons: one that stands in it twice is edited twice, which is what editing one
language's neurons and then the other's on top means for the common ones. Which neurons a set holds is decided in
`edit_sets`, what a result is worth in `success_rate`; here it is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from knscope.analysis.engine.replay import Edit
from knscope.analysis.types import Bools, Floats, Ints

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine, Prediction
    from knscope.analysis.prompts.encode import EncodedQuery


def make_edit(operation: str, neurons: npt.ArrayLike, reference: npt.NDArray[np.floating] | None = None) -> Edit:
    """The edit of a multiset: 0, doubled (once per occurrence), or replaced by its entry in `reference` (n_neurons,).

    Any operation but `suppress` and `enhance` wants one: the mean over the language's queries, another fact's activations.
    """
    flat = np.asarray(neurons, dtype=np.int64)
    if operation == "suppress":
        return Edit.suppress(flat)
    if operation == "enhance":
        return Edit.enhance(flat)
    if reference is None:
        raise ValueError(f"operation {operation} needs the activations to put in")
    unique = np.unique(flat)
    return Edit.replace(unique, reference[unique])


def mean_activations(engine: Engine, queries: Sequence[EncodedQuery]) -> npt.NDArray[np.float32]:
    """Mean over queries of the mean over steps of every neuron's activation, (n_neurons,): `mean`'s reference."""
    total = np.zeros(engine.loaded.n_neurons)
    for query in queries:
        total += engine.activations(query).mean(axis=0)
    return (total / max(len(queries), 1)).astype(np.float32)


@dataclass(frozen=True)
class Readings:
    """One query under E edits; `*_after` are (E,). The wrong object's are None where none was asked for."""

    p_before: float
    p_root_before: float
    rank_before: int
    known_before: bool
    p_after: Floats
    p_root_after: Floats
    rank_after: Ints
    p_wrong_before: float | None
    p_wrong_after: Floats | None
    rerouted: Bools | None
    """Whether other experts would run above an edit; None without routed experts."""


def read_edits(
    engine: Engine, query: EncodedQuery, edits: Sequence[Edit], wrong: EncodedQuery | None = None
) -> Readings:
    """p and rank of a query's answer before and under each edit, and p of a wrong object (`wrong`: same prompt)."""
    [before] = engine.predict([query])
    after: list[Prediction] = engine.edited(query, edits) if edits else []
    wrong_before = wrong_after = None
    if wrong is not None:
        wrong_before = engine.predict([wrong])[0].p
        wrong_after = np.array([one.p for one in engine.edited(wrong, edits)] if edits else [], dtype=np.float64)
    return Readings(
        before.p,
        before.p_root,
        before.rank,
        before.known,
        np.array([one.p for one in after], dtype=np.float64),
        np.array([one.p_root for one in after], dtype=np.float64),
        np.array([one.rank for one in after], dtype=np.int64),
        wrong_before,
        wrong_after,
        engine.rerouted(query, edits) if edits else None,
    )


def collateral(engine: Engine, sentences: Sequence[EncodedQuery], edits: Sequence[Edit]) -> Floats:
    """Mean over unrelated sentences of KL(unedited ‖ edited) of the next-token distribution, in nats, (E,).

    A sentence is a query whose answer is its last word; what is compared is the distribution at its first answer token.
    """
    total = np.zeros(len(edits))
    for sentence in sentences:
        log = engine.log_probs(sentence, edits).astype(np.float64)
        total += np.maximum((np.exp(log[0]) * (log[0] - log[1:])).sum(axis=1), 0.0)
    return total / max(len(sentences), 1)
