"""Degenerate pairs (eq. 9-10), as the paper counts them and strictly, beside both controls; degenerate or redundant."""

from __future__ import annotations

import numpy as np
import polars as pl

from knscope.analysis.statistics.bootstrap import UNKNOWN, Interval, cluster_sums
from knscope.analysis.statistics.columns import RULE, span, span_columns, spread, spread_columns, told_in_text
from knscope.analysis.statistics.score import design_effect, difference_of, share_interval
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.store.reader import Reader
from knscope.store.view import View

ROLES = {"kn": "knowledge neurons", "layer_control": "others, same layers", "drop_control": "others, same single drops"}
_ELIGIBLE = """
    SELECT m.role, l.fact, l.lang, sum(m.n * (m.n - 1) // 2)::BIGINT AS pairs
    FROM ({scans}) m JOIN place l USING (place) WHERE m.n > 1 GROUP BY ALL
"""
_ON_TWO_QUERIES = """
    SELECT count(*) FROM (
        SELECT q.fact FROM scan s JOIN query q USING (query)
        WHERE s.model = $model AND s.method = $method AND s.role = 'kn' AND list_contains($langs, q.lang)
        GROUP BY q.fact, q.lang HAVING count(DISTINCT s.query) > 1
    )
"""
NOTES = (
    "pairs of the 20 strongest neurons whose members are both in N (controls: standing in for such, none in N), main query",
    "paper: both singles lose at most T_low, the pair more than T_high; strict: and less together than apart (I < -delta)",
    "expressed: the answer is still first after each single, and lost after the pair; strict_interval: of the strict rate over "
    "subjects (95 %), which holds for rates of 0 too; in files paper_low and paper_high are that of the paper's; strict_vs_kn: interval "
    "of the knowledge neurons' strict rate less this one, paired. ~: fewer than 10 subjects, rough",
    "degenerate: each neuron of the pair is also in N of other facts (same language) that the other is not; redundant: both "
    "in N of the same other facts, or of none; one-sided: neither",
)


def pairs(reader: Reader, view: View) -> Table:
    """The degenerate pairs of knowledge neurons, strongest interaction first."""
    frame = reader.dkn_service(view).drop("paper").rename({"serves": "kind"})
    title = f"degenerate pairs: {view.model}, {view.method}"
    ordered = frame.sort("interaction", "fact", "lang", nulls_last=True)
    return Table("dkn_pairs", title, ordered, (*NOTES[1:], *_uncertain(frame)))


def build(reader: Reader, view: View) -> Table:
    """Counts and rates by language (and over all of them), for the facts' neurons and for each control."""
    own = reader.dkn_service(view).with_columns(pl.lit("kn").alias("role"))
    controls = reader.dkn(view).filter(pl.col("role") != "kn")
    degenerate = pl.concat([own, controls], how="diagonal")
    found = degenerate.group_by("role", "fact", "lang").agg(
        pl.col("strict", "expressed").sum(),
        paper=pl.len(),
        degenerate=(pl.col("serves") == "degenerate").sum(),
        redundant=(pl.col("serves") == "redundant").sum(),
    )
    eligible = reader.sql(_ELIGIBLE.format(scans=reader.macro_sql("scan_mask", view)))
    subject = subject_of(reader)
    counts = eligible.join(found, on=["role", "fact", "lang"], how="left").fill_null(0)
    counts = counts.with_columns(pl.Series("subject", [subject[fact] for fact in counts["fact"]], pl.String))
    langs = [lang for lang in view.langs if lang in set(counts["lang"])]
    groups = [(lang, counts.filter(pl.col("lang") == lang)) for lang in langs]
    if len(langs) > 1:
        groups.append(("all", counts))
    rows = [
        {
            "lang": lang,
            "neurons": name,
            **_rates(frame.filter(pl.col("role") == role), role, frame.filter(pl.col("role") == "kn")),
        }
        for lang, frame in groups
        for role, name in ROLES.items()
    ]
    odd = (
        ("T_low is above T_high: the pair may lose less than one of its neurons alone",)
        if view.t_low > view.t_high
        else ()
    )
    limits = f"T_low {view.t_low:g}, T_high {view.t_high:g} ({view.drop}), delta {view.delta:g}"
    title = f"degenerate pairs: {view.model}, {view.method}"
    return Table(
        "dkn",
        title,
        pl.DataFrame(rows, schema=_SCHEMA),
        (limits, *odd, _sizes(reader, view), *_twice(reader, view), *NOTES, RULE, *_uncertain(degenerate)),
        (*told_in_text(_SCHEMA), "paper_low", "paper_high"),
    )


