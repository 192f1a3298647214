"""Degenerate pairs (eq. 9-10), as the paper counts them and strictly, beside both controls."""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.bootstrap import Interval, cluster_sums, replicate
from analysis.tables import Table
from store.reader import Reader
from store.view import View

ROLES = {"kn": "knowledge neurons", "layer_control": "others, same layers", "drop_control": "others, same single drops"}
NOTES = (
    "pairs of the 20 strongest neurons whose members are both in N (controls: those standing in for them), main query",
    "paper: both singles lose at most T_low, the pair more than T_high; strict: and less together than apart (I < -delta)",
    "expressed: the answer is still first after each single, and lost after the pair; intervals resample facts",
)


def pairs(reader: Reader, view: View) -> Table:
    """The degenerate pairs of knowledge neurons, strongest interaction first."""
    frame = reader.dkn(view).filter(pl.col("paper") & (pl.col("role") == "kn")).drop("role")
    title = f"degenerate pairs: {view.model}, {view.method}"
    return Table("dkn_pairs", title, frame.sort("interaction", "fact", "lang", nulls_last=True), NOTES[1:])


def build(reader: Reader, view: View) -> Table:
    """Counts and rates by language (and over all of them), for the facts' neurons and for each control."""
    measured = reader.dkn(view)
    counts = _sizes(reader, view)
    langs = [lang for lang in view.langs if lang in set(measured["lang"])]
    groups = [(lang, measured.filter(pl.col("lang") == lang)) for lang in langs]
    if len(langs) > 1:
        groups.append(("all", measured))
    rows = [
        {"lang": lang, "neurons": name, **_rates(frame.filter(pl.col("role") == role))}
        for lang, frame in groups
        for role, name in ROLES.items()
    ]
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    title = f"degenerate pairs: {view.model}, {view.method}"
    limits = f"T_low {view.t_low:g}, T_high {view.t_high:g} ({view.drop}), delta {view.delta:g}"
    return Table("dkn", title, frame, (limits, *counts, *NOTES))


def _rates(frame: pl.DataFrame) -> dict[str, object]:
    low = high = None
    if not frame.is_empty():
        columns = np.stack([frame["strict"].to_numpy().astype(float), np.ones(frame.height)], axis=1)
        codes = frame["fact"].cast(pl.Categorical).to_physical().to_numpy()
        interval: Interval = replicate(cluster_sums(columns, codes), lambda s: s[..., 0] / s[..., 1]).interval()
        low, high = interval.low, interval.high
    share = {name: frame[name].mean() if frame.height else None for name in ("paper", "strict")}
    return {
        "facts": frame["fact"].n_unique(),
        "pairs": frame.height,
        "paper": int(frame["paper"].sum()),
        "strict": int(frame["strict"].sum()),
        "expressed": int(frame["expressed"].sum()),
        "paper_rate": share["paper"],
        "strict_rate": share["strict"],
        "strict_low": low,
        "strict_high": high,
    }


def _sizes(reader: Reader, view: View) -> tuple[str, ...]:
    """How many sets are too large to be scanned whole, and how many too small to hold a pair."""
    sizes = reader.kn(view).group_by("fact", "lang").len()
    large = int((sizes["len"] > 20).sum())
    single = int((sizes["len"] < 2).sum())
    return (f"{sizes.height:,} sets N: {large:,} hold more than the 20 scanned, {single:,} fewer than two",)


_SCHEMA = {
    "lang": pl.String,
    "neurons": pl.String,
    **dict.fromkeys(("facts", "pairs", "paper", "strict", "expressed"), pl.Int64),
    **dict.fromkeys(("paper_rate", "strict_rate", "strict_low", "strict_high"), pl.Float64),
}
