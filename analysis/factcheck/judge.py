"""Judge claims by a score: precision, recall, F1, accuracy and AUROC, with intervals over subjects.

Every contender is judged on the same claims of the test part, with a threshold that is fixed or comes from the middle
part. A claim is judged true when its score is above the threshold, strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from knscope.analysis.factcheck.auroc import area
from knscope.analysis.statistics.bootstrap import ENOUGH, TOO_FEW, UNKNOWN, Interval
from knscope.analysis.statistics.score import share_interval
from knscope.analysis.types import Bools, Floats, Ints

DKN_SHARE = 0.7


def frequent_neurons(
    counts: npt.ArrayLike, share: float = DKN_SHARE, *, of: Literal["most", "facts"] = "most", n_facts: int = 0
) -> Bools:
    """Which neurons of a relation and language are kept: in 𝒟 of more than `share` of the most frequent one's facts.

    `counts` (J,): facts of the first part in whose degenerate pairs the neuron is. With `of="facts"` the share is of all
    `n_facts`. A neuron in no pair is never kept.
    """
    found = np.asarray(counts, dtype=np.int64)
    if found.size == 0:
        return np.zeros(0, dtype=np.bool_)
    whole = float(found.max()) if of == "most" else float(n_facts)
    return (found > share * whole + 1e-9) & (found > 0)  # 0.7 * 90 is a little less than 63 in binary


@dataclass(frozen=True)
class NeuronRows:
    """Values of neurons on claims, one row each: claim index, group (relation and language code), neuron, value."""

    claim: Ints
    group: Ints
    neuron: Ints
    value: Floats


def mean_score(
    rows: NeuronRows, members: Mapping[int, npt.ArrayLike], n_claims: int, standardise_on: Bools | None = None
) -> Floats:
    """Mean value over a claim's member neurons, (n_claims,), NaN for a claim whose group has none.

    `members` maps a group to its neurons. `standardise_on` (n_claims,) marks the claims (of the middle part) whose mean
    and deviation each neuron is standardised by; a neuron that is constant there counts as 0 everywhere.
    """
    keep = np.zeros(len(rows.claim), dtype=np.bool_)
    for group, neurons in members.items():
        keep |= (rows.group == group) & np.isin(rows.neuron, np.asarray(neurons, dtype=np.int64))
    claim, value = rows.claim[keep], rows.value[keep].astype(np.float64)
    if standardise_on is not None and len(claim):
        pairs = np.stack([rows.group[keep], rows.neuron[keep]])
        _, unit = np.unique(pairs, axis=1, return_inverse=True)
        value = _standardised(value, unit.ravel(), standardise_on[claim])
    count = np.bincount(claim, minlength=n_claims)
    total = np.bincount(claim, weights=value, minlength=n_claims)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _standardised(value: Floats, unit: Ints, reference: Bools) -> Floats:
    n_units = int(unit.max()) + 1
    count = np.bincount(unit[reference], minlength=n_units)
    mean = np.bincount(unit[reference], weights=value[reference], minlength=n_units) / np.maximum(count, 1)
    centred = value - mean[unit]
    spread = np.bincount(unit[reference], weights=centred[reference] ** 2, minlength=n_units) / np.maximum(count, 1)
    scale = np.sqrt(spread)[unit]
    result: Floats = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    return result


def best_threshold(scores: npt.ArrayLike, correct: npt.ArrayLike) -> float | None:
    """The threshold of highest balanced accuracy, halfway between two scores; ties go to the lowest. None without both kinds."""
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if right.all() or not right.any():
        return None
    levels = np.unique(values)
    cuts = np.concatenate([[levels[0] - 1.0], (levels[1:] + levels[:-1]) / 2])
    true_positive = (right.sum() - np.searchsorted(np.sort(values[right]), cuts, side="right")) / right.sum()
    true_negative = np.searchsorted(np.sort(values[~right]), cuts, side="right") / (~right).sum()
    return float(cuts[int(np.argmax(true_positive + true_negative))])


@dataclass(frozen=True)
class Claims:
    """What is judged: `subject` codes (C,), `correct` (C,), masks of the middle and the test part, and `fact` codes (C,).

    Without `fact` nothing is said of the right and the wrong claim of one fact.
    """

    subject: Ints
    correct: Bools
    threshold: Bools
    test: Bools
    fact: Ints | None = None


@dataclass(frozen=True)
class Contender:
    """A score per claim (NaN: cannot be judged) and its threshold; None takes the middle part's best."""

    scores: Floats
    lam: float | None = None


