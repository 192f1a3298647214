"""What of the results that are wanted is not stored, as units: attributions, scans, edits and claims. Knows no torch.

A run's schedule and the count of what a View lacks both ask here. Scans need their fact's attributions, and edits and claims
the neuron sets that are stored by then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np

from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import draw_others
from knscope.analysis.dkn import larger as dkn_larger
from knscope.analysis.dkn.choose import strongest
from knscope.analysis.dkn.larger import SIZE
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits.choose import WantedEdit
from knscope.analysis.edits.sets import Ablation
from knscope.analysis.edits.suppression import Sources
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck.choose import WantedClaim
from knscope.analysis.neurons import choose as neurons_choose
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.keys import (
    activation_key,
    attribution_key,
    claim_key,
    edit_key,
    model_hash,
    prediction_key,
    scan_key,
    vocabulary_key,
    wiring_key,
)
from knscope.analysis.runs.units import ROLES, ROWS, ScanItem, Unit, unit_rows
from knscope.analysis.stored.facts import stored_facts
from knscope.analysis.stored.negative import Sign
from knscope.analysis.types import Floats
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import FLOOR, View

WIRED_A_UNIT = 4096
"""Neurons: each unit passes over all output vectors of the model."""
TABLES = {
    "predict": "prediction",
    "attribute": "attribution",
    "scan": "scan",
    "edit": "edit",
    "claim": "claim",
    "neurons": "vocabulary",
    "wiring": "wiring",
    "activate": "activation",
}
"""Where the results of a unit's phase are stored."""
Planned = tuple[list[Unit], int, int]
"""Units of what is missing, how many results are wanted, how many of these are stored."""
Place = tuple[str, str]  # a fact in a language


class Stored(Protocol):
    """What planning asks of the store."""

    def keys(self, table: str, keys: Collection[str], fresh: bool = True) -> Collection[str]:
        """Which of the keys are stored; not `fresh`: what the asking run has committed itself may be missing."""

    def mean_rel(self, keys: Sequence[str]) -> Floats:
        """Mean over the attributions `keys` of rel, (n_neurons,); empty where none is stored."""


