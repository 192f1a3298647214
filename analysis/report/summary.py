"""The tables of a whole analysis on two screens: what is known, where, what is shared, what backs each other up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.edits import table as edits_table
from knscope.analysis.factcheck import table as factcheck_table
from knscope.analysis.layers import table as layers_table
from knscope.analysis.likn import table as likn_table
from knscope.analysis.report import facts_known
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.neuron_sets import pair_of
from knscope.analysis.stored.standing import knows_any, said_below, with_standing
from knscope.store.reader import Reader
from knscope.store.view import View


def build(reader: Reader) -> list[Table]:
    """Facts known, neurons per layer and language, shared neurons, and degenerate pairs, over all models and methods."""
    known = facts_known.build(reader)
    shared, degenerate, notes, aside = [], [], {}, {}
    tables = [known]
    standing: list[str] = []
    for view in default_views(reader):
        standing += [f"{view.model.partition('@')[0]}, {view.method}: {line}" for line in said_below(reader, view)]
        names = (pl.lit(view.model.partition("@")[0]).alias("model"), pl.lit(view.method).alias("method"))
        if view.method == reader.methods(view.model)[0]:
            tables.append(with_standing(layers_table.build(reader, view), reader, view))
        if len(pair := pair_of(view.langs)) > 1:
            table = likn_table.build(reader, view.with_(langs=pair))
            shared.append(table.frame.head(4).select(*names, pl.all()))
            notes["likn"], aside["likn"] = table.notes, table.aside
        table = dkn_table.build(reader, view)
        if not table.frame.is_empty():
            last = table.frame["lang"][-1]
            rows = table.frame.filter(pl.col("lang") == last)
            degenerate.append(rows.select(*names, pl.all()))
            notes["dkn"], aside["dkn"] = table.notes[2:], table.aside
    if shared:
        below = (*notes["likn"], *standing)
        tables.append(Table("likn", "neurons shared by the languages", pl.concat(shared), below, aside["likn"]))
    if degenerate:
        below = (*notes["dkn"], *standing)
        tables.append(Table("dkn", "degenerate pairs and their controls", pl.concat(degenerate), below, aside["dkn"]))
    return tables


def default_views(reader: Reader) -> Iterator[View]:
    """A View of known facts with default thresholds for every stored model and method, over all its languages."""
    for model in reader.models():
        for method in reader.methods(model):
            view = View(model, method, tuple(reader.langs(model)))
            yield view.with_(known=knows_any(reader, view))


def experiments(reader: Reader) -> list[Table]:
    """Tables 1-3 of the paper for every model with stored edits or claims: its first method, the paper's two languages."""
    tables = []
    for view in default_views(reader):
        if view.method == reader.methods(view.model)[0]:
            pair = view.with_(langs=pair_of(view.langs))
            if reader.keys("edit"):
                tables.append(with_standing(edits_table.build(reader, pair), reader, pair))
            if reader.keys("claim"):
                tables.append(with_standing(factcheck_table.build(reader, pair), reader, pair))
    if any(one.name == "factcheck" for one in tables):
        tables.append(factcheck_table.printed())
    return [replace(one, notes=_once(tables, one)) for one in tables]


def _once(tables: Sequence[Table], one: Table) -> tuple[str, ...]:
    """The notes of a table that no later one of its kind says again: explanations stand once, at the end."""
    later = [other for other in tables[tables.index(one) + 1 :] if other.name == one.name]
    return tuple(note for note in one.notes if not any(note in other.notes for other in later))
