"""How well an edit does its work: eq. 11 as written, and the two figures it is judged by.

Δ is the change of p(answer) under an edit, for the fact whose neurons are edited (relevant) and for irrelevant facts.
Eq. 11 divides |mean Δ relevant| by |mean Δ irrelevant|: irrelevant changes of both signs cancel in that mean, so it
grows with the number of facts even where an edit does nothing specific. `specific` divides by mean |Δ irrelevant| and
keeps the sign, `d` is a difference in log p and needs no ratio. Intervals resample subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from knscope.analysis.types import Bools, Floats

Delta = Literal["absolute", "relative", "ratio"]
Exclude = Literal["none", "known", "caps"]
Direction = Literal["suppress", "enhance"]

P_FLOOR = 1e-12  # a probability below counts as this much in log p, so that one lost answer cannot be the whole mean
_CAPS: Mapping[Direction, float] = {"suppress": 20.0, "enhance": 250.0}  # relative changes, +2,000 % and +25,000 %


@dataclass(frozen=True)
class Changes:
    """One direction on F facts. `before`, `after` (F,) of the fact itself; `irrelevant_*` (F, k), NaN where missing.

    Probabilities may be p or p^(1/T), the same throughout. A direction other than `enhance` intends p to fall.
    """

    direction: Direction
    before: Floats
    after: Floats
    irrelevant_before: Floats
    irrelevant_after: Floats
    irrelevant_known: Bools | bool = True
    """(F, k): whether the model knows the irrelevant fact."""

    @property
    def sign(self) -> float:
        return 1.0 if self.direction == "enhance" else -1.0


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

    Keys of `figures`: each name, and name + "_suppress" / "_enhance" for one direction alone. `reason` says why figures
    are missing. `draws` are the resamples, so that two choices on the same facts can be compared in pairs.
    """

    n_facts: int
    n_used: int
    figures: Mapping[str, Interval]
    draws: Mapping[str, Replicates]
    subjects: tuple[object, ...]
    seed: int
    reason: str | None = None

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
    weights = resample_weights(len(sums[0]), draws, seed) if len(sums[0]) > 1 else None
    single: dict[str, list[Replicates]] = {"sr": [], "specific": [], "d": []}
    figures: dict[str, Interval] = {}
    found: dict[str, Replicates] = {}
    open_ended = {"sr": False, "specific": False, "d": False}
    for one, table in zip(changes, sums, strict=True):
        for name, value, denominator in _statistics(one.sign, delta):
            ratio = replicate(table, value, weights=weights)
            loose = denominator is not None and _reaches_zero(table, denominator, weights)
            open_ended[name] |= loose
            single[name].append(ratio)
            key = f"{name}_{one.direction}"
            found[key], figures[key] = ratio, _interval(ratio, loose)
    for name, parts_of in single.items():
        found[name] = _total(parts_of, mean=name == "d")
        figures[name] = _interval(found[name], open_ended[name])
    return SuccessRate(len(labels), n_used, figures, found, subjects, seed)


def difference(one: SuccessRate, other: SuccessRate, figure: str) -> Interval:
    """Interval of the paired difference one − other of a figure; both on the same facts, in order, with one seed."""
    if one.subjects != other.subjects or one.seed != other.seed:
        raise ValueError("a paired difference needs the same facts and the same seed on both sides")
    if figure not in one.draws or figure not in other.draws:
        return UNKNOWN
    loose = one.figures[figure].unbounded or other.figures[figure].unbounded
    return _interval(one.draws[figure].minus(other.draws[figure]), loose)


Statistic = Callable[[Floats], Floats]


def _statistics(sign: float, delta: Delta) -> tuple[tuple[str, Statistic, Statistic | None], ...]:
    """(name, value, denominator) as functions of the column sums."""
    rel_n, irr_n = (_REL_BASE, _IRR_BASE) if delta == "ratio" else (_REL_N, _IRR_N)

    def irrelevant(s: Floats) -> Floats:
        return s[..., _IRR] / s[..., irr_n]

    def magnitude(s: Floats) -> Floats:
        return s[..., _ABS] / s[..., irr_n]

    return (
        ("sr", lambda s: np.abs(s[..., _REL] / s[..., rel_n]) / np.abs(irrelevant(s)), irrelevant),
        ("specific", lambda s: sign * s[..., _REL] / s[..., rel_n] / magnitude(s), magnitude),
        ("d", lambda s: s[..., _D] / s[..., _D_N], None),
    )


def _reaches_zero(table: Floats, denominator: Statistic, weights: Floats | None) -> bool:
    return weights is not None and replicate(table, denominator, weights=weights).interval().contains_zero


def _interval(replicates: Replicates, unbounded: bool) -> Interval:
    return Interval(replicates.estimate, None, None, True) if unbounded else replicates.interval()


def _total(parts: Sequence[Replicates], mean: bool) -> Replicates:
    scale = 1 / len(parts) if mean else 1.0
    estimates = [part.estimate for part in parts if part.estimate is not None]
    estimate = sum(estimates) * scale if len(estimates) == len(parts) else None
    return Replicates(estimate, np.sum([part.draws for part in parts], axis=0) * scale)
