"""Tables of what a file of facts holds and which rows cannot be used, and of what a model can use of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from knscope.analysis.prompts.words import WITHOUT_PATH
from knscope.analysis.statistics.table import Table


def build(
    data: str, langs: tuple[str, ...] = (), relations: tuple[str, ...] = (), columns: tuple[str, ...] = ()
) -> list[Table]:
    """Facts, prompts and pairing by relation and language; then the rows that were left out.

    :raises UserError: when the data cannot be read at all
    """
    from knscope.analysis import datasets

    dataset = datasets.load(data, langs=langs, relations=relations, columns=columns)
    counts = datasets.usability(dataset.frame)
    notes = (
        f"hash {dataset.hash[:12]}; paired: facts with prompts in all of {', '.join(dataset.langs)}",
        "decoders use only templates with nothing after [Y]; alternatives are other right answers of a subject",
        *_spaced(datasets.spaced_slots(dataset.frame)),
    )
    tables = [Table("data", dataset.name, counts, notes)]
    if not dataset.report.is_empty():
        tables.append(Table("left_out", "left out", dataset.report))
    return tables


def of_model(report: Mapping[str, Any]) -> list[Table]:
    """Tables of the facts that a model can use and knows, from the document of `python -m knscope.analysis.runs check`."""
    notes = (
        "usable: at least one prompt can be asked; paired: usable in every language; known: on at least one prompt, "
        "every answer token is the model's first choice",
    )
    tables = [Table("model", f"with {report['model']} ({report['kind']})", pl.DataFrame(report["table"]), notes)]
    tables.append(Table("words", "words of its usable prompts", pl.DataFrame(report["words"]), (WITHOUT_PATH,)))
    if report["reasons"]:
        why = ("facts: those with no other prompt left in that language; no-pair: usable, but not in every language",)
        tables.append(Table("unusable", "what cannot be used", pl.DataFrame(report["reasons"]), why))
    return tables


def _spaced(templates: pl.DataFrame) -> list[str]:
    """A warning for each language with such templates."""
    return [
        f"warning: {lang}: white space stands beside [X] or [Y] in {len(found):,} of the templates (spaced_templates), such as "
        f"{found[0]!r}, though the script is written without spaces; a model has hardly read such text and knows less "
        "after it: take the space out"
        for (lang,), rows in templates.group_by("lang", maintain_order=True)
        for found in [rows["template"]]
    ]
