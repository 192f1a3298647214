"""How well a method ranks neurons against measured truth, and the rule by which the default method is chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from knscope.analysis.attribution.method import MethodConfig, parse_method
from knscope.analysis.statistics.bootstrap import DRAWS, Interval, mean_of
from knscope.analysis.types import Floats

DEFAULT = "amig"
COMPARED = (
    "amig", "amig+last_word=drop", "amig-paper", "amig-code", "bkn", "bkn-eleuther", "bkn+target=logprob",
    "attribution_patching", "attribution_patching+baseline=resample", "logprob_increase", "grad_x_act", "activation",
    "random",
)  # fmt: skip
"""What is held against truth unless other methods are named."""
FEWEST = 20
"""Subjects that must report before a method is called better than the default."""
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
    """What the primary metric says of the methods. The default keeps its name; `better` is put before it where one is, paired.

    `chosen_on` are means on the choosing half, `reported` intervals on the other half, `versus` there the paired difference of
    each method to the default. `best` is the best candidate of the choosing half beside the default. Controls are listed but
    are no candidates; methods that differ in their quadrature alone are one, by the best of them.
    """

    default: str
    best: str | None
    better: str | None
    ranking: tuple[str, ...]
    chosen_on: Mapping[str, float]
    reported: Mapping[str, Interval]
    versus: Mapping[str, Interval]
    subjects: int
    """Of the reporting half."""


def choose(
    areas: Mapping[str, npt.ArrayLike],
    subject: Sequence[str],
    *,
    default: str = DEFAULT,
    controls: Collection[str] = CONTROLS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Choice:
    """Rank methods by the primary metric, (F,) a method, facts averaged over ablations, models and languages (METHOD §8).

    Half of the subjects rank the methods; the other half reports. The best candidate is better than the default where the
    interval of their paired difference lies above 0 and at least FEWEST subjects report.
    """
    labels = np.asarray(subject, dtype=np.str_)
    choosing = np.isin(labels, sorted(halves(subject, seed)))
    table = {name: np.asarray(values, dtype=np.float64) for name, values in areas.items()}
    if not choosing.any():
        return Choice(default, None, None, (), {}, {}, {}, 0)
    means = {name: float(values[choosing].mean()) for name, values in table.items()}
    ranking = tuple(sorted(means, key=lambda name: (-means[name], name)))
    report = labels[~choosing]
    found = {name: mean_of(values[~choosing], report, draws=draws, seed=seed) for name, values in table.items()}
    reported = {name: one.interval() for name, one in found.items()}
    own = candidate(default)
    best = next((name for name in ranking if name not in controls and candidate(name) != own), None)
    versus = {}
    if default in found:
        versus = {name: one.minus(found[default]).interval() for name, one in found.items() if name != default}
    subjects = len(set(report.tolist()))
    low = versus[best].low if best in versus else None
    better = best if low is not None and low > 0 and subjects >= FEWEST else None
    return Choice(default, best, better, ranking, means, reported, versus, subjects)


def candidate(method: str) -> str:
    """What methods that differ in their quadrature alone have in common."""
    return replace(parse_method(method), rule="right", nodes=1, tolerance=MethodConfig.tolerance).label
