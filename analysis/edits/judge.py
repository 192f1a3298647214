"""How well an edit does its work: eq. 11 as written, and the two figures it is judged by.

Δ is the change of p(answer) under an edit, for the fact whose neurons are edited (relevant) and for irrelevant facts.
Eq. 11 divides |mean Δ relevant| by |mean Δ irrelevant|: irrelevant changes of both signs cancel in that mean, so it
grows with the number of facts even where an edit does nothing specific. `specific` divides by mean |Δ irrelevant| and
keeps the sign, `d` is a difference in log p and needs no ratio. Intervals resample subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from knscope.analysis.statistics.bootstrap import (
    DRAWS,
    FEWEST,
    UNBOUNDED,
    UNKNOWN,
    Interval,
    Statistic,
    Value,
    cluster_sums,
    combined,
    ratio,
)
from knscope.analysis.types import Bools, Floats

Delta = Literal["absolute", "relative", "ratio"]
Exclude = Literal["none", "known", "caps"]
Direction = Literal["suppress", "enhance"]

P_FLOOR = 1e-12  # a probability below counts as this much in log p, so that one lost answer cannot be the whole mean
_CAPS: Mapping[Direction, float] = {"suppress": 20.0, "enhance": 250.0}  # relative changes, +2,000 % and +25,000 %


@dataclass(frozen=True)
class Changes:
    """One direction on F facts. `before`, `after` (F,) of the fact itself; `irrelevant_*` (F, k), NaN where missing.

    Probabilities may be p or p^(1/T), the same throughout. A direction other than `enhance` intends p to fall, unless `reverse`.
    """

    direction: Direction
    before: Floats
    after: Floats
    irrelevant_before: Floats
    irrelevant_after: Floats
    irrelevant_known: Bools | bool = True
    """(F, k): whether the model knows the irrelevant fact."""
    reverse: bool = False
    """The other way is meant: neurons that push the answer down are suppressed to raise p."""

    @property
    def sign(self) -> float:
        return 1.0 if (self.direction == "enhance") != self.reverse else -1.0


# columns of a direction's sums over facts
_REL, _REL_N, _REL_BASE, _IRR, _IRR_N, _IRR_BASE, _ABS, _D, _D_N = range(9)


def _kept(changes: Changes, known: Bools, exclude: Exclude, delta: Delta) -> tuple[Floats, Floats]:
    """0/1 for what counts: facts (F,) and irrelevant readings (F, k), dropped independently as released."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relevant = (changes.after - changes.before) / changes.before
        irrelevant = (changes.irrelevant_after - changes.irrelevant_before) / changes.irrelevant_before
    keep = np.isfinite(changes.before) & np.isfinite(changes.after)
    keep_irrelevant = np.isfinite(changes.irrelevant_before) & np.isfinite(changes.irrelevant_after)
    if delta == "relative":  # what was 0 before has no relative change
        keep, keep_irrelevant = keep & (changes.before > 0), keep_irrelevant & (changes.irrelevant_before > 0)
    if exclude == "known":
        keep = keep & known
        keep_irrelevant = keep_irrelevant & changes.irrelevant_known
    if exclude == "caps":
        cap = _CAPS[changes.direction]
        keep, keep_irrelevant = keep & ~(relevant > cap), keep_irrelevant & ~(irrelevant > cap)
    return keep.astype(np.float64), keep_irrelevant.astype(np.float64)


def _columns(changes: Changes, known: Bools, exclude: Exclude, delta: Delta) -> Floats:
    """(F, 9) per-fact parts whose sums make every figure."""
    keep, keep_irrelevant = _kept(changes, known, exclude, delta)

    def change(after: Floats, before: Floats, mask: Floats) -> Floats:
        raw = np.where(mask > 0, after - before, 0.0)
        return np.where(mask > 0, raw / np.where(before > 0, before, 1.0), 0.0) if delta == "relative" else raw

    relevant = change(changes.after, changes.before, keep)
    irrelevant = change(changes.irrelevant_after, changes.irrelevant_before, keep_irrelevant)

    def log_change(after: Floats, before: Floats) -> Floats:
        bounded = [np.log(np.maximum(np.nan_to_num(p), P_FLOOR)) for p in (after, before)]
        return bounded[0] - bounded[1]

    counts = keep_irrelevant.sum(axis=1)
    both = keep * (counts > 0)
    aside = np.abs(log_change(changes.irrelevant_after, changes.irrelevant_before)) * keep_irrelevant
    d = changes.sign * log_change(changes.after, changes.before) - aside.sum(axis=1) / np.maximum(counts, 1)
    return np.stack(
        [
            relevant,
            keep,
            np.where(keep > 0, changes.before, 0.0),
            irrelevant.sum(axis=1),
            counts,
            np.where(keep_irrelevant > 0, changes.irrelevant_before, 0.0).sum(axis=1),
            np.abs(irrelevant).sum(axis=1),
            np.where(both > 0, d, 0.0),
            both,
        ],
        axis=1,
    )


