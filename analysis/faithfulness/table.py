"""Which method ranks neurons as their measured effects do, and which one becomes the default by the rule fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from knscope.analysis.edits.sets import KINDS
from knscope.analysis.faithfulness.judge import CONTROLS, FEWEST, Choice, choose, halves
from knscope.analysis.statistics.bootstrap import DRAWS, UNKNOWN, mean_interval
from knscope.analysis.statistics.columns import ENDS, spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table

NOTES = (
    "area (primary, higher is better): mean drop of log p over the first 100 deletions, less that of irrelevant facts",
    "reported: on the half of the subjects that did not choose; vs: paired difference to the default on these",
    "spearman: with single ablations above the noise floor; overlap: share of the 20 truly strongest among the method's 20",
    "resample: values of a fact of another relation. A method that starts from zero is favoured where truth is 'set to zero'",
)


def build(
    documents: Sequence[Mapping[str, Any]], *, default: str = "amig", draws: int = DRAWS, seed: int = 0
) -> list[Table]:
    """Tables of one or several models' comparisons (what `Comparison.to_json` gives, with `model` added)."""
    rows = _frame(documents, "rows")
    if rows.is_empty():
        return [Table("faithfulness", "faithfulness", pl.DataFrame(), ("no known fact to measure on",))]
    choice, means = _choice(rows, default, draws, seed)
    tables = [_primary(rows, choice, means, seed), _by_kind(rows, draws, seed), _by_ablation(rows, draws, seed)]
    groups = _frame(documents, "groups")
    return tables if groups.is_empty() else [*tables, _group(groups, draws, seed)]


def _frame(documents: Sequence[Mapping[str, Any]], part: str) -> pl.DataFrame:
    found = [{"model": document["model"], **row} for document in documents for row in document[part]]
    return pl.DataFrame(found, infer_schema_length=None)


def _choice(rows: pl.DataFrame, default: str, draws: int, seed: int) -> tuple[Choice, pl.DataFrame]:
    """The primary metric of each fact, averaged over ablations and languages (models side by side), then the rule."""
    complete = rows.filter(pl.col("area").is_not_null())
    per_fact = complete.group_by("model", "fact", "subject", "method").agg(pl.col("area").mean())
    wide = (
        per_fact.pivot(on="method", index=["model", "fact", "subject"], values="area")
        .sort("model", "fact")
        .drop_nulls()
    )
    methods = [name for name in wide.columns if name not in ("model", "fact", "subject")]
    areas = {name: wide[name].to_numpy() for name in methods}
    return choose(areas, wide["subject"].to_list(), default=default, draws=draws, seed=seed), wide


def _primary(rows: pl.DataFrame, choice: Choice, wide: pl.DataFrame, seed: int) -> Table:
    lines = []
    reporting = wide.filter(~pl.col("subject").is_in(halves(wide["subject"].to_list(), seed)))
    for name in choice.ranking:
        reported = choice.reported[name]
        part = rows.filter(pl.col("method") == name)
        lines.append(
            {
                "method": name,
                "control": name in CONTROLS,
                "facts": reporting.height,
                "subjects": reporting["subject"].n_unique(),
                "area (choosing half)": choice.chosen_on[name],
                **spread("area (reported)", reported, ".3f", prefix=""),
                **spread(f"vs {choice.default}", choice.versus.get(name, UNKNOWN), ".3f", prefix="vs"),
                "spearman": _mean(part["spearman"]),
                "overlap": _mean(part["overlap"]),
                "chance": _mean(part["chance"]),
            }
        )
    notes = (_verdict(choice), *NOTES)
    title = f"faithfulness: {', '.join(dict.fromkeys(rows['model']))}, {wide.height} facts"
    columns = dict(_PRIMARY)
    columns |= spread_columns(f"vs {choice.default}", prefix="vs")
    frame = pl.DataFrame(lines, schema={name: columns[name] for name in (lines[0] if lines else columns)})
    return Table("faithfulness", title, frame, notes, told_in_text(frame.schema))


