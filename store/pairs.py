"""Eq. 9-10 on held pairs: which are degenerate at a View's thresholds, and what is counted of them.

The macros scan_mask, degenerate, dkn_rate, dkn_layers and dkn_service say the same in SQL; tests hold one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from knscope.store.held import Bools, Doubles, Ints
from knscope.store.held_pairs import HeldPairs
from knscope.store.sets import Sets, layer_shares
from knscope.store.view import View

_AT_ONCE = 1 << 23
"""Cells of facts by pairs looked at together."""
LARGEST_MATRIX = 1 << 28
"""Cells of neurons by facts; beyond them the macros answer."""


@dataclass(frozen=True)
class Scanned:
    """Scans as a View counts them: `inside` (scans, positions) the neurons that count, `counts` (scans,) whether the scan
    counts and its own neurons have any in N, `pairs` (n,) which of the held ones are degenerate and of neurons that count."""

    held: HeldPairs
    sets: Sets
    view: View
    inside: Bools
    counts: Bools
    pairs: Ints

    @cached_property
    def strict(self) -> Bools:
        """(n,) whether they interact in logits by less than -δ; not so where that is unknown (NaN)."""
        return self.held.interaction[self.pairs] < -self.view.delta

    @cached_property
    def of_neurons(self) -> Ints:
        """Those of knowledge neurons, not of controls."""
        return self.pairs[self.held.is_kn[self.held.scan[self.pairs]]]


def scanned(held: HeldPairs, candidates: Ints, sets: Sets, view: View) -> Scanned:
    """candidates: (scans, positions) as `held_pairs.candidates` has them; sets: N of all of a fact's queries, whichever the
    View restricts scans to."""
    is_member = np.append(sets.is_member, False)  # -1 is none
    counts: Bools = (held.own >= 0) & _asked(held, view)
    in_n = is_member[candidates]
    own = in_n[held.own]
    inside = own & held.present & counts[:, None]
    inside[~held.is_kn] &= ~in_n[~held.is_kn]  # a control is one of neurons outside N, at these thresholds too
    return Scanned(held, sets, view, inside, counts & own.any(axis=1), _degenerate(held, inside, view))


def _asked(held: HeldPairs, view: View) -> Bools:
    """(scans,) whether the View does not leave the scan's query out."""
    if not view.queries:
        return np.ones(held.scans.height, np.bool_)
    found: Bools = held.scans["query"].is_in(view.queries).to_numpy()
    return found


def _degenerate(held: HeldPairs, inside: Bools, view: View) -> Ints:
    """Eq. 9: both drop p by more than T_high, each alone by at most T_low."""
    relative = view.drop == "relative"
    p = held.scans["p"].to_numpy()
    both = held.drop_ab if relative else p[held.scan] - held.p_ab
    found = np.flatnonzero(both > view.t_high)
    scan = held.scan[found]
    found = found[inside[scan, held.a[found]] & inside[scan, held.b[found]]]
    small = (drop(p[held.scan[found]], alone[found], relative) <= view.t_low for alone in (held.p_a, held.p_b))
    return found[np.logical_and(*small)]


def drop(before: Doubles, after: Doubles, relative: bool) -> Doubles:
    """What an ablation takes from p; NaN where p before is 0 and the drop relative to it."""
    change = before - after
    if not relative:
        return change
    share: Doubles = np.divide(change, before, out=np.full(len(change), np.nan), where=before != 0)
    return share


