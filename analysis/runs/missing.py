"""What a View shows that is not stored yet: counted in results and model passes, and cut into units. Knows no torch.

A run fills a store from a dataset at the default thresholds; this fills what one View lacks, also at other thresholds
and for questions that no dataset holds. Scans need the attributions of their fact and edits need both, so units come in
stages: ask again when those of one stage are stored, until nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import needs_others
from knscope.analysis.dkn.choose import SCAN_SIZE
from knscope.analysis.engine.sources import BUNDLED, is_path, split_site
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs import planner
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.facts import other_facts
from knscope.analysis.runs.keys import model_hash
from knscope.analysis.runs.stored import ReaderStored
from knscope.analysis.runs.units import ROLES, UNIT_ROWS, Unit
from knscope.analysis.stored.facts import FIELDS, StoredFacts, attributed, of_view, stored_facts
from knscope.store import runs as run_files
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

SCANS_A_UNIT = 8  # facts; small, so that a first result is seen soon
SCAN_PASSES = 3 * (SCAN_SIZE * (SCAN_SIZE + 1) // 2) + 5 * SCAN_SIZE
"""Singles and pairs of the neurons and of two controls, and the singles among which drops are matched."""
FEW_NODES = 5  # a path's nodes, where no attribution is stored to count them on

_NODES = """
    SELECT sum(p.nodes) / count(DISTINCT p.key) AS passes FROM path p JOIN attribution a USING (key)
    WHERE a.model = $model AND a.method = $method
