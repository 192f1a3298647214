"""How well a method ranks neurons against measured truth, and the rule by which the default method is chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, Interval, mean_of
from knscope.analysis.types import Floats

DEFAULT = "amig"
COMPARED = (
    "amig",
    "amig+last_word=drop",
    "amig-paper",
    "amig-code",
    "bkn",
    "bkn-eleuther",
    "grad_x_act",
    "activation",
    "random",
)
"""What is held against truth unless other methods are named."""
CONTROLS = ("grad_x_act", "activation", "random", "ablation")


def area(curve: npt.ArrayLike) -> float:
    """Mean distance of a curve's later points from its first, in its own unit; 0 for a single point.

    For a deletion curve in log p the mean drop over the neurons deleted is −area.
    """
    values = np.asarray(curve, dtype=np.float64)
    return float(np.mean(values[1:] - values[0])) if len(values) > 1 else 0.0


def specific_area(relevant: npt.ArrayLike, irrelevant: Sequence[npt.ArrayLike]) -> float | None:
    """The primary metric: mean drop of log p of the fact itself, less that of its irrelevant facts. Higher is better.

    All curves delete the same neurons in the same order. None without irrelevant facts.
    """
    if not irrelevant:
        return None
    return float(np.mean([area(curve) for curve in irrelevant]) - area(relevant))


def ranks(values: npt.ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their mean rank."""
    _, index, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Floats = (last - (counts - 1) / 2)[index]
    return mean


def spearman(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float | None:
    """Rank correlation; None with fewer than three neurons or where one side is constant."""
    a, b = ranks(scores), ranks(truth)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


@dataclass(frozen=True)
class Agreement:
    """One method on one query: Spearman over the `n` neurons whose truth is above the noise, and top-k overlap.

    `overlap` is the share of the truth's top k that is in the method's; two random rankings reach `chance`.
    """

    n: int
    spearman: float | None
    k: int
    overlap: float | None
    chance: float | None


def agreement(scores: npt.ArrayLike, truth: npt.ArrayLike, noise: float, k: int = 20) -> Agreement:
    """Compare dense scores with dense true effects, (n_neurons,) each."""
    a, b = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    above = np.abs(b) > noise
    k = min(k, len(a))
    if k == 0:
        return Agreement(0, None, 0, None, None)
    best, true = (set(np.argsort(-one, kind="stable")[:k].tolist()) for one in (a, b))
    return Agreement(int(above.sum()), spearman(a[above], b[above]), k, len(best & true) / k, k / len(a))


def halves(subjects: Collection[str], seed: int = 0) -> set[str]:
    """The subjects whose facts choose; the others' facts report."""
    ordered = sorted(set(subjects))
    order = np.random.default_rng(seed).permutation(len(ordered))
    return {ordered[i] for i in order[: len(ordered) // 2]}


@dataclass(frozen=True)
class Choice:
    """Which method the primary metric picks. `chosen` is the default to use; `winner` is None where there is none.

    `chosen_on` are means on the choosing half, `reported` intervals on the other half, `lead` the paired difference of
    the best candidate to the second there. Controls are listed but cannot be chosen.
    """

    chosen: str
    winner: str | None
    ranking: tuple[str, ...]
    chosen_on: Mapping[str, float]
    reported: Mapping[str, Interval]
    lead: Interval


def choose(
    areas: Mapping[str, npt.ArrayLike],
    subject: Sequence[str],
    *,
    default: str = DEFAULT,
    controls: Collection[str] = CONTROLS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Choice:
    """Rank methods by the primary metric, (F,) a method, facts averaged over ablations, models and languages.

    Half of the subjects rank the methods; the other half gives the intervals. Where those of the best two candidates
    overlap, or only one half has facts, there is no winner and the default stays.
    """
    labels = np.asarray(subject, dtype=np.str_)
    choosing = np.isin(labels, sorted(halves(subject, seed)))
    table = {name: np.asarray(values, dtype=np.float64) for name, values in areas.items()}
    if not choosing.any():
        return Choice(default, None, (), {}, {}, UNKNOWN)
    means = {name: float(values[choosing].mean()) for name, values in table.items()}
    ranking = tuple(sorted(means, key=lambda name: (-means[name], name)))
    candidates = [name for name in ranking if name not in controls]
    report = labels[~choosing]
    found = {name: mean_of(values[~choosing], report, draws=draws, seed=seed) for name, values in table.items()}
    reported = {name: one.interval() for name, one in found.items()}
    if len(candidates) < 2:
        return Choice(default, None, ranking, means, reported, UNKNOWN)
    best, second = candidates[:2]
    lead = found[best].minus(found[second]).interval()
    low, high = reported[best].low, reported[second].high
    winner = best if low is not None and high is not None and low > high else None
    return Choice(winner or default, winner, ranking, means, reported, lead)