def _rates(counts: pl.DataFrame, role: str, own: pl.DataFrame) -> dict[str, object]:
    """One line: pairs looked at, degenerate ones, their rates, and the strict rate with its interval over subjects. `own`: the
    counts of knowledge neurons.

    Neurons outside N serve no fact, so controls are neither degenerate nor redundant.
    """
    paper, strict = (
        share_interval(counts[rule].to_numpy(), counts["pairs"].to_numpy(), counts["subject"].to_numpy())
        for rule in ("paper", "strict")
    )
    total = {name: int(counts[name].sum()) for name in ("pairs", "paper", "strict", "expressed")}
    return {
        "facts": counts["fact"].n_unique(),
        "subjects": counts["subject"].n_unique(),
        **total,
        "paper_rate": paper.estimate,
        "paper_low": paper.low,
        "paper_high": paper.high,
        **spread("strict_rate", strict, ".1g", prefix="strict"),
        **span("strict_vs_kn", UNKNOWN if role == "kn" else rate_lead(own, counts, "strict", "pairs"), ".1g"),
        **{name: int(counts[name].sum()) if role == "kn" else None for name in ("degenerate", "redundant")},
    }


def rate_lead(own: pl.DataFrame, control: pl.DataFrame, hits: str, trials: str) -> Interval:
    """The rate (column `hits` over column `trials`) of knowledge neurons less a control's, over the same subjects, paired.

    From the intervals of both rates (Newcombe); a rate of 0 is taken to differ between subjects as much as the other one does.
    Rates this rare have none by resampling that covers (simulated at 30 subjects and a rate of 0.002: .87 where .95 is promised).
    """
    if not own[trials].sum() or not control[trials].sum():
        return UNKNOWN
    subjects = sorted({*own["subject"], *control["subject"]})
    labels, rows = np.array(subjects), [one.select(hits, trials).to_numpy() for one in (own, control)]
    of = [
        (counts[:, 0], counts[:, 1], one["subject"].to_numpy())
        for one, counts in zip((own, control), rows, strict=True)
    ]
    effects = [design_effect(*one) for one in of]
    mine, theirs = (share_interval(*one, unseen=other) for one, other in zip(of, reversed(effects), strict=True))
    errors = []
    for one, counts in zip((own, control), rows, strict=True):
        all_subjects = np.concatenate([np.zeros((len(subjects), 2)), counts])
        sums = cluster_sums(all_subjects, np.concatenate([labels, one["subject"].to_numpy()]))
        errors.append(sums[:, 0] - sums[:, 0].sum() / sums[:, 1].sum() * sums[:, 1])
    size = float(np.sqrt((errors[0] ** 2).sum() * (errors[1] ** 2).sum()))
    return difference_of(mine, theirs, float(errors[0] @ errors[1]) / size if size else 0.0)


def _uncertain(degenerate: pl.DataFrame) -> tuple[str, ...]:
    """How many pairs cannot be judged by the strict rule; nothing where all can."""
    count = degenerate["interaction"].null_count()
    pairs = "pair is" if count == 1 else "pairs are"
    return (f"{count:,} {pairs} too near certainty for an interaction, and not strict",) if count else ()


def _twice(reader: Reader, view: View) -> tuple[str, ...]:
    """How many scans are stored but do not count because their fact was scanned on another query too."""
    count = reader.sql(_ON_TWO_QUERIES, view.parameters("model", "method", "langs")).item()
    return (f"scanned on two queries, and counted on the main one alone: {count:,} (fact, language)",) if count else ()


def _sizes(reader: Reader, view: View) -> str:
    """How many sets are too large to be scanned whole, and how many too small to hold a pair."""
    sizes = reader.kn(view).group_by("fact", "lang").len()
    large = int((sizes["len"] > 20).sum())
    single = int((sizes["len"] < 2).sum())
    return f"{sizes.height:,} sets N: {large:,} hold more than the 20 scanned, {single:,} fewer than two"


_SCHEMA = {
    "lang": pl.String,
    "neurons": pl.String,
    **dict.fromkeys(("facts", "subjects", "pairs", "paper", "strict", "expressed"), pl.Int64),
    **dict.fromkeys(("paper_rate", "paper_low", "paper_high"), pl.Float64),
    **spread_columns("strict_rate", prefix="strict"),
    **span_columns("strict_vs_kn"),
    **dict.fromkeys(("degenerate", "redundant"), pl.Int64),
}
