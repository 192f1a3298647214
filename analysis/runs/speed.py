"""How fast each kind of work went on each model: kept in the run.json of whoever computed it, read for estimates. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from knscope.analysis.attribution.method import parse_method
from knscope.analysis.runs.units import ROWS, Unit
from knscope.store.runs import RunRecord

KEPT = "speed"
"""Its name in a run's provenance: {source: {kind: [results, seconds]}}."""
LEAST = 1.0
"""Seconds of a kind from which on its rate is told."""
ENDS = "ends"
"""In a run's provenance: when it ends by its own clock, in seconds since 1970; None as long as it cannot tell."""
RELATIVE = {
    "predict": (0.02, 0.5),
    "scan": (0.0, 3.5),
    "edit": (0.002, 0.065),
    "neurons": (0.05, 4.0),
    "activate": (0.04, 0.2),
    "wiring": (0.004, 0.024),
}
"""What a result takes of the time of an `amig` attribution until its own kind was timed, a part of it over the number of layers, each of
which an attribution integrates over: a scan took 0.1 of it with 30 layers and 0.9 with 4. Others count as one."""
CLAIM = 0.6
"""What a claim takes of an attribution by its method: those of right claims are stored."""
APART = ("load", "predict")
"""What says little of the pace of other kinds."""
PASSES = 30
"""Nodes of all paths of an `amig` attribution of six words."""
MEMORY = 120.0
"""Worker seconds after which what a kind took counts little beside what it takes now: first results wait for libraries to wake up, and
other processes come and go."""
PUBLISHED = (0.4, 2e-5)
"""Seconds that results.duckdb takes at the end, whatever it holds, and for each result."""
LAYERS = 4
"""Of a model that is not loaded yet."""
Left = Mapping[tuple[str, str, str], int]
"""Results that are not stored yet, by model source, phase and method."""
Sums = Mapping[str, Sequence[float]]
"""Results and worker seconds of each kind."""
KINDS = {"attributions": "attribute", "scans": "scan", "edits": "edit", "claims": "claim"}
"""What `Missing.counts` counts, as phases of units."""


def kind_of(phase: str, method: str) -> str:
    """Work of one kind takes about as long: `attribute amig`, `edit`."""
    return f"{phase} {method}".strip() if phase in ("attribute", "scan", "claim") else phase