def cut(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def attribution_units(
    stored: Stored,
    source: str,
    model: str,
    method: str,
    queries: Iterable[Query],
    size: int,
    pool: Sequence[Query] = (),
) -> Planned:
    """`model` is what `model_hash` returns, here and below; `size` the queries of a unit; from `pool` come the other facts that
    some methods start from."""
    keys = {attribution_key(model, query.id, method): query for query in queries}
    have = stored.keys("attribution", keys)
    missing = [query for key, query in keys.items() if key not in have]
    config = parse_method(method)
    units = [
        Unit("attribute", source, method, queries=tuple(part), others=draw_others(config, part, pool))
        for part in cut(missing, size)
    ]
    return units, len(keys), len(have)


def scan_items(
    stored: Stored,
    model: str,
    method: str,
    places: Iterable[Place],
    mains: Mapping[Place, Query],
    attributed: Mapping[Place, Sequence[str]],
    seeds: Collection[int],
) -> list[ScanItem]:
    """What is not stored of the scans of these places' main queries; `attributed` names the attributions of each."""
    found = (
        scan_item(stored, model, method, mains[place], attributed.get(place, ()), seeds)
        for place in places
        if place in mains
    )
    return [item for item in found if item is not None]


def scan_item(
    stored: Stored, model: str, method: str, query: Query, attributions: Sequence[str], seeds: Collection[int]
) -> ScanItem | None:
    """The n neurons of highest mean rel over the fact's templates, and the roles not stored yet; None when none is missing.

    :param attributions: keys of the fact's templates
    :param seeds: a control drawn with any of them is stored
    """
    rel = stored.mean_rel(attributions)
    chosen = tuple(strongest(rel).tolist())
    if len(chosen) < 2:
        return None
    keys = {scan_key(model, query.id, method, role, seed, chosen): role for role in ROLES for seed in sorted(seeds)}
    have = {keys[key] for key in stored.keys("scan", keys)}
    missing = tuple(role for role in ROLES if role not in have)
    if not missing:
        return None
    # a neuron that is low in the mean and high on one template may be in N all the same
    present = stored.keys("attribution", attributions)
    highest = np.maximum.reduce([stored.mean_rel([key]) for key in attributions if key in present])
    serving = tuple((int(n), float(highest[n])) for n in np.flatnonzero(highest >= FLOOR))
    return ScanItem(query, chosen, serving, missing)


def neuron_units(stored: Stored, source: str, model: str, n_layers: int) -> Planned:
    """What the neurons of each layer write into the vocabulary, a layer a unit."""
    wanted = {vocabulary_key(model, layer): layer for layer in range(n_layers)}
    have = stored.keys("vocabulary", wanted)
    missing = [layer for key, layer in wanted.items() if key not in have]
    return [Unit("neurons", source, payload={"layers": [one], "size": 1}) for one in missing], len(wanted), len(have)


def wiring_units(reader: Reader, source: str, row: Mapping[str, Any]) -> Planned:
    """What the neurons that matter (`neurons.choose`) read and lie near to."""
    model, have = model_hash(row), reader.keys("wiring")
    wanted = {wiring_key(model, one): one for one in neurons_choose.chosen(reader, str(row["model"])).tolist()}
    missing = [neuron for key, neuron in wanted.items() if key not in have]
    units = [Unit("wiring", source, payload={"flat": part, "size": len(part)}) for part in cut(missing, WIRED_A_UNIT)]
    return units, len(wanted), len(wanted) - len(missing)


def activation_units(reader: Reader, source: str, row: Mapping[str, Any], gpus: int = 0) -> Planned:
    """Activations of the neurons that matter on every query that the model has answered."""
    label = str(row["model"])
    queries = {query.id: query for query in stored_facts(reader, label).queries}
    lacking = neurons_choose.unread(reader, label, queries)
    units, missing = [], set[str]()
    for neurons, ids in lacking.items():
        missing.update(ids)
        for part in cut(ids, unit_rows(len(ids), gpus)):
            payload = {"neurons": list(neurons)}
            units.append(Unit("activate", source, queries=tuple(queries[one] for one in part), payload=payload))
    return units, len(queries), len(queries) - len(missing)


def edit_units(
    reader: Reader,
    source: str,
    row: Mapping[str, Any],
    view: View,
    seed: int,
    suppress: Sequence[Ablation] = ("zero",),
    signs: Sequence[Sign] = ("positive",),
    facts: Collection[str] = (),
) -> Planned:
    """Every edit that tables 1 and 2 show for a View, grouped by the query it is read on; of `facts` alone where some are named."""
    wanted = edits_choose.wanted(reader, view, seed, suppress, signs)
    return _edits(reader, source, row, wanted, seed, facts, _new_others(reader, view, seed))


def given_units(
    reader: Reader,
    source: str,
    row: Mapping[str, Any],
    view: View,
    seed: int,
    sets: Mapping[str, NeuronSet],
    suppress: Sequence[Ablation] = ("zero",),
    facts: Collection[str] = (),
) -> Planned:
    """Every edit of sets of one's own, those of other models left out; `facts` as for `edit_units`."""
    mine = {name: one for name, one in sets.items() if one.is_of(view.model)}
    wanted = [
        edit
        for name, one in mine.items()
        for edit in edits_choose.wanted_of_set(reader, view, name, one, seed, suppress)
    ]
    return _edits(reader, source, row, wanted, seed, facts, _new_others(reader, view, seed))


def edits_of(config: RunConfig, langs: Sequence[str]) -> int:
    """About how many edits are read: of `langs`, one entry a fact and language.

    A fact has a set a method, a random one, one from half of its templates, and six of two languages together (tables 1 and 2); each is
    read on the fact and on up to eleven others, suppressed in each way and enhanced.
    """
    facts = max(Counter(langs).values(), default=0)
    sets = (
        len(config.methods)
        + 1
        + (config.templates != "1")
        + 2 * ("negative" in config.signs)
        + 6 * (len(set(langs)) > 1)
    )
    reads = min(12.0, 1 + 0.6 * (facts - 1))
    return round(len(langs) * sets * reads * (1 + len(config.suppress)))


def set_units(
    reader: Reader,
    source: str,
    row: Mapping[str, Any],
    view: View,
    seed: int,
    size: int = SIZE,
    facts: Collection[str] = (),
) -> Planned:
    """Every set of three and more neurons that is ablated to find degenerate ones; `facts` as for `edit_units`."""
    return _edits(reader, source, row, dkn_larger.wanted(reader, view, size, seed), seed, facts)


def _new_others(reader: Reader, view: View, seed: int) -> Sequence[tuple[Any, ...]]:
    new = edits_choose.irrelevant(reader, view, seed).filter("new")
    return new.select("fact", "other", "same_relation", "kind").rows()


def _edits(
    reader: Reader,
    source: str,
    row: Mapping[str, Any],
    wanted: Sequence[WantedEdit],
    seed: int,
    facts: Collection[str],
    aside: Sequence[tuple[Any, ...]] = (),
) -> Planned:
    """`aside`: rows of table irrelevant that are not stored."""
    wanted = [edit for edit in wanted if not facts or edit.fact in facts]
    model, have = model_hash(row), reader.keys("edit")
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
    units: list[Unit] = []
    part: list[dict[str, Any]] = []
    size = 0
    for query, edits in missing.items():
        part.append({"query": asdict(query), "wrong": wrong.get(query), "edits": edits})
        size += len(edits)
        if size >= ROWS["edit"]:
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


def claim_units(reader: Reader, source: str, row: Mapping[str, Any], view: View, seed: int, gpus: int = 0) -> Planned:
    """Every claim whose reading table 3 needs for a View; those of one relation and language share the neurons that are read."""
    model, have, attributed = model_hash(row), reader.keys("claim"), reader.keys("attribution")
    groups: dict[tuple[int, ...], list[WantedClaim]] = defaultdict(list)
    keys: set[str] = set()
    for claim in factcheck_choose.judged(factcheck_choose.wanted(reader, view, seed)):
        key = claim_key(model, claim.query.id, view.method, claim.neurons)
        if key not in have and key not in keys:
            groups[claim.neurons].append(claim)
        keys.add(key)
    units: list[Unit] = []
    size = unit_rows(sum(map(len, groups.values())), gpus)
    for neurons, claims in groups.items():
        for part in cut(claims, size):
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


def remaining(unit: Unit, model: str, have: Callable[[str, Collection[str]], Collection[str]]) -> Unit | None:
    """The unit without what is stored, or itself where nothing of it is; None where all is.

    :param model: what `model_hash` returns
    :param have: which of the keys a table holds
    """
    keys = [_keys(unit, model, row) for row in unit.rows]
    wanted = {key for of_row in keys for key in of_row}
    stored = have(TABLES[unit.phase], wanted) if wanted else ()
    if not stored:
        return unit
    left = [_without(row, of_row, stored) for row, of_row in zip(unit.rows, keys, strict=True)]
    rows = [row for row in left if row is not None]
    return unit.of(rows) if rows else None


def _keys(unit: Unit, model: str, row: Any) -> list[str]:
    """A key for every result of a row, in the row's order."""
    if unit.phase == "predict":
        return [prediction_key(model, row.id)]
    if unit.phase == "attribute":
        return [attribution_key(model, row.id, unit.method)]
    if unit.phase == "scan":
        about = row.query.id, unit.method
        return [scan_key(model, *about, role, unit.seed, row.chosen) for role in row.roles]
    if unit.phase == "neurons":
        return [vocabulary_key(model, row)]
    if unit.phase == "wiring":
        return [wiring_key(model, row)]
    if unit.phase == "activate":
        return [activation_key(model, row.id, unit.payload["neurons"])]
    query = Query(**row["query"])
    if unit.phase == "claim":
        return [claim_key(model, query.id, unit.method, unit.payload["neurons"])]
    return [edit_key(model, query.id, neurons, operation) for operation, neurons, _ in row["edits"]]


def _without(row: Any, keys: Sequence[str], stored: Collection[str]) -> Any:
    """The row with those of its results that are not stored; None where there is none."""
    kept = [number for number, key in enumerate(keys) if key not in stored]
    if not kept or len(kept) == len(keys):
        return row if kept else None
    if isinstance(row, ScanItem):
        return replace(row, roles=tuple(row.roles[number] for number in kept))
    return {**row, "edits": [row["edits"][number] for number in kept]}
