"""Which unit comes next: predictions, then attributions and scans, a few facts at a time over all models and methods.

The order is by breadth, so that a workbench opened on a running job has something to show in every pane early. What
needs earlier
results (the main queries, the neurons of highest rel) is planned when these are stored.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs import planner
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.facts import known_rows
from knscope.analysis.runs.keys import model_hash, prediction_key
from knscope.analysis.runs.planner import cut, remaining
from knscope.analysis.runs.units import ROLES, ROWS, UNIT_ROWS, Unit, unit_rows

SETS_A_PLACE = 30
"""Larger sets a fact and language, as in the demo."""

Entry = tuple[tuple[int, ...], int, str, Unit]
"""Rank, order among equals, group and unit."""


class Stored(planner.Stored, Protocol):
    """What a schedule asks of the store."""

    @property
    def company(self) -> bool:
        """Whether other runs commit results meanwhile."""

    def predicted(self, model: str) -> set[str]:
        """Ids of the queries whose predictions by the model are stored."""

    def known(self, model: str) -> set[str]:
        """Ids of the queries that the model answers rightly."""

    def mains(self, model: str) -> Mapping[tuple[str, str], Query]:
        """The main query of each (fact, language) that is stored of the model."""

    def attributed(self, model: str, method: str, facts: Collection[str]) -> Mapping[tuple[str, str], Sequence[str]]:
        """Keys of the attributions of these facts, on all stored templates, by (fact, language)."""

    def unusable(self, model: str) -> set[str]: ...

    def late(self, phase: str, source: str, row: Mapping[str, Any], method: str) -> planner.Planned:
        """The edits or claims that are missing."""


@dataclass
class ModelPlan:
    """How far one model is; `row` is its row of table `model`."""

    row: Mapping[str, Any]
    rows: list[Query]
    mains: Mapping[tuple[str, str], Query] = field(default_factory=dict)
    chunks: list[list[Query]] = field(default_factory=list)
    size: int = UNIT_ROWS
    """Queries of a chunk, and of a unit."""

    @property
    def label(self) -> str:
        return str(self.row["model"])

    @property
    def hash(self) -> str:
        return model_hash(self.row)


class Schedule:
    """Hands out units by priority and plans the next ones as results arrive. Not thread-safe; one per run."""

    def __init__(
        self,
        config: RunConfig,
        rows: Sequence[Query],
        stored: Stored,
        stay: bool = False,
        gpus: int = 0,
        pool: Sequence[Query] = (),
    ) -> None:
        """`pool`: the other facts that some methods start from."""
        self.config = config
        self.models: dict[str, ModelPlan] = {}
        self.failures: list[str] = []
        self.computed = 0
        self._rows = list(rows)
        self._stored = stored
        self._stay = stay
        self._gpus = gpus
        self._pool = pool
        self._heap: list[Entry] = []
        self._tie = count()
        self._open: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self._late: set[str] = set()
        self._then: dict[str, Callable[[], None]] = {}
        self._out: dict[int, Entry] = {}
        """Units handed out, by identity."""
        self._abandoned: set[str] = set()
        self._totals: dict[tuple[str, str, str], int] = {}
        self._done: Counter[tuple[str, str, str]] = Counter()
        self._guessed: dict[tuple[str, str, str], int] = {}
        for model in config.models:
            self._estimate(model.source, self._rows_of(model.source))
            self._add(f"load {model.source}", (0,), [Unit("load", model.source)], lambda: None)

    # what the job asks

    @property
    def total(self) -> int:
        return sum(self._totals.values())

    @property
    def done(self) -> int:
        return sum(self._done.values())

    @property
    def left(self) -> dict[tuple[str, str, str], int]:
        """Results not stored yet by source, phase and method, the load of a model among them; of edits and claims a guess, until they
        are planned."""
        counted = {place: max(0, total - self._done[place]) for place, total in self._totals.items()}
        loads = {(source, "load", ""): 1 for source, *_ in counted if source not in self.models}
        return loads | counted | {place: guess for place, guess in self._guessed.items() if guess}

    @property
    def exhausted(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._heap and not any(self._open.values())

    def next(self, loaded: Collection[str] = (), without: Collection[str] = ()) -> Unit | None:
        """The next unit; among those of equal rank one of a model the worker holds already, and none of `without`.

        Where models are too large to be held beside each other, any unit of a held model comes before all others.
        """
        while (entry := self._first(loaded, without)) is not None:
            unit = entry[3]
            self._heap.remove(entry)
            heapq.heapify(self._heap)
            self._out[id(unit)] = entry
            left = self.rest(unit, fresh=False)
            if left is not None:
                return left
            self._close(unit)
        return None

    def _first(self, loaded: Collection[str], without: Collection[str]) -> Entry | None:
        fitting = [entry for entry in self._heap if entry[3].source not in without]
        mine = [entry for entry in fitting if entry[3].source in loaded] if self._stay else []
        first = min(mine or fitting, default=None)
        if first and self._stored.company:
            # Runs that do the same work in the same order would stay side by side, each computing what the other does.
            equal = [entry for entry in mine or fitting if entry[0][0] == first[0][0]]
            return min(equal, key=lambda e: (e[3].source not in loaded, random.random()))
        equal = [entry for entry in mine or fitting if first and entry[0] == first[0]]
        return min(equal, key=lambda e: (e[3].source not in loaded, e[1]), default=None)

    def rest(self, unit: Unit, fresh: bool = True) -> Unit | None:
        """What is not stored yet of a unit that is handed out, to be computed in its stead; None where all is stored.

        What is stored counts as done, whoever did it. `fresh` as for `Stored.keys`.
        """
        model = self.models.get(unit.source)
        if unit.phase == "load" or model is None:
            return unit
        left = remaining(unit, model.hash, lambda table, keys: self._stored.keys(table, keys, fresh))
        if left is not unit:
            self._done[unit.source, unit.phase, unit.method] += unit.size - (left.size if left else 0)
        if left is not None:
            self._out[id(left)] = (*self._out.pop(id(unit))[:3], left)
        return left

    def give_back(self, unit: Unit) -> None:
        """A unit that was handed out waits again, whole and in its old place: nothing was wrong with it."""
        heapq.heappush(self._heap, self._out.pop(id(unit)))

    def interrupt(self, unit: Unit, stored: int) -> None:
        """A unit was stopped though the run goes on: `stored` of its results are committed, and the rest waits again."""
        self.computed += stored
        left = self.rest(unit)
        if left is None:
            self._close(unit)
        else:
            self.give_back(left)

    def finish(self, unit: Unit, stored: int | None = None, model: Mapping[str, Any] | None = None) -> None:
        """A unit's results are committed. `model` is the row a load brings; `stored` counts its results (default:
        all).
        """
        if unit.phase == "load" and model is not None:
            self._loaded(unit.source, model)
        elif unit.phase != "load":
            results = unit.size if stored is None else stored
            self._done[unit.source, unit.phase, unit.method] += results
            self.computed += results
        self._close(unit)

    def fail(self, unit: Unit, message: str) -> None:
        """A unit went wrong: cut it to find the row that does, or write the failure down and go on."""
        if unit.phase == "load":
            self.abandon(unit, message)
            return
        halves = unit.halves()
        if halves:
            group = self._out[id(unit)][2]
            self._open[group] += len(halves)
            self._busy[unit.source] += len(halves)
            for half in halves:
                heapq.heappush(self._heap, ((1,), next(self._tie), group, half))
        else:
            self._note(unit, message)
        self._close(unit)

    def abandon(self, unit: Unit, message: str) -> None:
        """Nobody can do the unit's model (any more): drop all that waits of it, and plan no more."""
        self._abandoned.add(unit.source)
        if unit.source not in self.models:  # how much there is of it was a guess
            self._totals = {place: total for place, total in self._totals.items() if place[0] != unit.source}
        self._note(unit, message)
        self._close(unit)
        dropped = [entry for entry in self._heap if entry[3].source == unit.source]
        self._heap = [entry for entry in self._heap if entry[3].source != unit.source]
        heapq.heapify(self._heap)
        for entry in dropped:
            self._out[id(entry[3])] = entry
            self._close(entry[3])

    def _note(self, unit: Unit, message: str) -> None:
        where = f"{unit.phase} {unit.method} {unit.source} {unit.where}"
        self.failures.append(f"{where}: {message}".replace("  ", " "))

    # planning

    def _rows_of(self, source: str) -> list[Query]:
        langs = next(model.langs for model in self.config.models if model.source == source)
        return [row for row in self._rows if not langs or row.lang in langs]

    def _estimate(self, source: str, rows: Sequence[Query]) -> None:
        """Before anything is known of a model: every row usable, one main query a fact and language."""
        self._totals[source, "predict", ""] = len(rows)
        for method in self.config.methods:
            if "attribution" in self.config.what or "dkn" in self.config.what:
                self._totals[source, "attribute", method] = len(rows)
            if self._scans(method):
                self._totals[source, "scan", method] = len({(row.fact, row.lang) for row in rows}) * len(ROLES)
        self._guess(source, rows)

    def _guess(self, source: str, rows: Sequence[Query]) -> None:
        """About how many edits and claims these prompts will ask for, which only their neurons will tell."""
        wanted = self.config.table_langs
        rows = [row for row in rows if not wanted or row.lang in wanted]
        langs = [lang for _, lang in {(row.fact, row.lang) for row in rows}]
        edits = planner.edits_of(self.config, langs)
        if found := edits * ("edit" in self.config.what) + SETS_A_PLACE * len(langs) * ("sets" in self.config.what):
            self._guessed[source, "edit", ""] = found
        for method in self.config.methods if "factcheck" in self.config.what else ():
            self._guessed[source, "claim", method] = factcheck_choose.expected(rows, self.config.seed)

    def _scans(self, method: str) -> bool:
        return "dkn" in self.config.what and method in (self.config.scan_methods or self.config.methods)

    def _loaded(self, source: str, row: Mapping[str, Any]) -> None:
        model = self.models[source] = ModelPlan(row, self._rows_of(source))
        keys = {prediction_key(model.hash, query.id): query for query in model.rows}
        have = {keys[key].id for key in self._stored.keys("prediction", keys)} | self._stored.unusable(model.label)
        missing = [query for query in model.rows if query.id not in have]
        self._done[source, "predict", ""] = len(model.rows) - len(missing)
        size = max(ROWS["predict"], unit_rows(len(missing), self._gpus))
        units = [Unit("predict", source, queries=tuple(part)) for part in cut(missing, size)]
        self._add(f"predict {source}", (2,), units, lambda: self._predicted(source))

    def _predicted(self, source: str) -> None:
        model = self.models[source]
        unusable = self._stored.unusable(model.label)
        predicted = self._stored.predicted(model.label)
        usable = [row for row in model.rows if row.id in predicted and row.id not in unusable]
        if self.config.known:
            usable = known_rows(usable, self._stored.known(model.label), self.config.known == "every")
        stored = self._stored.mains(model.label)
        model.mains = {place: stored[place] for place in ((row.fact, row.lang) for row in usable)}
        model.size = unit_rows(len(usable), self._gpus)
        model.chunks = _by_fact(usable, model.size)
        for place in [p for p in self._totals if p[0] == source and p[1] != "predict"]:
            self._totals[place] = len(usable) if place[1] == "attribute" else len(model.mains) * len(ROLES)
            self._done[place] = 0
        self._guess(source, usable)
        for number in range(len(model.chunks)):
            self._chunk(source, number)

    def _chunk(self, source: str, number: int) -> None:
        """Plan the attributions of a few facts with every method; their scans follow as each method is done."""
        if not {"attribution", "dkn"} & set(self.config.what):
            return
        model = self.models[source]
        for turn, method in enumerate(self.config.methods):
            given = source, model.hash, method, model.chunks[number], model.size, self._pool
            units, _, stored = planner.attribution_units(self._stored, *given)
            self._done[source, "attribute", method] += stored
            name = f"attribute {source} {method} {number}"
            self._add(name, (3, number, turn), units, self._scan_planner(source, method, number, turn))

    def _scan_planner(self, source: str, method: str, number: int, turn: int) -> Callable[[], None]:
        def scans() -> None:
            if not self._scans(method):
                return
            model = self.models[source]
            places = dict.fromkeys((row.fact, row.lang) for row in model.chunks[number])
            keys = self._stored.attributed(model.label, method, {fact for fact, _ in places})
            given = model.hash, method, places, model.mains, keys, {self.config.seed}
            items = planner.scan_items(self._stored, *given)
            wanted = sum(len(item.roles) for item in items)
            self._done[source, "scan", method] += len(places) * len(ROLES) - wanted
            units = [Unit("scan", source, method, scans=tuple(items), seed=self.config.seed)] if items else []
            self._add(
                f"scan {source} {method} {number}", (3, number, len(self.config.methods) + turn), units, lambda: None
            )

        return scans

    # groups: what is planned when the last unit of a group is done

    def _add(self, group: str, priority: tuple[int, ...], units: Sequence[Unit], then: Callable[[], None]) -> None:
        if not units:
            then()
            return
        self._then[group] = then
        self._open[group] += len(units)
        self._busy[units[0].source] += len(units)
        for unit in units:
            heapq.heappush(self._heap, (priority, next(self._tie), group, unit))

    def _close(self, unit: Unit) -> None:
        group = self._out.pop(id(unit))[2]
        self._open[group] -= 1
        self._busy[unit.source] -= 1
        if self._open[group] == 0:
            then = self._then.pop(group)
            if unit.source not in self._abandoned:
                then()
        if not self._busy[unit.source]:
            self._follow(unit.source)

    def _follow(self, source: str) -> None:
        """All attributions and scans of a model are stored: plan what starts from its neuron sets."""
        if source in self._late or source not in self.models or source in self._abandoned:
            return
        self._late.add(source)
        self._guessed = {place: guess for place, guess in self._guessed.items() if place[0] != source}
        row = self.models[source].row
        for what, phase, methods in (
            ("sets", "sets", self.config.scan_methods or self.config.methods),
            ("edit", "edit", self.config.methods[:1]),
            ("factcheck", "claim", self.config.methods),
        ):
            for method in methods if what in self.config.what else ():
                units, total, stored = self._stored.late(phase, source, row, method)
                place = (source, units[0].phase if units else phase, units[0].method if units else "")
                self._totals[place] = self._totals.get(place, 0) + total
                self._done[place] += stored
                self._add(f"{phase} {source} {method}", (4,), units, lambda: None)
        if "neurons" in self.config.what and row["kind"] != "encoder-decoder":
            self._neurons(source)

    def _neurons(self, source: str) -> None:
        model, place = self.models[source], (source, "neurons", "")
        given = source, model.hash, int(model.row["n_layers"])
        units, self._totals[place], self._done[place] = planner.neuron_units(self._stored, *given)
        self._add(f"neurons {source}", (5,), units, lambda: None)
        for phase in ("activate", "wiring"):
            place = source, phase, ""
            units, self._totals[place], self._done[place] = self._stored.late(phase, source, model.row, "")
            self._add(f"{phase} {source}", (5,), units, lambda: None)


def _by_fact(rows: Sequence[Query], size: int) -> list[list[Query]]:
    """Chunks of about `size` rows that never part a fact: its neurons are a mean over its templates."""
    facts: dict[str, list[Query]] = {}
    for row in rows:
        facts.setdefault(row.fact, []).append(row)
    chunks: list[list[Query]] = []
    for group in facts.values():
        if not chunks or len(chunks[-1]) + len(group) > size:
            chunks.append([])
        chunks[-1].extend(group)
    return chunks
