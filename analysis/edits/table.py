"""Tables 1 and 2: what suppressing and enhancing sets of neurons does to their fact, beside what it does to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from knscope.analysis.edits.choose import ACROSS, EQUAL_SIZE, RANDOM, WantedEdit, wanted
from knscope.analysis.edits.judge import SuccessRate, difference
from knscope.analysis.edits.lookup import Judging, Lookup, looked_up, set_ids
from knscope.analysis.edits.sets import KINDS, Kind
from knscope.analysis.report import paper
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, Interval
from knscope.analysis.statistics.columns import RULE, span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.store.reader import Reader
from knscope.store.view import View

NOTES = (
    "1: N of each method; 2: what two languages share (LIKN), the other language's N (Mono-KN), one after the other "
    "(Seq-KN), each once (Union); held-out: the same with N from half of a fact's templates, read on one of the others; lang: the one read",
    "set (--set SET): the neurons of a file or of a list of the store, edited in every fact of the View, or in those "
    "that a file says it is made for",
    "1 negative (--sign negative): the neurons of lowest score; there suppressing is meant to raise p, and enhancing to lower it",
    "sr: eq. 11, |mean change of the fact| / |mean change of irrelevant ones|, both directions added up; it grows with the number "
    "of facts, and is shown for comparison only",
    "specific: mean change in the intended direction / mean |change of irrelevant facts|; d: intended change less |change of "
    "irrelevant facts|, in log p. Intervals (95 %) resample subjects; unbounded: the denominator may be 0; ~: fewer than 10 subjects, "
    "rough; too few: fewer than 5",
    "vs random: d less the d of the random row, with its interval, for the rows of its size; what an edit does to its fact more than to "
    "others is read here: d is below 0 where nothing is specific (random: neurons in no N, of the same layers; Mono-KN random: of N)",
    "verdict, by the intervals of d less the random row's d for each kind of other facts (edits --others), in rows of the random row's "
    "size: own (above facts of the same answer too), of the answer (not above them, but above other answers of the relation), relation "
    "(above other relations only), generic (not even that), undecided (too few facts to tell). No p is used",
    "vs first: interval of d less the d of the group's first row (of equal size: the first such row), on the same facts and resamples",
    "kl: collateral damage, mean KL divergence of the next-token distribution on an unrelated fact's prompt, in nats",
    "paper: its SR on m-BERT / m-GPT. Its Seq-KN is, in the released code, the zh edit alone",
)


def build(reader: Reader, view: View, seed: int = 0, draws: int = DRAWS, judging: Judging | None = None) -> Table:
    """Every group of rows in every language read, on the facts for which all edits of the group are stored."""
    judging = judging or Judging()
    edits, groups, lookup = looked_up(reader, view, seed, judging)
    rows = []
    for (group, lang), by_name in groups.items():
        if group != ACROSS:  # which is read on nothing but the fact
            rows += _group_rows(group, lang, by_name, lookup, seed, draws)
    notes = lookup.lacking(edits)
    notes += [
        f"rows without figures: {why}" for why in sorted({str(r["reason"]) for r in rows if r["reason"] and r["facts"]})
    ]
    notes += _rerouted(reader, view.model)
    rows = [row for row in rows if row["facts"]] or rows  # a language nothing is stored for is counted in the note
    frame = pl.DataFrame([{name: row[name] for name in _SCHEMA} for row in rows], schema=_SCHEMA)
    title = f"editing neurons: {view.model}, {view.method}"
    return Table("edits", title, frame, (*notes, judging.note, *NOTES, RULE), ("missing", *told_in_text(_SCHEMA)))


def _rerouted(reader: Reader, model: str) -> list[str]:
    """What routed experts mean for the figures, and how many edits would choose others."""
    share = reader.sql(
        "SELECT count(rerouted), avg(rerouted::INTEGER) FROM edit WHERE model = $model", {"model": model}
    )
    read, changed = share.row(0)
    if not read:
        return []
    return [
        f"all figures are with the experts that the unedited model runs; of {read:,} readings {changed:.0%} would make its router "
        "choose others above the edit"
    ]


_BEFORE_AFTER = """
    SELECT "set", query, operation, p_before, p_after, rank_before, rank_after, wrong_object, p_wrong_before, p_wrong_after
    FROM edit WHERE model = $model