@dataclass(frozen=True)
class SuccessRate:
    """Figures of one edited-set choice: `sr` is eq. 11, `specific` and `d` are what it is judged by.

    `reason` says why figures are missing. `statistics` are what the figures are intervals of, so that two choices on the
    same facts can be compared in pairs.
    """

    n_facts: int
    n_used: int
    statistics: Mapping[str, Statistic]
    denominators: Mapping[str, Sequence[Statistic]]
    """Of each figure: what it divides by, and may not be 0."""
    subjects: tuple[object, ...]
    seed: int
    reason: str | None = None

    @cached_property
    def figures(self) -> Mapping[str, Interval]:
        """Computed when first asked for: where rows are compared in pairs, the intervals of each alone are not needed."""
        return {name: _interval(one, self.unbounded(name)) for name, one in self.statistics.items()}

    def unbounded(self, figure: str) -> bool:
        return any(_reaches_zero(one) for one in self.denominators[figure])

    @property
    def sr(self) -> Interval:
        return self.figures.get("sr", UNKNOWN)

    @property
    def specific(self) -> Interval:
        return self.figures.get("specific", UNKNOWN)

    @property
    def d(self) -> Interval:
        return self.figures.get("d", UNKNOWN)


def success_rate(
    changes: Sequence[Changes],
    subject: npt.ArrayLike,
    known: npt.ArrayLike | None = None,
    *,
    delta: Delta = "absolute",
    exclude: Exclude = "none",
    draws: int = DRAWS,
    seed: int = 0,
) -> SuccessRate:
    """Judge one choice of edited sets. `changes` holds suppression, enhancement or both, on the same F facts.

    `sr` and `specific` add the directions up, `d` averages them. A ratio whose denominator's own interval reaches 0 is
    marked unbounded and has no ends; without irrelevant facts only `reason` is given.
    """
    labels = np.asarray(subject)
    flags = np.ones(len(labels), dtype=np.bool_) if known is None else np.asarray(known, dtype=np.bool_)
    subjects = tuple(labels.tolist())
    if len(labels) == 0 or not changes:
        return SuccessRate(0, 0, {}, {}, subjects, seed, "no fact")
    parts = [_columns(one, flags, exclude, delta) for one in changes]
    if any(part[:, _REL_N].sum() == 0 for part in parts):
        return SuccessRate(len(labels), 0, {}, {}, subjects, seed, "no fact is left after exclusions")
    if any(part[:, _IRR_N].sum() == 0 for part in parts):
        return SuccessRate(len(labels), 0, {}, {}, subjects, seed, "no irrelevant fact to compare with")
    n_used = int(min(part[:, _REL_N].sum() for part in parts))
    sums = [cluster_sums(part, labels) for part in parts]
    found: dict[str, Statistic] = {}
    denominators: dict[str, list[Statistic]] = {}
    for name in ("sr", "specific", "d"):
        factor = 1 / len(parts) if name == "d" else 1.0
        directions = [_figure(name, table, one.sign, delta) for one, table in zip(changes, sums, strict=True)]
        found[name] = combined(
            [Statistic(table, value, draws, seed) for table, value in directions], [factor] * len(parts)
        )
        below = [] if name == "d" else [Statistic(table[:, 2:], ratio, draws, seed) for table, _ in directions]
        denominators[name] = below
    return SuccessRate(len(labels), n_used, found, denominators, subjects, seed)


def difference(one: SuccessRate, other: SuccessRate, figure: str) -> Interval:
    """Interval of the paired difference one − other of a figure; both on the same facts, in order, with one seed."""
    if one.subjects != other.subjects or one.seed != other.seed:
        raise ValueError("a paired difference needs the same facts and the same seed on both sides")
    if figure not in one.statistics or figure not in other.statistics:
        return UNKNOWN
    loose = one.unbounded(figure) or other.unbounded(figure)
    return _interval(one.statistics[figure].minus(other.statistics[figure]), loose)


def _figure(name: str, table: Floats, sign: float, delta: Delta) -> tuple[Floats, Value]:
    """The columns that a figure of one direction is made of, and what it is of their sums."""
    rel_n, irr_n = (_REL_BASE, _IRR_BASE) if delta == "ratio" else (_REL_N, _IRR_N)
    if name == "d":
        return table[:, [_D, _D_N]], ratio
    if name == "sr":
        return table[:, [_REL, rel_n, _IRR, irr_n]], lambda s: np.abs(ratio(s) / ratio(s[..., 2:]))
    return table[:, [_REL, rel_n, _ABS, irr_n]], lambda s: sign * ratio(s) / ratio(s[..., 2:])


def _reaches_zero(denominator: Statistic) -> bool:
    """Whether a denominator may be 0. With too few subjects nobody knows, and nothing is given anyhow."""
    if denominator.n_clusters < FEWEST:
        return False
    found = denominator.interval()
    return not found.estimate or (found.low is not None and found.contains_zero)


def _interval(statistic: Statistic, unbounded: bool) -> Interval:
    return Interval(statistic.estimate, None, None, UNBOUNDED) if unbounded else statistic.interval()