def _verdict(choice: Choice) -> str:
    """Which method, in one sentence with figures (METHOD §8)."""
    default, best, few = choice.default, choice.best, choice.subjects < FEWEST
    found = choice.versus.get(best or "", UNKNOWN)
    if best is None or found.estimate is None:
        return f"no other candidate to hold against {default}; it stays the default"
    interval = f", 95 % {found.low:+.3f}…{found.high:+.3f}" if found.low is not None and found.high is not None else ""
    figures = f"{found.estimate:+.3f} nats a fact{interval}, {choice.subjects} subjects"
    if choice.better:
        return f"{best} is better than {default} on this model: {figures}; take it with --method {best}"
    wanted = f"; {FEWEST} subjects must report before one is called better" if few else ""
    return f"no method is shown to be better than {default}: the best of the others, {best}, has {figures}{wanted}"


def _by_kind(rows: pl.DataFrame, draws: int, seed: int) -> Table:
    """The primary metric against each kind of other facts: what moves them too may belong to the relation or the answer."""
    lines = []
    for (method,), part in rows.group_by("method", maintain_order=True):
        for kind, column in zip(KINDS, ("area", "area_relation", "area_answer"), strict=True):
            known = part.filter(pl.col(column).is_not_null())
            each = known.group_by("model", "fact", "subject", maintain_order=True).agg(pl.col(column).mean())
            found = mean_interval(each[column].to_numpy(), each["subject"].to_numpy(), draws=draws, seed=seed)
            about = {"method": method, "others": kind, "facts": each.height, "subjects": each["subject"].n_unique()}
            lines += [{**about, **spread("area", found, ".3f", prefix="")}] if each.height else []
    notes = (
        "others: the facts whose drop is taken off: of another relation (the primary metric), of the same relation with another answer, "
        "of the same relation with the same answer in every language. All facts that have such; models counted apart",
    )
    return Table("faithfulness_by_kind", "by the other facts", pl.DataFrame(lines), notes, ENDS)


def _by_ablation(rows: pl.DataFrame, draws: int, seed: int) -> Table:
    """The same by model, ablation and language, since no truth is the truth."""
    lines = []
    for (model, lang, ablation, method), part in rows.group_by(
        "model", "lang", "ablation", "method", maintain_order=True
    ):
        known = part.filter(pl.col("area").is_not_null())
        interval = mean_interval(known["area"].to_numpy(), known["subject"].to_numpy(), draws=draws, seed=seed)
        lines.append(
            {
                "model": model, "lang": lang, "ablation": ablation, "method": method, "facts": part.height,
                "subjects": part["subject"].n_unique(),
                **spread("area", interval, ".3f", prefix=""), "drop": _mean(part["drop"]),
                "spearman": _mean(part["spearman"]), "overlap": _mean(part["overlap"]),
                "chance": _mean(part["chance"]), "neurons": _mean(part["neurons"]),
            }
        )  # fmt: skip
    notes = ("neurons: how many have an effect above the noise floor; drop: of the fact itself",)
    return Table("faithfulness_by_truth", "by ablation and language", pl.DataFrame(lines), notes, ENDS)


def _group(groups: pl.DataFrame, draws: int, seed: int) -> Table:
    lines = []
    for (method,), part in groups.group_by("method", maintain_order=True):
        known = part.filter(pl.col("group").is_not_null())
        found = mean_interval(known["group"].to_numpy(), known["subject"].to_numpy(), draws=draws, seed=seed)
        interval = found.within(-1.0, 1.0)
        lines.append(
            {
                "method": method, "queries": part.height, "subjects": part["subject"].n_unique(),
                **spread("group", interval, ".3f", prefix=""),
                "single": _mean(part["single"]), "insertion": _mean(part["insertion"]), "error": _mean(part["error"]),
            }
        )  # fmt: skip
    notes = (
        "within the pool of all methods' 50 strongest: Spearman with the mean drop in random groups (group) and alone (single)",
        "neurons that back each other up have no single effect but a group effect; insertion: rise of log p as the pool is restored",
    )
    return Table("faithfulness_group", "against group truth (set to zero)", pl.DataFrame(lines), notes, ENDS)


def _mean(values: pl.Series) -> float | None:
    kept = values.drop_nulls()
    return float(np.mean(kept.to_numpy())) if len(kept) else None


_PRIMARY = {
    "method": pl.String, "control": pl.Boolean, "facts": pl.Int64, "subjects": pl.Int64,
    "area (choosing half)": pl.Float64, **spread_columns("area (reported)", prefix=""), "spearman": pl.Float64,
    "overlap": pl.Float64, "chance": pl.Float64,
}  # fmt: skip
