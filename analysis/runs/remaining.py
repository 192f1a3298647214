"""What of a planned unit is not stored yet: another run may have done some, or a worker that has died since."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.keys import attribution_key, claim_key, edit_key, prediction_key, scan_key, vocabulary_key
from knscope.analysis.runs.units import ScanItem, Unit

TABLES = {
    "predict": "prediction",
    "attribute": "attribution",
    "scan": "scan",
    "edit": "edit",
    "claim": "claim",
    "neurons": "vocabulary",
}


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
