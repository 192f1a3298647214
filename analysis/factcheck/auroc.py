"""Area under the ROC curve of claims about subjects, and its curve; ties count one half, and it is never turned round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knscope.analysis.statistics.bootstrap import ALL_ALIKE, UNKNOWN, Interval
from knscope.analysis.statistics.score import area_variance, difference_of, score_interval
from knscope.analysis.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Area:
    """An AUROC; `influence` (subjects,) are the parts of its error that each subject brings (DeLong, by cluster)."""

    interval: Interval
    influence: Floats

    def minus(self, other: Area) -> Interval:
        """Interval of the difference of two areas of the same claims."""
        if self.interval.estimate is None or other.interval.estimate is None:
            return UNKNOWN
        spread = float(np.sqrt((self.influence**2).sum() * (other.influence**2).sum()))
        correlation = float(self.influence @ other.influence) / spread if spread > 0 else 0.0
        return difference_of(_exact(self.interval), _exact(other.interval), correlation)


def _exact(interval: Interval) -> Interval:
    """Scores that are all alike have their area whatever the claims."""
    at = interval.estimate
    return Interval(at, at, at) if interval.instead == ALL_ALIKE else interval


def area(scores: Floats, correct: Bools, subject: Ints) -> Area:
    """AUROC of claims (C,) with an interval over subjects, also where the two kinds are separated without an overlap.

    Scores that are all alike tell nothing apart: .5 whatever the claims, and no interval.
    """
    right, wrong = scores[correct], scores[~correct]
    names, index = np.unique(subject, return_inverse=True)
    if not len(right) or not len(wrong):
        return Area(UNKNOWN, np.zeros(len(names)))
    wins = np.empty(len(scores))
    wins[correct] = _below(right, wrong) / len(wrong)
    wins[~correct] = 1 - _below(wrong, right) / len(right)
    estimate = float(wins[correct].mean())
    weight = np.where(correct, 1 / len(right), 1 / len(wrong))
    influence: Floats = np.bincount(index, weights=weight * (wins - estimate), minlength=len(names)).astype(np.float64)
    if np.ptp(scores) == 0:
        return Area(Interval(estimate, None, None, ALL_ALIKE), influence)
    n = len(names)
    variance = float((influence**2).sum()) * n / max(n - 1, 1)
    worst = max(len(right), len(wrong)) / n
    found = score_interval(estimate, lambda a: area_variance(a, len(right), len(wrong)), n, variance, max(worst, 1.0))
    return Area(found, influence)


def _below(values: Floats, others: Floats) -> Floats:
    """How many of `others` lie below each of `values`, ties one half."""
    ordered = np.sort(others)
    found: Floats = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
    return found


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
