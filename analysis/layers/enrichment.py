"""Figures 3-5 with what they need to be read: shares by layer with intervals, and whether a subset of N is anywhere special.

L and 𝒟 are subsets of N, so they lie where N lies even if drawn from it blindly. `expected` is the share of a layer if each
fact's subset were random among its own N; `enrichment` is observed over expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from knscope.analysis.statistics.bootstrap import DRAWS, Statistic, cluster_sums, mean_interval, ratio
from knscope.analysis.statistics.columns import spread, spread_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.facts import subject_of
from knscope.analysis.stored.neuron_sets import Neurons, gather
from knscope.analysis.types import Floats
from knscope.store.reader import Reader
from knscope.store.view import View

NOTES = (
    "n: neurons over all facts, pooled: their share; share: mean over facts of the fact's share; intervals (95 %) resample subjects. "
    "~: fewer than 10 subjects, rough; too few: fewer than 5",
    "LIKN and DKN (neurons in degenerate pairs) are subsets of N and lie where N lies even if drawn from it at random: expected. "
    "enrichment: observed / expected; 1 inside its interval says that the layer is nothing special",
)


@dataclass(frozen=True)
class Kind:
    """Neurons by layer of each fact (F, layers), and what to expect of a random subset of N; None where it is N itself."""

    name: str
    counts: Floats
    expected: Floats | None
    subjects: list[str]


def build(reader: Reader, view: View, draws: int = DRAWS, seed: int = 0) -> Table:
    """One row a kind (each language's N, LIKN, each language's DKN) and layer."""
    neurons = gather(reader, view)
    subject = subject_of(reader)
    layers = reader.sql("SELECT layer FROM site WHERE model = $model ORDER BY layer", {"model": view.model})["layer"]
    rows = []
    for kind in _kinds(reader, view, neurons, [subject[fact] for fact in neurons.facts]):
        rows += [{"kind": kind.name, **row} for row in layer_rows(kind, layers.to_list(), draws, seed)]
    title = f"shares by layer: {view.model}, {view.method}"
    return Table("enrichment", title, pl.DataFrame(rows, schema=_SCHEMA), NOTES, told_in_text(_SCHEMA))


def _kinds(reader: Reader, view: View, neurons: Neurons, subjects: list[str]) -> Iterator[Kind]:
    if not neurons.facts:
        return
    by_layer = neurons.sets.layer_sizes().astype(np.float64)  # (F, K, layers)
    share = shares(by_layer)
    for k, lang in enumerate(neurons.langs):
        yield Kind(lang, by_layer[:, k], None, subjects)
    if len(neurons.langs) > 1:
        shared = _shared(neurons)
        yield Kind("LIKN", shared, shared.sum(axis=1, keepdims=True) * share.mean(axis=1), subjects)
    degenerate = reader.dkn(view).filter(pl.col("role") == "kn")
    for k, lang in enumerate(neurons.langs):
        found = _degenerate(degenerate.filter(pl.col("lang") == lang), neurons, by_layer.shape[2], reader, view)
        if found.any():
            yield Kind(f"DKN {lang}", found, found.sum(axis=1, keepdims=True) * share[:, k], subjects)


def shares(counts: Floats) -> Floats:
    """Counts over their sum along the last axis; 0 where there is none."""
    total = counts.sum(axis=-1, keepdims=True)
    result: Floats = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return result


def _shared(neurons: Neurons) -> Floats:
    """|L| by layer of each fact, (F, layers)."""
    sets = neurons.sets
    ends = np.cumsum(sets.widths)
    found = np.zeros((sets.n_facts, len(sets.widths)))
    for fact in np.flatnonzero(sets.present.all(axis=1)).tolist():
        common = set.intersection(*(set(sets.get(fact, k).tolist()) for k in range(sets.n_langs)))
        np.add.at(found[fact], np.searchsorted(ends, sorted(common), side="right"), 1)
    return found


def _degenerate(pairs: pl.DataFrame, neurons: Neurons, n_layers: int, reader: Reader, view: View) -> Floats:
    """Neurons in degenerate pairs by layer of each fact, (F, layers)."""
    layers = reader.sql("SELECT layer FROM site WHERE model = $model ORDER BY layer", {"model": view.model})["layer"]
    place = {layer: i for i, layer in enumerate(layers)}
    row = {fact: i for i, fact in enumerate(neurons.facts)}
    found = np.zeros((len(neurons.facts), n_layers))
    ends = [pairs.select("fact", layer=f"layer_{end}", neuron=f"neuron_{end}") for end in "ab"]
    for fact, layer, _ in pl.concat(ends).unique().iter_rows():
        if fact in row:
            found[row[fact], place[layer]] += 1
    return found


def layer_rows(kind: Kind, layers: list[int], draws: int = DRAWS, seed: int = 0) -> Iterator[dict[str, object]]:
    """Counts, shares with intervals and enrichment of one kind, layer by layer; facts without a neuron are left out."""
    used = kind.counts.sum(axis=1) > 0
    if not used.any():
        return
    counts, share = kind.counts[used], shares(kind.counts[used])
    clusters = np.array(kind.subjects)[used]
    pooled = counts.sum(axis=0) / counts.sum()
    for i, layer in enumerate(layers):
        expected = np.zeros(len(counts)) if kind.expected is None else kind.expected[used, i]
        mean = mean_interval(share[:, i], clusters, draws=draws, seed=seed).within(0.0, 1.0)
        row: dict[str, object] = {
            "layer": layer,
            "subjects": len(np.unique(clusters)),
            "n": int(counts[:, i].sum()),
            "pooled": float(pooled[i]),
            **spread("share", mean, ".3f"),
        }
        if kind.expected is not None:
            sums = cluster_sums(np.stack([counts[:, i], expected], axis=1), clusters)
            over = Statistic(sums, ratio, draws, seed).interval().within(0.0)
            row["expected"] = float(expected.sum() / counts.sum())
            row |= spread("enrichment", over, ".3f")
        yield row


_SCHEMA = {
    "kind": pl.String, "layer": pl.Int64, "subjects": pl.Int64, "n": pl.Int64, "pooled": pl.Float64,
    **spread_columns("share"), "expected": pl.Float64, **spread_columns("enrichment"),
}  # fmt: skip
