"""Degenerate sets of any size (eq. 9-10): screened from single and pair ablations, judged from what is ablated. Knows no torch.

A set is degenerate when every proper subset drops p by at most T_low and the whole by more than T_high. That is closed
downwards, so candidates of size v are sets all of whose subsets of size v - 1 are low. A candidate of three or more is ablated
when singles and pairs predict that it drops p enough: logit p(∖S) ≈ logit p + Σ s_i + Σ I_ij with s_i = logit p(∖i) - logit p and
I_ij = logit p(∖ij) - logit p(∖i) - logit p(∖j) + logit p, which leaves out interactions of three and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from knscope.analysis.types import Bools, Floats, Ints
from knscope.store.errors import UserError

LARGEST = 6
"""Neurons of a set at most: of 20 scanned ones 38,760 sets have six."""
MARGIN = 0.03
"""How far below T_high a predicted drop may be and its set is ablated all the same (METHOD §5: errors up to .026)."""
CERTAIN = 1e-5, 1e-30
"""Nearer to 1, or to 0, a float32 cannot tell a probability's logit."""


def check_size(size: int) -> None:
    """:raises UserError: for a size that is not looked at"""
    if not 3 <= size <= LARGEST:
        raise UserError(f"--size {size}: write a number from 3 to {LARGEST}")


@dataclass(frozen=True)
class Ablated:
    """One scan: p before, p without each neuron (n,) and without each two (n, n); NaN for pairs that are no part of a candidate.

    `relative`: drops are shares of p.
    """

    p: float
    single: Floats
    pair: Floats
    relative: bool = True

    @property
    def n(self) -> int:
        return len(self.single)

    def drop(self, after: npt.ArrayLike) -> Floats:
        """NaN where p is 0 and the drop relative to it."""
        change = self.p - np.asarray(after, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return change / self.p if self.relative else change

    def predicted(self, sets: Ints) -> Floats:
        """Drop of each set (S, v) of positions, from its singles and pairs."""
        base = _logit(self.p)
        alone = _logit(self.single) - base
        both = _logit(self.pair) - alone[:, None] - alone[None, :] - base
        total = base + alone[sets].sum(axis=1)
        for a, b in combinations(range(sets.shape[1]), 2):
            total += both[sets[:, a], sets[:, b]]
        return self.drop(1 / (1 + np.exp(-total)))


@dataclass(frozen=True)
class Screened:
    """Candidates (C, v) of one size, positions in rising order, with their predicted drops (C,) and which are flagged."""

    sets: Ints
    predicted: Floats
    flagged: Bools


def screen(scan: Ablated, size: int, t_low: float, t_high: float, margin: float = MARGIN) -> list[Screened]:
    """Candidates of 3 to `size` neurons and which of them are to be ablated. For more than three, subsets that are not
    ablated yet count as low when they are predicted so, with the margin."""
    low = scan.drop(scan.single) <= t_low
    edges = (scan.drop(scan.pair) <= t_low) & low[:, None] & low[None, :]
    np.fill_diagonal(edges, False)
    kept = np.argwhere(np.triu(edges)).astype(np.int64)
    found = []
    for _ in range(3, size + 1):
        sets = _extended(kept, edges)
        predicted = scan.predicted(sets)
        found.append(Screened(sets, predicted, predicted > t_high - margin))
        kept = sets[predicted <= t_low + margin]
    return found


def _extended(kept: Ints, edges: Bools) -> Ints:
    """Sets of one more, all of whose subsets of the size of `kept` are in it."""
    size = kept.shape[1] + 1
    if not len(kept):
        return np.empty((0, size), np.int64)
    common = edges[kept].all(axis=1) & (np.arange(len(edges)) > kept[:, -1:])
    row, new = np.nonzero(common)
    sets = np.concatenate([kept[row], new[:, None]], axis=1)
    known, masks = np.sort(masks_of(kept)), masks_of(sets)
    whole = np.ones(len(sets), np.bool_)
    for column in range(size - 1):  # without the new one it is the set that it was made of
        part = masks - (np.int64(1) << sets[:, column])
        whole &= known[np.minimum(np.searchsorted(known, part), len(known) - 1)] == part
    return sets[whole]


def masks_of(sets: Ints) -> Ints:
    """(S,) a number for each set (S, v) of positions below 63: a bit for each member."""
    found: Ints = (np.int64(1) << sets).sum(axis=1)
    return found


def subsets(members: tuple[int, ...], least: int = 1) -> Iterator[tuple[int, ...]]:
    """The proper subsets with at least so many members."""
    for size in range(least, len(members)):
        yield from combinations(members, size)


@dataclass(frozen=True)
class Judged:
    """One ablated set: whether it is degenerate, and its interaction of its own order in logits, NaN where it is unknown."""

    degenerate: bool
    interaction: float


def judge(
    scan: Ablated, members: tuple[int, ...], after: Mapping[tuple[int, ...], float], t_low: float, t_high: float
) -> Judged | None:
    """Eq. 9 of one set, from p `after` the ablation of it and of its subsets of three and more; None where one is missing.

    The interaction is Σ_{T ⊆ S} (-1)^{|S| - |T|} logit p(∖T): what is left over when all smaller sets are accounted for.
    """
    values: dict[tuple[int, ...], float] = {(): scan.p}
    for part in (*subsets(members), members):
        if len(part) < 3:
            values[part] = float(scan.single[part] if len(part) == 1 else scan.pair[part])
        elif part in after:
            values[part] = after[part]
        else:
            return None
    low = all(scan.drop(values[part]) <= t_low for part in subsets(members))
    interaction = sum((-1) ** (len(members) - len(part)) * log_odds(p) for part, p in values.items())
    return Judged(bool(low and scan.drop(values[members]) > t_high), float(interaction))


def log_odds(p: float) -> float:
    """logit p; NaN where p is too near to 0 or 1 to tell, as macro log_odds has it."""
    return float(np.log(p) - np.log1p(-p)) if CERTAIN[1] <= p <= 1 - CERTAIN[0] else float("nan")


def _logit(p: npt.ArrayLike) -> Floats:
    """For predictions only: what is nearer to certainty counts as that near."""
    bounded = np.clip(np.asarray(p, dtype=np.float64), CERTAIN[1], 1 - 1e-12)
    found: Floats = np.log(bounded) - np.log1p(-bounded)
    return found
