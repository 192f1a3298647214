"""What `faithfulness --store` has kept of a model, as tables and as one sentence: which method is right about it (METHOD §8)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from knscope.analysis.faithfulness import table
from knscope.analysis.statistics.bootstrap import DRAWS
from knscope.analysis.statistics.table import Table
from knscope.store import files

FOLDER = "measured"
"""In the store: one JSON file an item, named by a hash of all that it depends on."""
NONE = "no comparison of methods with measured effects is stored for this model; knscope faithfulness MODEL --store STORE makes one"
_MOST = 16 << 20
"""Bytes of the largest file that is read."""


def tables(store: Path, model: str, draws: int = DRAWS) -> list[Table]:
    """The tables of `faithfulness` from what is kept of a model (its label), the sentence first below the first; none without.

    Where several choices of methods or seeds were measured, the one with the most facts and languages counts.
    """
    kept = _kept(store, model)
    if not kept:
        return []
    (_, seed), largest = max(sorted(kept.items()), key=lambda one: len(one[1]))
    rows = [row for item in largest.values() for row in item["rows"]]
    groups = [row for item in largest.values() for row in item["groups"]]
    return table.build([{"model": model, "rows": rows, "groups": groups}], draws=draws, seed=seed)


def verdict(store: Path, model: str, draws: int = DRAWS) -> str:
    """Which method, in one sentence with figures; that nothing is stored, where that is so."""
    found = tables(store, model, draws)
    return found[0].notes[0] if found else NONE


_Items = dict[tuple[str, int], dict[tuple[str, str], Mapping[str, Any]]]


def _kept(store: Path, model: str) -> _Items:
    """Items by (methods, seed), then by (fact, language). Files that cannot be read, or are of no known form, are passed over."""
    found: _Items = {}
    for item in _items(store / FOLDER):
        with suppress(KeyError, TypeError, IndexError):
            if item["model"] == model and item["rows"]:
                of = found.setdefault((",".join(item["methods"]), int(item["seed"])), {})
                of[item["rows"][0]["fact"], item["rows"][0]["lang"]] = item
    return found


def _items(folder: Path) -> Iterator[Mapping[str, Any]]:
    for name in sorted(one.name for one in folder.glob("*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError, RecursionError):
            item = json.loads(files.read(folder, name, _MOST))
            if isinstance(item, dict):
                yield item
