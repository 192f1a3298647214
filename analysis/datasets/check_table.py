"""What a file of facts holds, what of it cannot be used and why; with a model's report beside it when there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from knscope.analysis.statistics.table import Table


def build(data: str, langs: tuple[str, ...] = (), relations: tuple[str, ...] = ()) -> list[Table]:
    """Facts, prompts and pairing by relation and language; then the rows that were left out.

    :raises UserError: when the data cannot be read at all
    """
    from knscope.analysis import datasets

    dataset = datasets.load(data, langs=langs, relations=relations)
    counts = datasets.usability(dataset.frame)
    notes = (
        f"hash {dataset.hash[:12]}; paired: facts with prompts in all of {', '.join(dataset.langs)}",
        "decoders use only templates with nothing after [Y]; alternatives are other right answers of a subject",
    )
    tables = [Table("data", dataset.name, counts, notes)]
    if not dataset.report.is_empty():
        tables.append(Table("left_out", "left out", dataset.report))
    return tables


def of_model(report: Mapping[str, Any]) -> list[Table]:
    """From the document of `python -m knscope.analysis.runs check`: what the model can use and knows, and why not the rest."""
    notes = (
        "usable: at least one prompt can be asked; paired: usable in every language; known: on at least one prompt, "
        "every answer token is the model's first choice",
    )
    tables = [Table("model", f"with {report['model']} ({report['kind']})", pl.DataFrame(report["table"]), notes)]
    if report["reasons"]:
        why = ("facts: those with no other prompt left in that language; no-pair: usable, but not in every language",)
        tables.append(Table("unusable", "what cannot be used", pl.DataFrame(report["reasons"]), why))
    return tables
