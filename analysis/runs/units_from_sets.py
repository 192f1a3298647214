"""Units of what follows the scans: edits of neuron sets and claims, which need the sets that are stored by then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits.choose import WantedEdit
from knscope.analysis.edits.sets import Ablation
from knscope.analysis.edits.suppression import Sources
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck.choose import WantedClaim
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.keys import attribution_key, claim_key, edit_key, model_hash
from knscope.analysis.runs.units import Unit, unit_rows
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View

EDITS_A_UNIT = 256

Late = tuple[list[Unit], int, int]
"""Units of what is missing, how many results are wanted, how many of these are stored."""


def edit_units(
    reader: Reader,
    source: str,
    row: Mapping[str, Any],
    view: View,
    seed: int,
    suppress: Sequence[Ablation] = ("zero",),
) -> Late:
    """Every edit that tables 1 and 2 show for a View, grouped by the query it is read on."""
    model, have = model_hash(row), reader.keys("edit")
    wanted = edits_choose.wanted(reader, view, seed, suppress)
    sources = {name: queries for edit in wanted for name, queries in edit.operations.items() if queries}
    wrong = wrong_objects(wanted)
    keys: set[str] = set()
    unrelated = {(edit.reads[1], edit.neurons) for edit in wanted if edit.kinds[:1] == (edit.irrelevant,)}
    missing: dict[Query, list[tuple[str, tuple[int, ...], bool]]] = defaultdict(list)
    for edit in wanted:
        for query in edit.reads:
            for operation in edit.operations:
                key = edit_key(model, query.id, edit.neurons, operation)
                if key not in keys and key not in have:
                    missing[query].append((operation, edit.neurons, (query, edit.neurons) in unrelated))
                keys.add(key)
    aside = (
        edits_choose.irrelevant(reader, view, seed)
        .filter("new")
        .select("fact", "other", "same_relation", "kind")
        .rows()
    )
    units: list[Unit] = []
    part: list[dict[str, Any]] = []
    size = 0
    for query, edits in missing.items():
        part.append({"query": asdict(query), "wrong": wrong.get(query), "edits": edits})
        size += len(edits)
        if size >= EDITS_A_UNIT:
            units.append(_edit_unit(source, part, size, sources, seed))
            part, size = [], 0
    if part:
        units.append(_edit_unit(source, part, size, sources, seed))
    if units and aside:
        first = {**units[0].payload, "irrelevant": aside}
        units[0] = Unit("edit", source, payload=first, seed=seed)
    return units, len(keys), len(keys & have)


def _edit_unit(source: str, reads: Sequence[Mapping[str, Any]], size: int, sources: Sources, seed: int) -> Unit:
    """`sources` of the payload: whose activations an operation puts in."""
    used = {operation for read in reads for operation, _, _ in read["edits"]}
    taken = {name: [asdict(query) for query in sources[name]] for name in sorted(used & sources.keys())}
    return Unit("edit", source, payload={"reads": reads, "size": size, "sources": taken}, seed=seed)


def claim_units(reader: Reader, source: str, row: Mapping[str, Any], view: View, seed: int, gpus: int = 0) -> Late:
    """Every claim that table 3 judges for a View; those of one relation and language share the neurons that are read."""
    model, have, attributed = model_hash(row), reader.keys("claim"), reader.keys("attribution")
    groups: dict[tuple[int, ...], list[WantedClaim]] = defaultdict(list)
    keys: set[str] = set()
    for claim in factcheck_choose.wanted(reader, view, seed):
        key = claim_key(model, claim.query.id, view.method, claim.neurons)
        if key not in have and key not in keys:
            groups[claim.neurons].append(claim)
        keys.add(key)
    units = []
    size = unit_rows(sum(map(len, groups.values())), gpus)
    for neurons, claims in groups.items():
        for start in range(0, len(claims), size):
            part = claims[start : start + size]
            made = [
                _claim_json(one) | _computed(reader, attributed, attribution_key(model, one.main, view.method), one)
                for one in part
            ]
            payload = {"neurons": list(neurons), "claims": made, "size": len(part)}
            units.append(Unit("claim", source, view.method, payload=payload, seed=seed))
    return units, len(keys), len(keys & have)


def _claim_json(claim: WantedClaim) -> dict[str, Any]:
    return {"query": asdict(claim.query), "main": claim.main, "correct": claim.correct, "part": claim.part}


def _computed(reader: Reader, attributed: frozenset[str], key: str, claim: WantedClaim) -> dict[str, Any]:
    """The stored attributions of a right claim's neurons, which are those of the fact's own query; else nothing."""
    if not claim.correct or key not in attributed:
        return {}
    try:
        return {"attribution": reader.dense(key)[list(claim.neurons)].tolist()}
    except UserError:  # damaged or gone since: they are computed again
        return {}


def wrong_objects(wanted: Sequence[WantedEdit]) -> dict[Query, str]:
    """For each fact's own query a wrong object of its relation and language: the next that is no right one of its subject,
    in the order of objects."""
    own = {edit.reads[0] for edit in wanted if edit.reads}
    objects: dict[tuple[str, str], list[str]] = {}
    right: dict[tuple[str, str, str], set[str]] = {}
    for query in own:
        objects.setdefault((query.relation, query.lang), []).append(query.object)
        named = query.relation, query.lang, query.subject
        right.setdefault(named, set()).update((query.object, *query.alternatives))
    found = {}
    for query in own:
        there = sorted({*objects[query.relation, query.lang]})
        start = there.index(query.object)
        allowed = [
            one for one in there[start:] + there[:start] if one not in right[query.relation, query.lang, query.subject]
        ]
        if allowed:
            found[query] = allowed[0]
    return found