class Speed:
    """Results and worker seconds by model source and kind, later ones counting more.

    :param kept: the same of earlier runs
    """

    def __init__(self, kept: Mapping[str, Sums] = MappingProxyType({})) -> None:
        self._summed: dict[str, dict[str, list[float]]] = {}
        self._kept = kept

    def add(self, unit: Unit, results: int, seconds: float) -> None:
        """:param seconds: 0 where they are not known"""
        if results and seconds > 0:
            held = self._summed.setdefault(unit.source, {}).setdefault(kind_of(unit.phase, unit.method), [0.0, 0.0])
            less = math.exp(-seconds / MEMORY)
            held[:] = held[0] * less + results, held[1] * less + seconds

    def seconds_with(
        self, partly: Iterable[tuple[Unit, int, float]], left: Left, workers: int, layers: Mapping[str, int]
    ) -> float | None:
        """`seconds_for` with the units under way counted too: (unit, results so far, seconds)."""
        found, rest = Speed(self._kept), dict(left)
        found._summed = {
            source: {kind: [*held] for kind, held in kinds.items()} for source, kinds in self._summed.items()
        }
        for unit, results, seconds in partly:
            found.add(unit, results, seconds)
            place = unit.source, unit.phase, unit.method
            rest[place] = rest.get(place, 0) - results
        return found.seconds_for(rest, workers, layers)

    def seconds_for(self, left: Left, workers: int, layers: Mapping[str, int] = MappingProxyType({})) -> float | None:
        """Seconds that so many workers take for what is left, each kind of work at its own pace on its model (`layers` by source). What
        is left of a phase is shared by as many workers as it makes units; all load a model at once.

        None where nothing tells the pace of a kind that is left.
        """
        by_phase: dict[str, list[float]] = {}
        for (source, phase, method), results in left.items():
            if results > 0:
                pace = self._pace(source, kind_of(phase, method), layers)
                if pace is None:
                    return None
                held = by_phase.setdefault(phase, [0.0, 0.0])
                held[0] += results * pace
                held[1] += math.inf if phase not in ROWS else math.ceil(results / ROWS[phase])
        return sum(
            spent / max(1, min(workers, units if name != "load" else 1)) for name, (spent, units) in by_phase.items()
        )

    def _pace(self, source: str, kind: str, layers: Mapping[str, int]) -> float | None:
        """Worker seconds of a result: as timed in this run, where what the model's other kinds let expect counts as one unit."""
        own, expected = self._summed.get(source, {}), self._expected(source, kind, layers)
        if kind not in own:
            return expected
        told = expected is not None and kind not in APART and any(each not in (*APART, kind) for each in own)
        unit = ROWS.get(kind.partition(" ")[0], 0) if told else 0
        results, seconds = own[kind]
        return (seconds + unit * (expected or 0.0)) / (results + unit)

    def _expected(self, source: str, kind: str, layers: Mapping[str, int]) -> float | None:
        """The pace of a kind by all others: as in earlier runs, by how much slower the others are now; else by what it is worth in the
        other kinds of the model, or of other models. Loads, and prompts predicted together, say little of them."""
        own, kept = self._summed.get(source, {}), self._kept.get(source, {})
        if kind in kept:
            paces = {each: seconds / results for each, (results, seconds) in kept.items()}
            slower = _rate((own[each], paces[each]) for each in own if each in paces and each not in (*APART, kind))
            return paces[kind] * (slower or 1.0)
        for models in ({source: own}, {source: kept}, self._summed):
            rate = _rate(
                (held, _worth(each, layers.get(name, LAYERS)))
                for name, kinds in models.items()
                for each, held in kinds.items()
                if each not in APART and (name, each) != (source, kind)
            )
            if rate is not None and kind != "load":
                return rate * _worth(kind, layers.get(source, LAYERS))
        return None

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        return {source: {kind: list(sums) for kind, sums in kinds.items()} for source, kinds in self._summed.items()}


def _worth(kind: str, layers: int) -> float:
    """In attributions by `amig`."""
    phase, _, label = kind.partition(" ")
    if phase in RELATIVE or not label:
        fixed, shared = RELATIVE.get(phase, (1.0, 0.0))
        return fixed + shared / max(1, layers)
    method = parse_method(label)
    passes = method.nodes * (6 if method.baseline == "per_word" else 1) if method.kind == "integrated_gradients" else 1
    return passes / PASSES * (CLAIM if phase == "claim" else 1.0)


def _rate(timed: Iterable[tuple[Sequence[float], float]]) -> float | None:
    """Seconds of one unit of worth, from results and seconds, and what a result is worth; None where nothing was timed."""
    work = seconds = 0.0
    for (results, took), worth in timed:
        work, seconds = work + results * worth, seconds + took
    return seconds / work if work else None


def publishing(results: int) -> float:
    """Seconds that a store of so many results takes at the end of a run."""
    fixed, each = PUBLISHED
    return fixed + each * results


def kept(records: Iterable[RunRecord]) -> dict[str, dict[str, list[float]]]:
    """What these runs have kept of each model source, together."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for source, kinds in record.provenance.get(KEPT, {}).items():
            for kind, (results, seconds) in kinds.items():
                if not results:
                    continue
                held = found.setdefault(source, {}).setdefault(kind, [0.0, 0.0])
                held[0], held[1] = held[0] + results, held[1] + seconds
    return found


def seconds_for(records: Iterable[RunRecord], source: str, method: str, counts: Mapping[str, int]) -> float | None:
    """Seconds one worker takes for so many results of `Missing.counts`, at the rate of the same kinds of work on the same model in
    these runs; None where a kind of it was not timed yet."""
    summed = kept(records).get(source, {})
    total = 0.0
    for name, number in counts.items():
        results, seconds = summed.get(kind_of(KINDS[name], method), (0.0, 0.0))
        if not results or seconds < LEAST:
            return None
        total += number * seconds / results
    return total
