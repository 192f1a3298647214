"""Matched against mismatched facts: is what the languages share about this fact, its answer, its relation, or any fact?

For fact i the shared set is L_i = N_0(i) ∩ R_i with R_i the intersection of the other languages' sets. The controls
take R from another fact j, |N_0(i) ∩ R_j|, always of another subject: (a) j of the same relation with another answer,
(b) j of another relation, (c) j of the same relation with the same answer in every language. What is above (a) may belong
to the answer; only what is above (c) too belongs to the fact. Everything below is read from one (F, F) table of these sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from knscope.analysis.likn.chance import UniformChance, benjamini_hochberg, uniform_chance
from knscope.analysis.likn.neuron_sets import NeuronSets
from knscope.analysis.prompts.words import without_blanks
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, Interval, Statistic, cluster_sums, ratio
from knscope.analysis.types import Bools, Floats, Ints

Verdict = Literal["own", "of the answer", "relation", "generic", "chance", "empty", "undecided"]

PARTNERS = 1_000  # mismatched partners a fact at most; with fewer eligible all are used once, which is exact
ALPHA = 0.05
FEWEST_PARTNERS = 4
"""Facts with fewer mismatched partners say nothing in a p against re-paired facts: it comes out below .05 up to three times
as often as it should (simulated: 14 % of the time with two partners a fact, 8 % with three, 5 to 6 % with four)."""


class Partners(NamedTuple):
    """(F, F) masks of the partners j of fact i; all of another subject."""

    other_answer: Bools
    """(a): same relation, another answer in every language."""
    other_relation: Bools
    """(b)"""
    same_answer: Bools
    """(c): same relation, the same answer in every language."""


@dataclass(frozen=True)
class FactKeys:
    """What decides which facts mismatch: integer codes, `relation` and `subject` (F,), `answer` (F, K) by language."""

    relation: Ints
    subject: Ints
    answer: Ints

    @classmethod
    def from_labels(cls, relation: Sequence[str], subject: Sequence[str], answer: Sequence[Sequence[str]]) -> FactKeys:
        codes = {text: i for i, text in enumerate(dict.fromkeys(text for row in answer for text in row))}
        answers = np.array([[codes[text] for text in row] for row in answer], dtype=np.int64)
        answers = answers.reshape(len(answer), -1 if answer else 0)
        return cls(
            np.unique(np.asarray(relation, dtype=np.str_), return_inverse=True)[1].astype(np.int64),
            np.unique(np.asarray(subject, dtype=np.str_), return_inverse=True)[1].astype(np.int64),
            answers,
        )

    def select(self, facts: npt.ArrayLike, langs: Sequence[int] | None = None) -> FactKeys:
        rows = np.asarray(facts)
        answer = self.answer[rows]
        if langs is not None:  # without a fact nobody knows how many languages there are
            answer = answer[:, list(langs)] if len(self.answer) else np.empty((0, len(langs)), np.int64)
        return FactKeys(self.relation[rows], self.subject[rows], answer)

    def eligible(self) -> Partners:
        """Who may stand in for whom; answers that agree in some languages only are neither (a) nor (c)."""
        same_relation = self.relation[:, None] == self.relation
        other_subject = self.subject[:, None] != self.subject
        within = same_relation & other_subject
        nowhere, everywhere = within.copy(), within & (self.answer.shape[1] > 0)
        for column in self.answer.T:
            same = column[:, None] == column
            nowhere &= ~same
            everywhere &= same
        return Partners(nowhere, ~same_relation & other_subject, everywhere)


@dataclass(frozen=True)
class Mismatched:
    """One control. Per fact: how many partners, the mean size shared with them, and p; None where no partner exists.

    p = (1 + #{partners sharing ≥ matched}) / (1 + #partners). Partners are distinct, so it is exact under exchange.
    `interval` is of the mean of matched − mismatched, subjects resampled, over the facts that have a partner; `subjects`
    counts those it resamples. `p_overall` compares the total over the facts with at least four partners with totals of
    re-pairings, each counted once; None where no fact has as many.
    """

    partners: Ints
    mean: tuple[float | None, ...]
    p: tuple[float | None, ...]
    interval: Interval
    p_overall: float | None
    subjects: int = 0

    @property
    def facts(self) -> int:
        """How many facts have a partner."""
        return int((self.partners > 0).sum())

    @property
    def above(self) -> bool | None:
        """Whether the interval of matched − mismatched is above 0; None where there is no interval."""
        return None if self.interval.low is None else self.interval.low > 0

    @property
    def average(self) -> float | None:
        known = [value for value in self.mean if value is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Overlap:
    """Everything about one choice of languages. Arrays are over `facts`: those attributed in all of them."""

    facts: Ints
    sizes: Ints
    uniform: UniformChance
    q_uniform: Floats
    same_relation: Mismatched
    other_relation: Mismatched
    same_answer: Mismatched
    verdicts: tuple[Verdict, ...]

    @property
    def coverage(self) -> float | None:
        """Share of facts with a non-empty intersection."""
        return float(np.mean(self.uniform.observed > 0)) if len(self.facts) else None

    @property
    def observed(self) -> float | None:
        return float(np.mean(self.uniform.observed)) if len(self.facts) else None

    @property
    def expected(self) -> float | None:
        return float(np.mean(self.uniform.expected)) if len(self.facts) else None


def shared_with(sets: NeuronSets) -> Ints:
    """(F, F): |N_0(i) ∩ R_j|, the diagonal being the matched size. One language: R is that language's own set."""
    matrices = sets.matrices()
    others = matrices[1] if len(matrices) > 1 else matrices[0]
    for other in matrices[2:]:
        others = others.multiply(other).tocsr()
    return np.asarray((matrices[0] @ others.T).toarray(), dtype=np.int64)


def _choose_partners(eligible: Bools, limit: int, rng: np.random.Generator) -> Bools:
    """At most `limit` distinct partners a row, drawn without replacement."""
    crowded = np.flatnonzero(eligible.sum(axis=1) > limit)
    if len(crowded) == 0:
        return eligible
    chosen = eligible.copy()
    for row in crowded:
        candidates = np.flatnonzero(eligible[row])
        chosen[row] = False
        chosen[row, rng.choice(candidates, size=limit, replace=False)] = True
    return chosen


def _effects(shared: Floats, partners: Bools) -> tuple[Floats, Floats]:
    """Row means over partners, and per-fact parts whose mean is mean(matched − mismatched).

    A fact enters the mismatched mean twice, as the fact itself and as partner of others; each part carries both, so
    that resampling facts reproduces the variance of the whole (the linear part of the statistic).
    """
    counts = partners.sum(axis=1)
    used = counts > 0
    means = np.where(used, (shared * partners).sum(axis=1) / np.maximum(counts, 1), 0.0)
    as_partner = (partners * (shared - means[:, None]) / np.maximum(counts, 1)[:, None]).sum(axis=0)
    return means, np.where(used, np.diag(shared) - means, 0.0) - as_partner


def _p_repaired(shared: Ints, partners: Bools, draws: int, rng: np.random.Generator) -> float | None:
    """p of the total over facts with enough partners against re-pairings, each fact with one partner of its own.

    All re-pairings where there are at most `draws`, else as many random ones.
    """
    rows = np.flatnonzero(partners.sum(axis=1) >= FEWEST_PARTNERS)
    if not len(rows):
        return None
    choices = [shared[row, partners[row]] for row in rows]
    if sum(np.log(len(one)) for one in choices) <= np.log(draws):
        totals = np.zeros(1, dtype=np.int64)
        for one in choices:
            totals = np.add.outer(totals, one).ravel()
    else:
        totals = np.sum([one[rng.integers(0, len(one), draws)] for one in choices], axis=0)
    matched = shared[rows, rows].sum()
    return float((1 + (totals >= matched).sum()) / (1 + len(totals)))


def mismatch(
    shared: Ints, eligible: Bools, subject: Ints, *, limit: int = PARTNERS, draws: int = DRAWS, seed: int = 0
) -> Mismatched:
    """Compare the diagonal of `shared` (F, F) with its eligible entries."""
    rng = np.random.default_rng(seed)
    partners = _choose_partners(eligible, limit, rng)
    counts = partners.sum(axis=1).astype(np.int64)
    matched = np.diag(shared)
    at_least = ((shared >= matched[:, None]) & partners).sum(axis=1)
    means, effects = _effects(shared.astype(np.float64), partners)
    used = counts > 0
    mean = tuple(float(m) if u else None for m, u in zip(means, used, strict=True))
    p = tuple(float((1 + a) / (1 + c)) if c else None for a, c in zip(at_least, counts, strict=True))
    # a fact without a partner of its own may still be one for others: it keeps its part, but is not counted
    columns = np.stack([effects, used.astype(np.float64)], axis=1)
    touched = used | partners.any(axis=0)
    if not used.any():
        return Mismatched(counts, mean, p, UNKNOWN, None)
    statistic = Statistic(cluster_sums(columns[touched], subject[touched]), ratio, draws, seed)
    overall = _p_repaired(shared, partners, limit, rng)
    return Mismatched(counts, mean, p, statistic.interval(), overall, statistic.n_clusters)


def _verdict(
    observed: int,
    p_uniform: float,
    p: tuple[float | None, float | None, float | None],
    partners: tuple[int, int],
    alpha: float,
) -> Verdict:
    """`p` against (a), (b) and (c); `partners` of (a) and (c). Above every partner, but too few to tell: undecided."""
    p_answer, p_relation, p_same = p
    if observed == 0:
        return "empty"
    if p_uniform > alpha:
        return "chance"
    if _cannot_tell(p_answer, partners[0], alpha):
        return "undecided"
    if p_answer is not None and p_answer > alpha:
        if p_relation is None:
            return "undecided"
        return "relation" if p_relation <= alpha else "generic"
    if _cannot_tell(p_same, partners[1], alpha):
        return "undecided"
    return "own" if p_same is not None and p_same <= alpha else "of the answer"


def _cannot_tell(p: float | None, partners: int, alpha: float) -> bool:
    return p is None or (p > alpha and p == 1 / (1 + partners))


def overlap(
    sets: NeuronSets, keys: FactKeys, *, limit: int = PARTNERS, draws: int = DRAWS, seed: int = 0, alpha: float = ALPHA
) -> Overlap:
    """What the languages of `sets` share, against uniform chance and against mismatched facts.

    The first language is the one whose set stays in place when facts are mismatched. `keys` describes the same facts.
    Verdicts: `own` above (a) and (c), the only one that may be called language-independent neurons of this fact; `of the
    answer` above (a), not above (c); `relation` above (b) but not (a); `generic` above chance only; `chance`; `empty`;
    `undecided` where no partner of (a), or of (c), shares as much, but there are none or too few of them for p ≤ alpha, and where
    facts are not above (a) and there is no other relation for (b).
    """
    facts = np.flatnonzero(sets.present.all(axis=1)).astype(np.int64)
    sets, keys = sets.select(facts), keys.select(facts)
    uniform = uniform_chance(sets)
    shared = shared_with(sets)
    a, b, c = (mismatch(shared, one, keys.subject, limit=limit, draws=draws, seed=seed) for one in keys.eligible())
    verdicts = tuple(
        _verdict(
            int(uniform.observed[i]),
            float(uniform.p[i]),
            (a.p[i], b.p[i], c.p[i]),
            (a.partners[i], c.partners[i]),
            alpha,
        )
        for i in range(len(facts))
    )
    return Overlap(facts, sets.sizes(), uniform, benjamini_hochberg(uniform.p), a, b, c, verdicts)


def share_tokens(answers: Sequence[Collection[str]]) -> bool:
    """Whether any two languages' answers have a token in common (cognates make sharing neurons trivial).

    `answers` holds one collection of tokens a language. Tokens of a single punctuation or space mark do not count.
    """
    plain = [{token for token in tokens if any(sign.isalnum() for sign in without_blanks(token))} for tokens in answers]
    return any(not plain[i].isdisjoint(plain[j]) for i in range(len(plain)) for j in range(i))
