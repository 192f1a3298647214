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

from knscope.analysis.statistics.bootstrap import (
    DRAWS,
    UNKNOWN,
    Interval,
    Replicates,
    cluster_sums,
    replicate,
    resample_weights,
)
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
    """What is judged: `subject` codes (C,), `correct` (C,), and masks of the middle and the test part."""

    subject: Ints
    correct: Bools
    threshold: Bools
    test: Bools


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


@dataclass(frozen=True)
class Verdicts:
    """All contenders side by side; `coverage` is the share of test claims that could be judged, `n` their number."""

    n: int
    coverage: float | None
    judgements: Mapping[str, Judgement]


def always_true(n_claims: int) -> Contender:
    return Contender(np.ones(n_claims), 0.0)


def is_argmax(flags: npt.ArrayLike) -> Contender:
    """The model's own answer as judge (the paper's row without degenerate neurons)."""
    return Contender(np.asarray(flags, dtype=np.float64), 0.5)


def judge(
    claims: Claims,
    contenders: Mapping[str, Contender],
    *,
    reference: str = "probability",
    draws: int = DRAWS,
    seed: int = 0,
) -> Verdicts:
    """Judge every contender on the same test claims, subjects resampled together.

    `auroc_over_probability` is the paired difference of AUROC to the contender named `reference`, unknown if absent.
    """
    usable = np.ones(len(claims.correct), dtype=np.bool_)
    for contender in contenders.values():
        usable &= np.isfinite(contender.scores)
    test = usable & claims.test
    n_test = int(claims.test.sum())
    coverage = float(test.sum() / n_test) if n_test else None
    subject, correct = claims.subject[test], claims.correct[test]
    names = np.unique(subject)
    weights = resample_weights(len(names), draws, seed) if len(names) > 1 else None
    areas = {name: _auroc(one.scores[test], correct, subject, weights) for name, one in contenders.items()}
    middle = usable & claims.threshold
    found = {}
    for name, contender in contenders.items():
        lam = contender.lam
        if lam is None:
            lam = best_threshold(contender.scores[middle], claims.correct[middle])
        figures = _counts(contender.scores[test], correct, subject, lam, weights)
        over = areas[name].minus(areas[reference]).interval() if reference in areas else UNKNOWN
        found[name] = Judgement(lam, *figures, areas[name].interval(), over)
    return Verdicts(int(test.sum()), coverage, found)


def _counts(
    scores: Floats, correct: Bools, subject: Ints, lam: float | None, weights: Floats | None
) -> tuple[Interval, Interval, Interval, Interval]:
    """Precision, recall, F1 and accuracy; unknown without a threshold or without claims."""
    if lam is None or len(scores) == 0:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    yes = scores > lam
    columns = np.stack([yes & correct, yes & ~correct, ~yes & correct, ~yes & ~correct], axis=1)
    sums = cluster_sums(columns, subject)
    tp, fp, fn, tn = 0, 1, 2, 3

    def figure(top: tuple[int, ...], bottom: tuple[int, ...]) -> Interval:
        def value(s: Floats) -> Floats:
            share: Floats = s[..., list(top)].sum(axis=-1) / s[..., list(bottom)].sum(axis=-1)
            return share

        return replicate(sums, value, weights=weights).interval()

    return (
        figure((tp,), (tp, fp)),
        figure((tp,), (tp, fn)),
        figure((tp, tp), (tp, tp, fp, fn)),
        figure((tp, tn), (tp, fp, fn, tn)),
    )


def _auroc(scores: Floats, correct: Bools, subject: Ints, weights: Floats | None) -> Replicates:
    """Area under the ROC curve, ties one half, from wins counted between every two subjects."""
    if len(scores) == 0:
        return Replicates(None, np.empty(0))
    _, index = np.unique(subject, return_inverse=True)
    n = int(index.max()) + 1
    wins = _wins(scores, correct, index, n)
    positives = np.bincount(index[correct], minlength=n).astype(np.float64)
    negatives = np.bincount(index[~correct], minlength=n).astype(np.float64)

    def area(w: Floats) -> Floats:
        result: Floats = ((w @ wins) * w).sum(axis=-1) / ((w @ positives) * (w @ negatives))
        return result

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(area(np.ones(n)))
        estimate = value if np.isfinite(value) else None
        return Replicates(estimate, np.empty(0) if weights is None else area(weights))


@dataclass(frozen=True)
class Curve:
    """An ROC curve: shares of wrong and of right claims judged true, (n,) each, both rising from 0 to 1."""

    wrong: Floats
    right: Floats


def roc(scores: npt.ArrayLike, correct: npt.ArrayLike) -> Curve:
    """The ROC curve of scores, a point at every distinct score; claims of one score are taken together.

    Its area by trapezoids is the AUROC, ties one half. Empty without both kinds of claims.
    """
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if right.all() or not right.any():
        return Curve(np.empty(0), np.empty(0))
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    hits, misses = np.cumsum(right[order])[last], np.cumsum(~right[order])[last]
    return Curve(np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1]))


def _wins(scores: Floats, correct: Bools, index: Ints, n: int) -> Floats:
    """(n, n): how often a right claim of one subject scores above a wrong claim of another, ties one half."""
    wins = np.zeros((n, n))
    wrong_scores, wrong_subject = scores[~correct], index[~correct]
    right_scores, right_subject = scores[correct], index[correct]
    member = (wrong_subject[:, None] == np.arange(n)).astype(np.float64)
    for start in range(0, len(right_scores), 512):
        block = right_scores[start : start + 512, None]
        above = (block > wrong_scores) + 0.5 * (block == wrong_scores)
        np.add.at(wins, right_subject[start : start + 512], above @ member)
    return wins
