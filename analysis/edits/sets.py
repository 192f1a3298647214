"""Which neurons are edited, under which name, and which facts an edit should leave alone. Knows no torch.

An edited set is a multiset of flat neurons: one that stands in it twice is edited twice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from knscope.analysis.prompts.words import without_blanks
from knscope.analysis.types import Ints

Ablation = Literal["zero", "mean", "resample"]
Kind = Literal["other relation", "same relation", "same answer"]

ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
"""What a suppressed neuron becomes: 0, its mean activation, its activation on another fact."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Other facts that an edit is read on: of another relation; of the same one with another answer; of the same one with the same
answer. What moves the last may belong to the answer (METHOD §3, control c)."""
N_IRRELEVANT = 5
N_ALIKE = 3
"""Facts of the same relation that an edit is read on, of each of the two kinds."""


def set_id(layers: npt.ArrayLike, neurons: npt.ArrayLike) -> str:
    """Name of an edited set: md5 of its sorted `layer:neuron`, joined by commas, repeats kept."""
    pairs = sorted(zip(np.asarray(layers).tolist(), np.asarray(neurons).tolist(), strict=True))
    return hashlib.md5(",".join(f"{a}:{b}" for a, b in pairs).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Others:
    """Rows (fact, other): other facts that an edit of `fact` is read on, of one kind. Indices into the facts given."""

    fact: Ints
    other: Ints
    kind: Kind


def draw_irrelevant(
    facts: Sequence[str],
    relation: Sequence[str],
    subject: Sequence[str],
    answer_tokens: Sequence[Collection[str]],
    known: Sequence[bool],
    *,
    n: int = N_IRRELEVANT,
    seed: int = 0,
) -> Others:
    """Up to n irrelevant facts for each fact: another relation, another subject, no answer token in common.

    `answer_tokens` holds each fact's answer tokens over all languages; white space alone is nothing in common. Facts of
    the same `known` flag come first. Where all facts are of one relation, others of that relation with another object
    are taken and marked. The draw depends on the labels in `facts` and the seed, not on the order of rows.
    """
    tokens = [frozenset(filter(without_blanks, one)) for one in answer_tokens]
    single = len(set(relation)) < 2
    order = sorted(range(len(facts)), key=lambda i: facts[i])
    eligible = [
        [
            j
            for j in order
            if (single or relation[j] != relation[i]) and subject[j] != subject[i] and tokens[i].isdisjoint(tokens[j])
        ]
        for i in range(len(facts))
    ]
    return _draw(eligible, facts, known, n, seed, "same relation" if single else "other relation")


def draw_alike(
    facts: Sequence[str],
    relation: Sequence[str],
    subject: Sequence[str],
    answer: Sequence[Mapping[str, str]],
    known: Sequence[bool],
    kind: Kind,
    *,
    n: int = N_ALIKE,
    seed: int = 0,
) -> Others:
    """Up to n facts of the same relation and another subject for each fact, in the way of `draw_irrelevant`.

    `answer` holds each fact's answer by language. `same answer`: in every language that both are asked in; `same
    relation`: in none. Answers that agree in some languages only are neither, as for the controls of shared neurons.
    """
    order = sorted(range(len(facts)), key=lambda i: facts[i])
    members: dict[str, list[int]] = {}
    saying: dict[tuple[str, str, str], list[int]] = {}
    for j in order:
        members.setdefault(relation[j], []).append(j)
        for lang, text in answer[j].items():
            saying.setdefault((relation[j], lang, text), []).append(j)

    def partners(i: int) -> list[int]:
        same = {j for lang, text in answer[i].items() for j in saying[relation[i], lang, text]}
        if kind == "same answer":
            return [j for j in sorted(same, key=lambda j: facts[j]) if _agree(answer[i], answer[j])]
        return [j for j in members[relation[i]] if j not in same and not answer[i].keys().isdisjoint(answer[j])]

    eligible = [[j for j in partners(i) if subject[j] != subject[i]] for i in range(len(facts))]
    return _draw(eligible, facts, known, n, seed, kind)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two facts have the same answer in every language that both are asked in."""
    return all(one[lang] == other[lang] for lang in one.keys() & other.keys())


def _draw(
    eligible: Sequence[Sequence[int]], facts: Sequence[str], known: Sequence[bool], n: int, seed: int, kind: Kind
) -> Others:
    """Up to n of those eligible for each fact, of the same `known` flag first."""
    rows: list[tuple[int, int]] = []
    for i, candidates in enumerate(eligible):
        rng = np.random.default_rng(label_seed(seed, facts[i]))
        shuffled = [candidates[k] for k in rng.permutation(len(candidates))]
        rows += [(i, j) for j in sorted(shuffled, key=lambda j: known[j] != known[i])[:n]]
    pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Others(pairs[:, 0], pairs[:, 1], kind)


def label_seed(seed: int, label: str) -> list[int]:
    """A seed of one fact's own: its draws do not change with what else is stored or looked at."""
    digest = hashlib.sha256(label.encode()).digest()
    return [seed, *np.frombuffer(digest[:16], dtype=np.uint32).tolist()]


def size_matched(ranked: Mapping[str, npt.ArrayLike], sizes: Mapping[str, int]) -> dict[str, Ints]:
    """Each method's top n of one fact, n the smallest |N| among the methods; `ranked` is best first."""
    n = min(sizes.values(), default=0)
    return {method: np.asarray(neurons, dtype=np.int64)[:n] for method, neurons in ranked.items()}


def random_others(
    neurons: npt.ArrayLike, widths: npt.ArrayLike, seed: int | Sequence[int] = 0, without: npt.ArrayLike = ()
) -> Ints:
    """As many random neurons as `neurons`, from the same layers, none of them and none of `without` (fewer where a layer has no
    more). `widths` (n_layers,) are the layers' sizes."""
    like = np.unique(np.asarray(neurons, dtype=np.int64))
    taken = np.union1d(like, np.asarray(without, dtype=np.int64))
    ends = np.cumsum(np.asarray(widths, dtype=np.int64))
    rng = np.random.default_rng(seed)
    drawn = [np.empty(0, dtype=np.int64)]
    for layer, wanted in zip(*np.unique(np.searchsorted(ends, like, side="right"), return_counts=True), strict=True):
        start = ends[layer - 1] if layer else 0
        others = np.setdiff1d(np.arange(start, ends[layer]), taken)
        drawn.append(rng.choice(others, size=min(int(wanted), len(others)), replace=False))
    return np.sort(np.concatenate(drawn))


def cross_language_sets(
    mine: npt.ArrayLike, theirs: npt.ArrayLike, mismatched: npt.ArrayLike, seed: int | Sequence[int] = 0
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
