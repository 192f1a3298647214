"""Tables 1 and 2: what suppressing and enhancing sets of neurons does to their fact, beside what it does to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from knscope.analysis.edits.choose import EQUAL_SIZE, RANDOM, WantedEdit, wanted
from knscope.analysis.edits.judge import Changes, Delta, Exclude, SuccessRate, difference, success_rate
from knscope.analysis.edits.sets import ABLATIONS, N_IRRELEVANT, Ablation, set_id
from knscope.analysis.report import paper
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN
from knscope.analysis.statistics.columns import span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.store.address import Addresses
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

Stored = Mapping[tuple[str, str, str], tuple[float, float, float | None]]
NOTES = (
    "1: N of each method; 2: what two languages share (LIKN), the other language's N (Mono-KN), one after the other "
    "(Seq-KN), each once (Union); held-out: the same with N from half of a fact's templates, read on one of the others; lang: the one read",
    "sr: eq. 11, |mean change of the fact| / |mean change of irrelevant ones|, both directions added up; it grows with the number "
    "of facts, and is shown for comparison only",
    "specific: mean change in the intended direction / mean |change of irrelevant facts|; d: intended change less |change of "
    "irrelevant facts|, in log p. Intervals (95 %) resample subjects; unbounded: the denominator may be 0; ~: fewer than 10 subjects, "
    "rough; too few: fewer than 5",
    "vs random: d less the d of the random row, with its interval, for the rows of its size; what an edit does to its fact more than to "
    "others is read here: d is below 0 where nothing is specific (random: neurons in no N, of the same layers; Mono-KN random: of N)",
    "vs first: interval of d less the d of the group's first row (of equal size: the first such row), on the same facts and resamples",
    "kl: collateral damage, mean KL divergence of the next-token distribution on an unrelated fact's prompt, in nats",
    "paper: its SR on m-BERT / m-GPT. Its Seq-KN is, in the released code, the zh edit alone",
)


BECOMES: Mapping[Ablation, str] = {
    "zero": "to 0",
    "mean": "to their mean over the language's main queries",
    "resample": "to their values on a random fact of another relation",
}
DIRECTIONS: tuple[Literal["suppress", "enhance"], ...] = ("suppress", "enhance")


@dataclass(frozen=True)
class Judging:
    """How eq. 11 is read: what a change is, which facts are left out (METHOD: success rate), and p or p^(1/T)."""

    delta: Delta = "absolute"
    exclude: Exclude = "none"
    per_token: bool = False
    suppress: Ablation = "zero"
    """What suppressed neurons were set to."""

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("--change", self.delta, get_args(Delta)),
            ("--exclude", self.exclude, get_args(Exclude)),
            ("--suppress", self.suppress, ABLATIONS),
        ):
            if value not in allowed:
                raise UserError(f"{option} {value}: choose one of {', '.join(allowed)}")

    @property
    def note(self) -> str:
        left_out = {"none": "no fact left out", "known": "unknown facts left out", "caps": "extreme changes left out"}
        unit = "p^(1/T)" if self.per_token else "p"
        return f"changes: {self.delta}, of {unit}; {left_out[self.exclude]}; suppressed: {BECOMES[self.suppress]}"


def build(reader: Reader, view: View, seed: int = 0, draws: int = DRAWS, judging: Judging | None = None) -> Table:
    """Every group of rows in every language read, on the facts for which all edits of the group are stored."""
    judging = judging or Judging()
    edits = wanted(reader, view, seed, (judging.suppress,))
    stored = _stored(reader, view.model, judging.per_token)
    names = _set_ids(reader, view.model, edits)
    lookup = _Lookup(stored, names, subject_of(reader), _known(reader, view.model), judging)
    groups: dict[tuple[str, str], dict[str, list[WantedEdit]]] = {}
    for edit in edits:
        groups.setdefault((edit.group, edit.lang), {}).setdefault(edit.name, []).append(edit)
    rows = []
    for (group, lang), by_name in groups.items():
        rows += _group_rows(group, lang, by_name, lookup, seed, draws)
    asked = {key for edit in edits for key in _keys(edit, names)}  # a set that several rows speak of is read once
    missing = len(asked - stored.keys())
    notes = [f"{missing:,} of the readings these thresholds ask for are not computed yet"] if missing else []
    notes += [
        f"rows without figures: {why}" for why in sorted({str(r["reason"]) for r in rows if r["reason"] and r["facts"]})
    ]
    if not edits:
        lacks = (
            "a fact of another relation to take values from" if judging.suppress == "resample" else "neurons to edit"
        )
        notes.append(f"no fact here has {lacks}")
    rows = [row for row in rows if row["facts"]] or rows  # a language nothing is stored for is counted in the note
    frame = pl.DataFrame([{name: row[name] for name in _SCHEMA} for row in rows], schema=_SCHEMA)
    title = f"editing neurons: {view.model}, {view.method}"
    return Table("edits", title, frame, (*notes, judging.note, *NOTES), ("missing", *told_in_text(_SCHEMA)))


_BEFORE_AFTER = """
    SELECT "set", query, operation, p_before, p_after, rank_before, rank_after, wrong_object, p_wrong_before, p_wrong_after
    FROM edit WHERE model = $model