@dataclass(frozen=True)
class Judgement:
    """One contender on the test claims that all contenders could judge. Undefined figures have estimate None."""

    lam: float | None
    precision: Interval
    recall: Interval
    f1: Interval
    accuracy: Interval
    auroc: Interval
    auroc_over_probability: Interval
    paired: Interval
    """Share of facts whose right claim scores above their wrong one, ties one half: relations of other scales do not mix."""


@dataclass(frozen=True)
class Verdicts:
    """All contenders side by side; `coverage` is the share of test claims that could be judged, `n` their number.

    With fewer than ten `subjects` no figure has an interval.
    """

    n: int
    subjects: int
    coverage: float | None
    judgements: Mapping[str, Judgement]


def always_true(n_claims: int) -> Contender:
    return Contender(np.ones(n_claims), 0.0)


def is_argmax(flags: npt.ArrayLike) -> Contender:
    """The model's own answer as judge (the paper's row without degenerate neurons)."""
    return Contender(np.asarray(flags, dtype=np.float64), 0.5)


def judge(claims: Claims, contenders: Mapping[str, Contender], *, reference: str = "probability") -> Verdicts:
    """Judge every contender on the same test claims; intervals are over subjects.

    `auroc_over_probability` is the paired difference of AUROC to the contender named `reference`, unknown if absent.
    """
    usable = np.ones(len(claims.correct), dtype=np.bool_)
    for contender in contenders.values():
        usable &= np.isfinite(contender.scores)
    test = usable & claims.test
    n_test = int(claims.test.sum())
    coverage = float(test.sum() / n_test) if n_test else None
    subject, correct = claims.subject[test], claims.correct[test]
    fact = None if claims.fact is None else claims.fact[test]
    n_subjects = len(np.unique(subject))
    areas = {name: area(one.scores[test], correct, subject) for name, one in contenders.items()}
    middle = usable & claims.threshold
    found = {}
    for name, contender in contenders.items():
        lam = contender.lam
        if lam is None:
            lam = best_threshold(contender.scores[middle], claims.correct[middle])
        over = areas[name].minus(areas[reference]) if reference in areas and name != reference else UNKNOWN
        paired = UNKNOWN if fact is None else _paired(contender.scores[test], correct, subject, fact)
        figures = [*_counts(contender.scores[test], correct, subject, lam), areas[name].interval, over, paired]
        if n_subjects < ENOUGH:
            figures = [one if one.estimate is None else Interval(one.estimate, None, None, TOO_FEW) for one in figures]
        found[name] = Judgement(lam, *figures)
    return Verdicts(int(test.sum()), n_subjects, coverage, found)


def _paired(scores: Floats, correct: Bools, subject: Ints, fact: Ints) -> Interval:
    """How often a fact's right claim is above its wrong one, over facts that have one of each."""
    won, clusters = [], []
    for one in np.unique(fact):
        right, wrong = (scores[(fact == one) & kind] for kind in (correct, ~correct))
        if len(right) and len(wrong):
            above = right[:, None] - wrong
            won.append(float(((above > 0) + 0.5 * (above == 0)).mean()))
            clusters.append(int(subject[fact == one][0]))
    return share_interval(won, np.ones(len(won)), clusters)


def _counts(
    scores: Floats, correct: Bools, subject: Ints, lam: float | None
) -> tuple[Interval, Interval, Interval, Interval]:
    """Precision, recall, F1 and accuracy; unknown without a threshold or without claims."""
    if lam is None or len(scores) == 0:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    yes = scores > lam
    tp, fp, fn, tn = (
        one.astype(np.float64) for one in (yes & correct, yes & ~correct, ~yes & correct, ~yes & ~correct)
    )
    return (
        share_interval(tp, tp + fp, subject),
        share_interval(tp, tp + fn, subject),
        share_interval(2 * tp, 2 * tp + fp + fn, subject),
        share_interval(tp + tn, tp + fp + fn + tn, subject),
    )
