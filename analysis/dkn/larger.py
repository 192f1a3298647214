"""Which larger sets of the stored scans are ablated at a View's thresholds: those flagged with their subsets, and an audit of others.

A run computes what of this is not stored, as edits that suppress a set on the fact's main query; the table looks it up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from knscope.analysis.dkn.sets import Ablated, Screened, screen, subsets
from knscope.analysis.edits.choose import WantedEdit
from knscope.analysis.edits.sets import label_seed
from knscope.analysis.prompts.encode import Query
from knscope.analysis.stored.facts import FIELDS, stored_facts
from knscope.analysis.types import Ints
from knscope.store.address import Addresses
from knscope.store.reader import Reader
from knscope.store.view import View

GROUP = "degenerate"
SIZE = 3
"""Neurons of the largest sets that are ablated unless more are asked for."""
FLAGGED = 150
"""Flagged sets that are ablated of a scan and size, those of the largest predicted drop; scans have 190 pairs."""
AUDITED = 10
"""Sets that are not flagged and are ablated all the same, of a scan and size: seeded, they say what screening misses."""
_PAIRS = """
    SELECT m.scan_no, m.role, l.fact, l.lang, m.query, f.p, f.position_a, f.position_b, f.layer_a, f.neuron_a, f.layer_b, f.neuron_b,
        f.p_a, f.p_b, f.p_ab
    FROM pair f JOIN ({scans}) m USING (scan_no) JOIN place l USING (place)
    WHERE list_contains($chosen, m.scan_no) AND (m.inside >> f.position_a::INTEGER) & 1 = 1 AND (m.inside >> f.position_b::INTEGER) & 1 = 1
      AND greatest(f.drop_a, f.drop_b, f.drop_ab) <= $bar
    ORDER BY m.scan_no, f.position_a, f.position_b
"""


_SCANS = "SELECT scan_no, inside::VARCHAR FROM ({scans}) WHERE n > 2 ORDER BY scan_no"
Counting = dict[int, str]
"""By number of a scan which of its neurons count, as bits."""


@dataclass(frozen=True)
class Larger:
    """The sets of three and more of one scan: `levels` by size, `neurons` (n,) the flat neurons that their positions name.

    `chosen` and `audited`: rows of each level that are ablated because they are flagged, and all the same.
    """

    number: int
    role: str
    fact: str
    lang: str
    query: str
    neurons: Ints
    scan: Ablated
    levels: tuple[Screened, ...]
    chosen: tuple[Ints, ...]
    audited: tuple[Ints, ...]

    def members(self, level: int, row: int) -> tuple[int, ...]:
        """Positions of one candidate."""
        return tuple(self.levels[level].sets[row].tolist())

    def wanted(self) -> Iterator[tuple[int, ...]]:
        """What is to be ablated, each set once, as positions: flagged sets with their subsets of three and more, and audited ones."""
        found: dict[tuple[int, ...], None] = {}
        for level, (chosen, audited) in enumerate(zip(self.chosen, self.audited, strict=True)):
            for row in chosen.tolist():
                members = self.members(level, row)
                found.update(dict.fromkeys((*subsets(members, 3), members)))
            found.update(dict.fromkeys(self.members(level, row) for row in audited.tolist()))
        yield from found

    def flat(self, members: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(self.neurons[list(members)].tolist()))


def counting(reader: Reader, view: View) -> Counting:
    """The scans of which three neurons or more count at a View's thresholds."""
    reader.extend(view)
    return dict(reader.sql(_SCANS.format(scans=reader.macro_sql("scan_mask", view))).iter_rows())


def larger(
    reader: Reader, view: View, size: int = SIZE, seed: int = 0, scans: Collection[int] | None = None
) -> list[Larger]:
    """Every scan that counts at a View's thresholds and has a candidate of three neurons; of `scans` only, where given."""
    scans = counting(reader, view) if scans is None else scans
    addresses = reader.addresses(view.model)
    # a relative drop of at most T_low, or one in p: that is decided in `screen`, this only leaves out what is sure to be no part
    bar = view.t_low if view.drop == "relative" else 1.0
    rows = reader.sql(_PAIRS.format(scans=reader.macro_sql("scan_mask", view)), {"bar": bar, "chosen": list(scans)})
    found, start = [], 0
    for length in rows["scan_no"].rle().struct.field("len"):
        made = _of_scan(rows.slice(start, length), view, addresses, size, seed)
        start += length
        if made is not None:
            found.append(made)
    return found


def _of_scan(rows: pl.DataFrame, view: View, addresses: Addresses, size: int, seed: int) -> Larger | None:
    a, b = (rows[f"position_{end}"].to_numpy().astype(np.int64) for end in "ab")
    flat: dict[int, int] = {}
    single: dict[int, float] = {}
    for end, at in (("a", a), ("b", b)):
        neurons = addresses.flat(rows[f"layer_{end}"].to_numpy(), rows[f"neuron_{end}"].to_numpy())
        flat |= dict(zip(at.tolist(), neurons.tolist(), strict=True))
        single |= dict(zip(at.tolist(), rows[f"p_{end}"].to_list(), strict=True))
    positions = np.array(sorted(flat))
    a, b = np.searchsorted(positions, a), np.searchsorted(positions, b)
    pair = np.full((len(positions),) * 2, np.nan)
    pair[a, b] = pair[b, a] = rows["p_ab"].to_numpy()
    first = rows.row(0, named=True)
    alone = np.array([single[place] for place in positions.tolist()])
    scan = Ablated(first["p"], alone, pair, view.drop == "relative")
    levels = tuple(screen(scan, size, view.t_low, view.t_high))
    if not any(len(level.sets) for level in levels):
        return None
    chosen = tuple(_strongest(level) for level in levels)
    audited = tuple(_drawn(level, label_seed(seed, f"{first['query']} {first['role']}")) for level in levels)
    neurons = np.array([flat[place] for place in positions.tolist()], dtype=np.int64)
    about = first["scan_no"], first["role"], first["fact"], first["lang"], first["query"]
    return Larger(*about, neurons, scan, levels, chosen, audited)


def _strongest(level: Screened) -> Ints:
    rows = np.flatnonzero(level.flagged)
    return rows[np.argsort(-level.predicted[rows], kind="stable")[:FLAGGED]]


def _drawn(level: Screened, seed: list[int]) -> Ints:
    rows = np.flatnonzero(~level.flagged)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:AUDITED])


def wanted(reader: Reader, view: View, size: int = SIZE, seed: int = 0) -> list[WantedEdit]:
    """Every set that is to be ablated, as an edit that suppresses it on the query of its scan."""
    frame = stored_facts(reader, view.model).frame
    queries = {row[0]: Query(*row[1:]) for row in frame.select("query", *FIELDS).iter_rows()}
    return [
        WantedEdit(
            GROUP, one.role, one.lang, one.fact, one.flat(members), (queries[one.query],), operations={"suppress": ()}
        )
        for one in larger(reader, view, size, seed)
        for members in one.wanted()
    ]
