"""Everything a paper takes from a store, chapter by chapter: the tables of each View, and where the results come from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.edits import others as edits_others
from knscope.analysis.edits import table as edits_table
from knscope.analysis.factcheck import table as factcheck_table
from knscope.analysis.faithfulness import stored as faithfulness_stored
from knscope.analysis.layers import enrichment as layers_enrichment
from knscope.analysis.likn import table as likn_table
from knscope.analysis.report import facts_known
from knscope.analysis.runs import experiment
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.neuron_sets import pair_of
from knscope.analysis.stored.standing import with_standing
from knscope.store import runs
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

_MODELS = """
    SELECT model, architecture, dtype, n_layers AS layers, n_neurons AS neurons, source, revision, weights_hash, tokenizer_hash
    FROM model ORDER BY model
"""


@dataclass(frozen=True)
class Chapter:
    """The tables of one View. `which`: which method is right about its model, with a model's first method."""

    view: View
    tables: tuple[Table, ...]
    which: str = ""


def chapter(reader: Reader, view: View) -> Chapter:
    """The tables of a View for which something is stored.

    Table 1 compares all stored methods, so edits stand with a model's first, as does what `faithfulness` has kept there. Edits
    and claims are about the paper's two languages where a View has more, as in the summary: each language has sets of its own
    to be edited.
    """
    pair = view.with_(langs=pair_of(view.langs))
    first = view.method == reader.methods(view.model)[0]
    tables = [layers_enrichment.build(reader, view)]
    tables += [likn_table.build(reader, view)] if len(view.langs) > 1 else []
    tables += [dkn_table.build(reader, view)] if reader.keys("scan") else []
    if first and reader.keys("edit"):
        tables += [edits_table.build(reader, pair), edits_others.build(reader, pair)]
    tables += [factcheck_table.build(reader, pair)] if reader.keys("claim") else []
    tables = [with_standing(table, reader, view) for table in tables if not table.frame.is_empty()]
    held = faithfulness_stored.tables(reader.path, view.model) if first else []
    which = (held[0].notes[0] if held else faithfulness_stored.NONE) if first else ""
    return Chapter(view, (*tables, *held), which)


def sources(reader: Reader) -> tuple[Table, ...]:
    """What is known, by which models, computed by which runs."""
    models = Table("models", "models", reader.sql(_MODELS), aside=("weights_hash", "tokenizer_hash"))
    return facts_known.build(reader), models, _runs(reader)


def experiments(reader: Reader) -> dict[str, str]:
    """Each run that names models, as the file that `knscope run` takes; those that cannot be run again are left out."""
    found = {}
    for record in runs.read_runs(reader.path):
        if record.config.get("models"):
            with suppress(UserError):
                found[record.run] = experiment.write(record)
    return found


def _runs(reader: Reader) -> Table:
    rows = []
    for record in runs.read_runs(reader.path):
        where = record.provenance
        begun = datetime.fromtimestamp(record.started, UTC).isoformat(" ", "minutes") if record.started else None
        libraries = where.get("libraries", {})
        rows.append(
            {
                "run": record.run,
                "status": record.status,
                "started": begun,
                "results": record.computed,
                "failed": len(record.failures),
                "dataset": where.get("dataset"),
                "dataset_hash": where.get("dataset_hash"),
                "methods": ", ".join(where.get("methods", {})),
                "seed": where.get("seed"),
                "device": where.get("device"),
                "host": where.get("host"),
                "knscope": where.get("code"),
                "numerics": where.get("numerics_version"),
                **{name: libraries.get(name) for name in ("torch", "transformers")},
            }
        )
    return Table("runs", "runs", pl.DataFrame(rows, infer_schema_length=None), aside=("dataset_hash",))