"""


def facts_of(reader: Reader, view: View, group: str, lang: str, edited: str) -> pl.DataFrame:
    """One row of the table, fact by fact: before and after, suppressed and enhanced.

    Columns fact, lang, pair, neurons, p, rank, p_suppressed, rank_suppressed, p_enhanced, rank_enhanced, aside (mean |change| of
    the irrelevant facts over both directions; null where none is read), wrong_object, p_wrong, p_wrong_suppressed.
    Facts whose edits are not stored have nulls.
    """
    chosen = [e for e in wanted(reader, view) if (e.group, e.lang, e.name) == (group, lang, edited)]
    names = set_ids(reader, view.model, chosen)
    frame = reader.sql(_BEFORE_AFTER, {"model": view.model})
    stored = {(row["set"], row["query"], row["operation"]): row for row in frame.iter_rows(named=True)}
    rows = []
    for edit in chosen:
        own = edit.reads[0]
        found = {operation: stored.get((names[edit.neurons], own.id, operation), {}) for operation in edit.operations}
        down, up = found.get("suppress", {}), found.get("enhance", {})
        others = edit.beside(edit.irrelevant).reads[1:]
        keys = [(names[edit.neurons], query.id, operation) for query in others for operation in edit.operations]
        aside = [row for key in keys if (row := stored.get(key))]
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


def _group_rows(
    group: str, lang: str, by_name: Mapping[str, Sequence[WantedEdit]], lookup: Lookup, seed: int, draws: int
) -> list[dict[str, object]]:
    """All rows of a group on the same facts, so that they can be compared in pairs."""
    edited = on_common_facts(by_name, lookup)
    judged = {name: lookup.judge(chosen, seed, draws) for name, chosen in edited.items()}
    words = _words(by_name, lookup, seed, draws) if not group.endswith("held-out") else {}
    rows: list[dict[str, object]] = []
    firsts: dict[bool, SuccessRate] = {}
    for name, edits in by_name.items():
        chosen, found = edited[name], judged[name]
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
                **spread("vs_random", over_random(name, edited, judged), ".2g"),
                "verdict": words.get(name),
                "kl": lookup.collateral(chosen),
                **span("vs_first", difference(found, first, "d") if chosen and found is not first else UNKNOWN, ".2g"),
                "paper": _paper(group, lang, name),
                "reason": found.reason,
            }
        )
    return rows


def on_common_facts(
    by_name: Mapping[str, Sequence[WantedEdit]], lookup: Lookup, kind: Kind | None = None
) -> dict[str, list[WantedEdit]]:
    """The edits of each row of a group, on the facts of which all rows have what is asked: read on the fact itself, and on
    others of the kind named, or else on those that it should leave alone."""
    ready: dict[str, dict[str, WantedEdit]] = {}
    for name, edits in by_name.items():
        beside = (edit.beside(kind or edit.irrelevant) for edit in edits)
        ready[name] = {edit.fact: edit for edit in beside if (kind is None or edit.kinds) and lookup.ready(edit)}
    # a store made before random sets were edited keeps its facts
    common = sorted(set.intersection(*(set(one) for name, one in ready.items() if one or name not in RANDOM)))
    return {name: [one[fact] for fact in common] if one else [] for name, one in ready.items()}


def over_random(name: str, edited: Mapping[str, Sequence[WantedEdit]], judged: Mapping[str, SuccessRate]) -> Interval:
    """D of a row less that of the random row, where it is of its size."""
    random = next((one for one in RANDOM if edited.get(one)), None)
    if random is None or random == name or not edited[name] or _sizes(edited[name]) != _sizes(edited[random]):
        return UNKNOWN
    return difference(judged[name], judged[random], "d")


def _words(by_name: Mapping[str, Sequence[WantedEdit]], lookup: Lookup, seed: int, draws: int) -> dict[str, str]:
    """For each row of the random row's size, what its edit is specific to: the facts of each kind that it moves less than
    its own, by the interval of D less the random row's D."""
    above: dict[str, dict[Kind, bool | None]] = {}
    for kind in KINDS:
        edited = on_common_facts(by_name, lookup, kind)
        judged = {name: lookup.judge(chosen, seed, draws) for name, chosen in edited.items()}
        for name in by_name:
            over = over_random(name, edited, judged)
            above.setdefault(name, {})[kind] = None if over.low is None else over.low > 0
    sized = [name for name, found in above.items() if any(one is not None for one in found.values())]
    return {name: verdict(above[name]) for name in sized}


def verdict(above: Mapping[Kind, bool | None]) -> str:
    """The word for an edit: above[kind] says whether it moves its own fact more than facts of the kind, None where nobody knows."""
    relation, answer, own = (above.get(kind) for kind in KINDS)
    if relation is False:
        return "generic"
    if answer is None:
        return "undecided"
    if not answer:
        return "relation" if relation else "undecided"
    if own is None:
        return "undecided"
    return "own" if own else "of the answer"


def _sizes(edits: Sequence[WantedEdit]) -> list[int]:
    return [len(edit.neurons) for edit in edits]


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
    "table": pl.String, "lang": pl.String, "edited": pl.String, "facts": pl.Int64, "subjects": pl.Int64,
    "missing": pl.Int64, "neurons": pl.Float64, **spread_columns("sr"), **spread_columns("specific"),
    **spread_columns("d"), **spread_columns("vs_random"), "verdict": pl.String, "kl": pl.Float64,
    **span_columns("vs_first"), "paper": pl.String,
}  # fmt: skip
_FACT_SCHEMA = {
    "fact": pl.String, "lang": pl.String, "pair": pl.String, "neurons": pl.Int64, "p": pl.Float64, "rank": pl.Int64,
    "p_suppressed": pl.Float64, "rank_suppressed": pl.Int64, "p_enhanced": pl.Float64, "rank_enhanced": pl.Int64,
    "aside": pl.Float64, "wrong_object": pl.String, "p_wrong": pl.Float64, "p_wrong_suppressed": pl.Float64,
}  # fmt: skip
