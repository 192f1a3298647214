"""What the edits of tables 1 and 2 do to each kind of fact that they are read on, and how many change their first answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from knscope.analysis.edits.choose import WantedEdit
from knscope.analysis.edits.judge import SuccessRate
from knscope.analysis.edits.lookup import DIRECTIONS, Judging, Lookup, Reading, looked_up
from knscope.analysis.edits.sets import KINDS, Kind
from knscope.analysis.edits.table import on_common_facts, over_random
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, Interval
from knscope.analysis.statistics.columns import RULE, span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.score import share_interval
from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View

OWN = "the fact"
NOTES = (
    "read: the facts whose answers are read: the fact itself (1 held-out: on a template that had no say; 1 across: in another language "
    "than its neurons are from), or others: of another relation, of the same relation with another answer, of the same relation with the "
    "same answer in every language and another subject",
    "facts: edited ones that have such a fact; readings: answers read. sr, specific, d, vs_random: as in tables 1 and 2, with these facts "
    "in the place of irrelevant ones",
    "first: answers that are first before the edit (their first token); lost: of these, no longer first, suppressed (lost_up: enhanced), "
    "lost_share: interval of that share over subjects (95 %); gained: not first before and first after, suppressed (gained_up: enhanced)",
)


def build(reader: Reader, view: View, seed: int = 0, draws: int = DRAWS, judging: Judging | None = None) -> Table:
    """One row an edited set of tables 1 and 2 (by language read) and kind of fact it is read on."""
    judging = judging or Judging()
    edits, groups, lookup = looked_up(reader, view, seed, judging)
    rows: list[dict[str, object]] = []
    for (group, lang), by_name in groups.items():
        for name, cells in _group(by_name, lookup, seed, draws):
            rows.append({"table": group, "lang": lang, "edited": name, **cells})
    notes = lookup.lacking(edits)
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    title = f"edits by the facts they are read on: {view.model}, {view.method}"
    return Table("edits_others", title, frame, (*notes, judging.note, *NOTES, RULE), told_in_text(_SCHEMA))


def _group(
    by_name: Mapping[str, Sequence[WantedEdit]], lookup: Lookup, seed: int, draws: int
) -> list[tuple[str, dict[str, object]]]:
    """The rows of one group and language, set by set: the fact itself, then others that something is stored of."""
    found: dict[str, list[dict[str, object]]] = {name: [] for name in by_name}
    for kind in (None, *KINDS):
        edited = _on_facts(by_name, lookup) if kind is None else on_common_facts(by_name, lookup, kind)
        judged = {} if kind is None else {name: lookup.judge(some, seed, draws) for name, some in edited.items()}
        for name, edits in edited.items():
            if edits:
                figures = _figures(judged.get(name), over_random(name, edited, judged) if judged else UNKNOWN)
                found[name].append({"read": kind or OWN, **figures, **flips(edits, lookup, kind)})
    return [(name, cells) for name, rows in found.items() for cells in rows]


def _on_facts(by_name: Mapping[str, Sequence[WantedEdit]], lookup: Lookup) -> dict[str, list[WantedEdit]]:
    """The edits read on their own facts alone, whichever other facts there are."""
    found = {}
    for name, edits in by_name.items():
        alone = (
            WantedEdit(e.group, e.name, e.lang, e.fact, e.neurons, e.reads[:1], operations=e.operations) for e in edits
        )
        found[name] = [edit for edit in alone if lookup.ready(edit)]
    return found


def _figures(judged: SuccessRate | None, over: Interval) -> dict[str, object]:
    sr, specific, d = (judged.sr, judged.specific, judged.d) if judged else (UNKNOWN,) * 3
    figures = {**spread("sr", sr, ".2g"), **spread("specific", specific, ".2g"), **spread("d", d, ".2g")}
    return {**figures, **span("vs_random", over, ".2g")}


def flips(edits: Sequence[WantedEdit], lookup: Lookup, kind: Kind | None) -> dict[str, object]:
    """How many answers stop or begin to be first under the edits; `kind` None: of the facts themselves.

    Cells facts, subjects, readings, first, lost, lost_share with its ends, gained, lost_up and gained_up.
    """
    subjects = [lookup.subject[edit.fact] for edit in edits]
    cells: dict[str, object] = {"facts": len(edits), "subjects": len(set(subjects))}
    for number, (direction, suffix) in enumerate(zip(DIRECTIONS, ("", "_up"), strict=True)):
        ranked = [[one for one in _read(edit, lookup, kind, number) if one.rank_before is not None] for edit in edits]
        first = np.array([sum(one.rank_before == 1 for one in some) for some in ranked])
        lost = np.array([sum(one.rank_before == 1 != one.rank_after for one in some) for some in ranked])
        gained = sum(one.rank_after == 1 != one.rank_before for some in ranked for one in some)
        cells |= {f"lost{suffix}": int(lost.sum()), f"gained{suffix}": gained}
        if direction == "suppress":
            share = share_interval(lost, first, np.array(subjects))
            cells |= {"readings": sum(map(len, ranked)), "first": int(first.sum()), **span("lost_share", share, ".2g")}
    return cells


def _read(edit: WantedEdit, lookup: Lookup, kind: Kind | None, direction: int) -> list[Reading]:
    readings = list(lookup.readings(edit, direction))
    return readings[:1] if kind is None else readings[1:]


_SCHEMA = {
    **dict.fromkeys(("table", "lang", "edited", "read"), pl.String),
    **dict.fromkeys(("facts", "subjects", "readings"), pl.Int64),
    **spread_columns("sr"),
    **spread_columns("specific"),
    **spread_columns("d"),
    **span_columns("vs_random"),
    **dict.fromkeys(("first", "lost"), pl.Int64),
    **span_columns("lost_share"),
    **dict.fromkeys(("gained", "lost_up", "gained_up"), pl.Int64),
}