"""


def facts_of(reader: Reader, view: View, group: str, lang: str, edited: str, seed: int = 0) -> pl.DataFrame:
    """One row of the table, fact by fact: before and after, suppressed and enhanced.

    Columns fact, lang, pair, neurons, p, rank, p_suppressed, rank_suppressed, p_enhanced, rank_enhanced, aside (mean |change| of
    the irrelevant facts over both directions; null where none is read), wrong_object, p_wrong, p_wrong_suppressed.
    Facts whose edits are not stored have nulls.
    """
    chosen = [e for e in wanted(reader, view, seed) if (e.group, e.lang, e.name) == (group, lang, edited)]
    names = _set_ids(reader, view.model, chosen)
    frame = reader.sql(_BEFORE_AFTER, {"model": view.model})
    stored = {(row["set"], row["query"], row["operation"]): row for row in frame.iter_rows(named=True)}
    rows = []
    for edit in chosen:
        own = edit.reads[0]
        found = {operation: stored.get((names[edit.neurons], own.id, operation), {}) for operation in edit.operations}
        down, up = found.get("suppress", {}), found.get("enhance", {})
        aside = [row for key in _keys(edit, names)[len(edit.operations) :] if (row := stored.get(key))]
        moved = [abs(row["p_after"] - row["p_before"]) for row in aside]
        rows.append(
            {
                "fact": edit.fact,
                "lang": edit.lang,
                "pair": f"{own.subject} → {own.object}",
                "neurons": len(edit.neurons),
                "p": down.get("p_before", up.get("p_before")),
                "rank": down.get("rank_before", up.get("rank_before")),
                "p_suppressed": down.get("p_after"),
                "rank_suppressed": down.get("rank_after"),
                "p_enhanced": up.get("p_after"),
                "rank_enhanced": up.get("rank_after"),
                "aside": float(np.mean(moved)) if moved else None,
                "wrong_object": down.get("wrong_object"),
                "p_wrong": down.get("p_wrong_before"),
                "p_wrong_suppressed": down.get("p_wrong_after"),
            }
        )
    return pl.DataFrame(rows, schema=_FACT_SCHEMA)


@dataclass(frozen=True)
class _Lookup:
    stored: Stored
    names: Mapping[tuple[int, ...], str]
    subject: Mapping[str, str]
    known: Mapping[str, bool]
    judging: Judging


def _stored(reader: Reader, model: str, per_token: bool) -> Stored:
    """Before, after and KL of every stored edit."""
    before, after = ("p_root_before", "p_root_after") if per_token else ("p_before", "p_after")
    columns = f'"set", query, operation, {before}, {after}, kl'
    frame = reader.sql(f"SELECT {columns} FROM edit WHERE model = $model", {"model": model})
    return {(row[0], row[1], row[2]): (row[3], row[4], row[5]) for row in frame.iter_rows()}


def _known(reader: Reader, model: str) -> dict[str, bool]:
    frame = reader.sql("SELECT query, known FROM prediction WHERE model = $model", {"model": model})
    return dict(frame.iter_rows())


def _set_ids(reader: Reader, model: str, edits: Sequence[WantedEdit]) -> dict[tuple[int, ...], str]:
    addresses = Addresses.stored(reader, model)
    return {neurons: set_id(*addresses.split(neurons)) for neurons in {edit.neurons for edit in edits}}


def _keys(edit: WantedEdit, names: Mapping[tuple[int, ...], str]) -> list[tuple[str, str, str]]:
    return [(names[edit.neurons], query.id, operation) for query in edit.reads for operation in edit.operations]


def _group_rows(
    group: str, lang: str, by_name: Mapping[str, Sequence[WantedEdit]], lookup: _Lookup, seed: int, draws: int
) -> list[dict[str, object]]:
    """All rows of a group on the same facts, so that they can be compared in pairs."""
    ready = {
        name: {e.fact: e for e in edits if all(key in lookup.stored for key in _keys(e, lookup.names))}
        for name, edits in by_name.items()
    }
    # a store made before random sets were edited keeps its facts
    common = sorted(set.intersection(*(set(one) for name, one in ready.items() if one or name not in RANDOM)))
    edited = {name: [one[fact] for fact in common] if one else [] for name, one in ready.items()}
    judged = {name: _judge(chosen, lookup, seed, draws) for name, chosen in edited.items()}
    random = next((name for name in RANDOM if edited.get(name)), None)
    rows: list[dict[str, object]] = []
    firsts: dict[bool, SuccessRate] = {}
    for name, edits in by_name.items():
        chosen, found = edited[name], judged[name]
        alike = random is not None and random != name and chosen and _sizes(chosen) == _sizes(edited[random])
        over = difference(found, judged[random], "d") if alike and random is not None else UNKNOWN
        first = firsts.setdefault(name.endswith(EQUAL_SIZE), found)  # sets of equal size are held against such a one
        rows.append(
            {
                "table": group,
                "lang": lang,
                "edited": name,
                "facts": len(chosen),
                "subjects": len(set(found.subjects)),
                "missing": len({edit.fact for edit in edits}) - len(chosen),
                "neurons": float(np.mean([len(edit.neurons) for edit in chosen])) if chosen else None,
                **spread("sr", found.sr, ".2g"),
                **spread("specific", found.specific, ".2g"),
                **spread("d", found.d, ".2g"),
                **spread("vs_random", over, ".2g"),
                "kl": _collateral(chosen, lookup),
                **span("vs_first", difference(found, first, "d") if chosen and found is not first else UNKNOWN, ".2g"),
                "paper": _paper(group, lang, name),
                "reason": found.reason,
            }
        )
    return rows


def _sizes(edits: Sequence[WantedEdit]) -> list[int]:
    return [len(edit.neurons) for edit in edits]


def _judge(edits: Sequence[WantedEdit], lookup: _Lookup, seed: int, draws: int) -> SuccessRate:
    width = max([N_IRRELEVANT, *(len(edit.reads) - 1 for edit in edits)])
    known = np.zeros((len(edits), 1 + width), dtype=np.bool_)
    for row, edit in enumerate(edits):
        known[row, : len(edit.reads)] = [lookup.known.get(query.id, False) for query in edit.reads]
    changes = []
    for direction in DIRECTIONS:
        values = np.full((2, len(edits), 1 + width), np.nan)
        for row, edit in enumerate(edits):
            operation = list(edit.operations)[DIRECTIONS.index(direction)]
            for column, query in enumerate(edit.reads):
                values[:, row, column] = lookup.stored[lookup.names[edit.neurons], query.id, operation][:2]
        before, after = values
        changes.append(Changes(direction, before[:, 0], after[:, 0], before[:, 1:], after[:, 1:], known[:, 1:]))
    return success_rate(
        changes,
        [lookup.subject[edit.fact] for edit in edits],
        known[:, 0],
        delta=lookup.judging.delta,
        exclude=lookup.judging.exclude,
        draws=draws,
        seed=seed,
    )


def _collateral(edits: Sequence[WantedEdit], lookup: _Lookup) -> float | None:
    """Mean KL over the edits' unrelated prompts and both directions, as far as it is stored."""
    found = [lookup.stored[key][2] for edit in edits for key in _keys(edit, lookup.names)[len(edit.operations) :]]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _paper(group: str, lang: str, name: str) -> str | None:
    """The paper's figures for the row, m-BERT / m-GPT."""
    if group not in ("1", "2"):
        return None
    table = paper.TABLE_1 if group == "1" else paper.TABLE_2
    row = {"amig": "AMIG", "bkn": "B-KN"}.get(name, name)
    primary = lang.replace("_", "-").split("-")[0].lower()
    found = [table.get((primary, model), {}).get(row) for model in ("m-BERT", "m-GPT")]
    return " / ".join(f"{value:.3f}" for value in found if value is not None) or None


_SCHEMA = {
    "table": pl.String,
    "lang": pl.String,
    "edited": pl.String,
    "facts": pl.Int64,
    "subjects": pl.Int64,
    "missing": pl.Int64,
    "neurons": pl.Float64,
    **spread_columns("sr"),
    **spread_columns("specific"),
    **spread_columns("d"),
    **spread_columns("vs_random"),
    "kl": pl.Float64,
    **span_columns("vs_first"),
    "paper": pl.String,
}
_FACT_SCHEMA = {
    "fact": pl.String,
    "lang": pl.String,
    "pair": pl.String,
    "neurons": pl.Int64,
    "p": pl.Float64,
    "rank": pl.Int64,
    "p_suppressed": pl.Float64,
    "rank_suppressed": pl.Int64,
    "p_enhanced": pl.Float64,
    "rank_enhanced": pl.Int64,
    "aside": pl.Float64,
    "wrong_object": pl.String,
    "p_wrong": pl.Float64,
    "p_wrong_suppressed": pl.Float64,
}