"""
_WORDS = "SELECT avg(n_words) AS words FROM prediction WHERE model = $model"


@dataclass(frozen=True)
class Missing:
    """Results that are not stored, of `facts` facts, and about how many model passes they take."""

    facts: tuple[str, ...]
    counts: Mapping[str, int]
    """attributions, scans, edits, claims: only those that are missing."""
    passes: int
    units: tuple[Unit, ...]
    """What can be computed now; the rest follows from these."""
    note: str = ""
    """What is not asked for, and why."""

    @property
    def results(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class _Asked:
    """What the parts of the count share."""

    reader: Reader
    view: View
    model: Mapping[str, Any]
    facts: StoredFacts
    rows: pl.DataFrame
    """The stored queries that the View speaks of."""
    seed: int

    @cached_property
    def seeds(self) -> frozenset[int]:
        """Controls that a run of this store drew with a seed of its own are as good as those of `seed`."""
        drawn = (record.config.get("seed", 0) for record in run_files.read_runs(self.reader.path))
        return frozenset({self.seed, *drawn})

    @cached_property
    def source(self) -> str:
        return source_of(self.reader, self.model)

    @property
    def stored(self) -> ReaderStored:
        return ReaderStored(self.reader)

    @property
    def hash(self) -> str:
        return model_hash(self.model)

    @property
    def names(self) -> dict[str, str]:
        return {"model": self.view.model, "method": self.view.method}


def missing(reader: Reader, view: View, what: Sequence[str] = ("attribution", "dkn"), seed: int = 0) -> Missing:
    """Count what of `what` (a run's phases) the View lacks, and cut what can start into units.

    :raises UserError: the View's model is not in the store
    """
    asked = _asked(reader, view, seed)
    units, facts, counts, passes = _attributions(asked)
    if "dkn" in what:
        more = _scans(asked, {query.id for unit in units for query in unit.queries})
        units, facts = [*units, *more.units], facts | set(more.facts)
        counts, passes = {**counts, **more.counts}, passes + more.passes
    note = _unjudged(asked) if "factcheck" in what else ""
    if not counts:  # edits and claims start from sets that are stored whole
        for phase, name, make, each in (
            ("sets", "sets", planner.set_units, 1.0),
            ("edit", "edits", planner.edit_units, 1.0),
            ("factcheck", "claims", planner.claim_units, _passes_of_one(asked)),
        ):
            if phase in what:
                own = factcheck_choose.seed_of(reader) if phase == "factcheck" else seed
                found, total, stored = make(reader, asked.source, asked.model, view, own)
                units += found
                counts |= {name: total - stored} if total > stored else {}
                passes += round(each * (total - stored))
    ready = tuple(replace(unit, model=asked.hash) for unit in units)
    return Missing(tuple(sorted(facts)), counts, passes, ready, note)


def _unjudged(asked: _Asked) -> str:
    """From the parts of the subjects, which are known before any neuron is."""
    part = factcheck_choose.parts(asked.reader, asked.view.model, factcheck_choose.seed_of(asked.reader))
    places = asked.rows.select("lang", "fact").unique().iter_rows()
    return factcheck_choose.unjudged((lang, part[fact]) for lang, fact in places if fact in part)


def model_row(reader: Reader, model: str) -> Mapping[str, Any]:
    """The stored row of a model.

    :raises UserError: it is not in the store
    """
    models = reader.sql("SELECT * FROM model WHERE model = $model", {"model": model})
    if models.is_empty():
        raise UserError(f"{model} is not in this store; there is {', '.join(reader.models()) or 'none yet'}")
    return models.row(0, named=True)


def source_of(reader: Reader, row: Mapping[str, Any]) -> str:
    """Where a stored model lies now: where it was loaded from first, else where a later run found it, else among the bundled
    ones. Stores are computed on one machine and looked at on another; whoever loads it compares the weights."""
    records = reversed(run_files.read_runs(reader.path))
    later = [
        str(source)
        for record in records
        for source, held in record.provenance.get("models", {}).items()
        if held.get("model") == row["model"]
    ]
    for source in (str(row["source"]), *later, str(BUNDLED / str(row["name"]))):
        if not is_path(source) or (Path(split_site(source)[0]) / "config.json").is_file():
            return source
    return str(row["source"])


def _asked(reader: Reader, view: View, seed: int) -> _Asked:
    model = model_row(reader, view.model)
    facts = stored_facts(reader, view.model)
    return _Asked(reader, view, model, facts, of_view(facts.frame, view), seed)


def _attributions(asked: _Asked) -> tuple[list[Unit], set[str], dict[str, int], int]:
    queries = [Query(*row) for row in asked.rows.select(FIELDS).iter_rows()]
    pool = _pool(asked.reader, asked.view.method) if needs_others(parse_method(asked.view.method)) else ()
    given = asked.source, asked.hash, asked.view.method, queries, UNIT_ROWS, pool
    units, wanted, stored = planner.attribution_units(asked.stored, *given)
    facts = {query.fact for unit in units for query in unit.queries}
    lacking = wanted - stored
    return units, facts, {"attributions": lacking} if lacking else {}, round(_passes_of_one(asked) * lacking)


def _pool(reader: Reader, method: str) -> Sequence[Query]:
    """The data of the newest run of a method, else of the newest that names any.

    :raises UserError: they cannot be read any more
    """
    found = [record.config for record in run_files.read_runs(reader.path) if record.config.get("data")]
    named = sorted(found, key=lambda config: method in config.get("methods", ()))
    return other_facts(RunConfig.from_json(named[-1])) if named else ()


def _passes_of_one(asked: _Asked) -> float:
    """Passes of one attribution: as those stored took; else a guess from the words of the prompts."""
    found = asked.reader.sql(_NODES, asked.names)["passes"][0]
    if found:
        return float(found)
    words = asked.reader.sql(_WORDS, {"model": asked.view.model})["words"][0] or 1.0
    return float(words) * float(asked.model["n_layers"]) * FEW_NODES


def _scans(asked: _Asked, lacking: set[str]) -> Missing:
    """Scans of facts whose queries are all attributed, as units; the others are counted."""
    lacks = dict.fromkeys(asked.rows.filter(pl.col("query").is_in(lacking)).select("fact", "lang").iter_rows())
    places = [place for place in dict.fromkeys(asked.rows.select("fact", "lang").iter_rows()) if place not in lacks]
    about = (
        asked.hash,
        asked.view.method,
        places,
        asked.facts.main,
        attributed(asked.reader, **asked.names),
        asked.seeds,
    )
    items = planner.scan_items(asked.stored, *about)
    units = tuple(
        Unit("scan", asked.source, asked.view.method, scans=tuple(part), seed=asked.seed)
        for part in planner.cut(items, SCANS_A_UNIT)
    )
    results = len(lacks) * len(ROLES) + sum(len(item.roles) for item in items)
    passes = SCAN_PASSES * len(lacks) + sum(SCAN_PASSES * len(item.roles) // len(ROLES) for item in items)
    facts = (*(fact for fact, _ in lacks), *(item.query.fact for item in items))
    return Missing(facts, {"scans": results} if results else {}, passes, units)