def rate(found: Scanned) -> pl.DataFrame:
    """Columns role, lang, facts, pairs, paper, strict, expressed and facts_with, as of the macro."""
    held, n = found.held, found.inside.sum(axis=1)
    scans = held.scans.select("role", "lang", "fact_no").with_columns(n=n, counts=found.counts)
    eligible = scans.filter("counts").group_by("role", "lang").agg(
        facts=(pl.col("n") >= 2).sum().cast(pl.Int64), pairs=(pl.col("n") * (pl.col("n") - 1) // 2).sum()
    )  # fmt: skip
    pairs = held.scans.select("role", "lang", "fact_no")[held.scan[found.pairs]]
    expressed = held.expressed[found.pairs]
    counted = pairs.with_columns(strict=found.strict, expressed=expressed).group_by("role", "lang").agg(
        paper=pl.len().cast(pl.Int64), strict=pl.col("strict").sum().cast(pl.Int64),
        expressed=pl.col("expressed").sum().cast(pl.Int64), facts_with=pl.col("fact_no").n_unique().cast(pl.Int64),
    )  # fmt: skip
    rows = eligible.join(counted, on=["role", "lang"], how="left")
    return rows.with_columns(pl.col("paper", "strict", "expressed", "facts_with").fill_null(0)).sort(
        "role", "lang", descending=[True, False]
    )


def layers(found: Scanned) -> pl.DataFrame:
    """Columns layer, n and share, as of the macro."""
    held, mine, depth, width = found.held, found.of_neurons, found.sets.held.depth, found.sets.held.width
    scan, size = held.scan[mine], depth * width
    fact = held.scans["fact_no"].cast(pl.Int64).to_numpy()[scan]
    ends = [fact * size + held.neuron[scan, end[mine]] for end in (held.a, held.b)]
    members = np.unique(np.concatenate(ends))
    fact, layer = members // size, members % size // width
    n, share = layer_shares(fact, layer, depth)
    there = np.flatnonzero(n)
    return pl.DataFrame(
        {"layer": there, "n": n[there], "share": share[there]},
        schema={"layer": pl.Int16, "n": pl.Int64, "share": pl.Float64},
    )


def service(found: Scanned, wide: Sets) -> pl.DataFrame | None:
    """The degenerate pairs of knowledge neurons and whom they serve in `wide`; columns as of the macro. None where it is too much."""
    held, scores = found.held, wide.held
    size = scores.depth * scores.width
    mine = found.of_neurons
    scan = held.scan[mine]
    number = {lang: position for position, lang in enumerate(wide.langs)}
    lang = held.scans["lang"].replace_strict(number, default=-1, return_dtype=pl.Int64).to_numpy()[scan]
    a, b = (lang * size + held.neuron[scan, end[mine]] for end in (held.a, held.b))
    wanted = np.unique(np.concatenate([a, b]))
    if len(wanted) * scores.n_facts > LARGEST_MATRIX:
        return None
    row = np.full(len(wide.langs) * size, -1)
    row[wanted] = np.arange(len(wanted))
    of_member = row[wide.lang * size + scores.neuron[wide.members]]
    hit = of_member >= 0
    serves = np.zeros((len(wanted), scores.n_facts), np.bool_)  # (neurons in a language, facts)
    serves[of_member[hit], wide.fact[hit]] = True
    served = serves.sum(axis=1)
    pairs, which = np.unique(row[a] * len(wanted) + row[b], return_inverse=True)
    together = np.zeros(len(pairs), np.int64)
    step = max(1, _AT_ONCE // max(1, scores.n_facts))
    for start in range(0, len(pairs), step):
        one, other = np.divmod(pairs[start : start + step], len(wanted))
        together[start : start + step] = (serves[one] & serves[other]).sum(axis=1)
    common = together[which]
    return _with_service(found, mine, served[row[a]] - common, served[row[b]] - common, common > 0, scores.width)


def _with_service(found: Scanned, mine: Ints, a_only: Ints, b_only: Ints, served: Bools, width: int) -> pl.DataFrame:
    held, relative = found.held, found.view.drop == "relative"
    mine, a_only, b_only = mine[served], a_only[served], b_only[served]
    scan = held.scan[mine]
    p = held.scans["p"].to_numpy()[scan]
    columns: dict[str, pl.Series] = {}
    for name, end in (("a", held.a), ("b", held.b)):
        layer, neuron = np.divmod(held.neuron[scan, end[mine]], width)
        columns |= {
            f"layer_{name}": pl.Series(layer, dtype=pl.Int16),
            f"neuron_{name}": pl.Series(neuron, dtype=pl.Int32),
        }
    after = {"a": held.p_a[mine], "b": held.p_b[mine], "ab": held.p_ab[mine]}
    columns |= {"p": pl.Series(p)} | {f"p_{name}": pl.Series(value) for name, value in after.items()}
    columns |= {f"drop_{name}": pl.Series(drop(p, value, relative)) for name, value in after.items()}
    interaction = held.interaction[mine]
    last = {
        "interaction": interaction, "paper": np.ones(len(mine), np.bool_), "strict": interaction < -found.view.delta,
        "expressed": held.expressed[mine], "a_only": a_only, "b_only": b_only,
        "serves": np.where((a_only > 0) & (b_only > 0), "degenerate", np.where(a_only + b_only == 0, "redundant", "one-sided")),
    }  # fmt: skip
    frame = held.scans.select("fact", "relation", "lang", "query")[scan].with_columns(**columns)
    frame = frame.with_columns(**{name: pl.Series(value) for name, value in last.items()})
    frame = frame.with_columns(pl.col("interaction").fill_nan(None))
    return frame.with_columns(pl.col("serves").cast(pl.String)).sort(
        "fact", "lang", "drop_ab", descending=[False, False, True]
    )
