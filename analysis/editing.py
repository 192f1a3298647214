"""Suppress and enhance sets of neurons and read what happens to this fact and to others (eq. 11's measurements).

An edited set is a multiset of flat neurons: one that stands in it twice is edited twice, which is what editing one
language's neurons and then the other's on top means for the common ones. Whose neurons a set holds, and what a result
is judged by, is not decided here: `read_edits` measures, `success_rate` judges.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from analysis.replay import Edit

if TYPE_CHECKING:
    from analysis.prompts import EncodedQuery
    from analysis.replay import Engine, Prediction

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Operation = Literal["suppress", "enhance", "mean", "resample"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
N_IRRELEVANT = 5


def set_id(layers: npt.ArrayLike, neurons: npt.ArrayLike) -> str:
    """Name of an edited set: md5 of its sorted `layer:neuron`, joined by commas, repeats kept."""
    pairs = sorted(zip(np.asarray(layers).tolist(), np.asarray(neurons).tolist(), strict=True))
    return hashlib.md5(",".join(f"{a}:{b}" for a, b in pairs).encode(), usedforsecurity=False).hexdigest()


def make_edit(operation: Operation, neurons: npt.ArrayLike, reference: npt.NDArray[np.floating] | None = None) -> Edit:
    """The edit of a multiset: 0, doubled (once per occurrence), or replaced by its entry in `reference` (n_neurons,).

    `mean` wants the mean activations over the language's queries, `resample` another fact's activations.
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


@dataclass(frozen=True)
class Irrelevant:
    """Rows (fact, other): the facts an edit of `fact` should leave alone. Indices into the facts given."""

    fact: Ints
    other: Ints
    same_relation: Bools


def draw_irrelevant(
    facts: Sequence[str],
    relation: Sequence[str],
    subject: Sequence[str],
    answer_tokens: Sequence[Collection[object]],
    known: Sequence[bool],
    *,
    n: int = N_IRRELEVANT,
    seed: int = 0,
) -> Irrelevant:
    """Up to n irrelevant facts for each fact: another relation, another subject, no answer token in common.

    `answer_tokens` holds each fact's answer tokens over all languages. Facts of the same `known` flag come first. Where
    all facts are of one relation, others of that relation with another object are taken and marked. The draw depends
    on the labels in `facts` and the seed, not on the order of rows.
    """
    tokens = [frozenset(one) for one in answer_tokens]
    single = len(set(relation)) < 2
    order = sorted(range(len(facts)), key=lambda i: facts[i])
    rows: list[tuple[int, int, bool]] = []
    for i in range(len(facts)):
        candidates = [
            j
            for j in order
            if (single or relation[j] != relation[i]) and subject[j] != subject[i] and tokens[i].isdisjoint(tokens[j])
        ]
        digest = hashlib.sha256(facts[i].encode()).digest()
        rng = np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype=np.uint32).tolist()])
        shuffled = [candidates[k] for k in rng.permutation(len(candidates))]
        chosen = sorted(shuffled, key=lambda j: known[j] != known[i])[:n]
        rows += [(i, j, single) for j in chosen]
    fact, other, same = zip(*rows, strict=True) if rows else ((), (), ())
    return Irrelevant(np.array(fact, dtype=np.int64), np.array(other, dtype=np.int64), np.array(same, dtype=np.bool_))


def size_matched(ranked: Mapping[str, npt.ArrayLike], sizes: Mapping[str, int]) -> dict[str, Ints]:
    """Each method's top n of one fact, n the smallest |N| among the methods; `ranked` is best first."""
    n = min(sizes.values(), default=0)
    return {method: np.asarray(neurons, dtype=np.int64)[:n] for method, neurons in ranked.items()}


def cross_language_sets(
    mine: npt.ArrayLike, theirs: npt.ArrayLike, mismatched: npt.ArrayLike, seed: int = 0
) -> dict[str, Ints]:
    """The rows of table 2 for one fact: what is edited, given N_a and N_b (best first), read in language b.

    `LIKN` N_a ∩ N_b, `Mono-KN` N_a, `Seq-KN` N_a and N_b on top, `Union` each once; and at LIKN's size: the top and a
    random choice of N_a, and the intersection of a mismatched fact (cut to the same size).
    """
    a, b = np.asarray(mine, dtype=np.int64), np.asarray(theirs, dtype=np.int64)
    shared = a[np.isin(a, b)]
    drawn = np.random.default_rng(seed).choice(a, size=len(shared), replace=False) if len(a) else a
    return {
        "LIKN": shared,
        "Mono-KN": a,
        "Seq-KN": np.concatenate([a, b]),
        "Union": np.union1d(a, b),
        "Mono-KN top": a[: len(shared)],
        "Mono-KN random": drawn,
        "mismatched": np.asarray(mismatched, dtype=np.int64)[: len(shared)],
    }


def half_templates(templates: Collection[str], seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two halves of a fact's templates: N comes from the first, the edit is read on the second.

    The first gets the odd one; with a single template the second is empty and there is nothing held out.
    """
    ordered = sorted(set(templates))
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    half = math.ceil(len(shuffled) / 2)
    return tuple(shuffled[:half]), tuple(shuffled[half:])
