"""How fast each kind of work went on each model: kept in the run.json of whoever computed it, read for estimates. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from knscope.analysis.runs.units import Unit
from knscope.store.runs import RunRecord

KEPT = "speed"
"""Its name in a run's provenance: {source: {kind: [results, seconds]}}."""
LEAST = 1.0
"""Seconds of a kind from which on its rate is told."""
ENDS = "ends"
"""In a run's provenance: when it ends by its own clock, in seconds since 1970; None as long as it cannot tell."""
RELATIVE = {"predict": (0.02, 0.0), "scan": (0.0, 3.5), "edit": (0.0, 0.05), "claim": (0.5, 0.0)}
"""What a result takes of an attribution's time until its own kind was timed, a part of it over the number of layers, each of which an
attribution integrates over: a scan took 0.13 of it with 30 layers and 0.8 with 4. Others count as one."""
LAYERS = 4
"""Of a model that is not loaded yet."""
Left = Mapping[tuple[str, str, str], int]
"""Results that are not stored yet, by model source, phase and method."""
KINDS = {"attributions": "attribute", "scans": "scan", "edits": "edit", "claims": "claim"}
"""What `Missing.counts` counts, as phases of units."""


def kind_of(phase: str, method: str) -> str:
    """Work of one kind takes about as long: `attribute amig`, `edit`."""
    return f"{phase} {method}".strip() if phase in ("attribute", "scan", "claim") else phase


class Speed:
    """Results and worker seconds, summed by model source and kind; loading a model does not count."""

    def __init__(self) -> None:
        self._summed: dict[str, dict[str, list[float]]] = {}

    def add(self, unit: Unit, results: int, seconds: float) -> None:
        """:param seconds: 0 where they are not known"""
        if results and seconds > 0 and unit.phase != "load":
            held = self._summed.setdefault(unit.source, {}).setdefault(kind_of(unit.phase, unit.method), [0.0, 0.0])
            held[0], held[1] = held[0] + results, held[1] + seconds

    def seconds_with(
        self, partly: Iterable[tuple[Unit, int, float]], left: Left, workers: int, layers: Mapping[str, int]
    ) -> float | None:
        """`seconds_for` with the units under way counted too: (unit, results so far, seconds)."""
        found, rest = Speed(), dict(left)
        found._summed = {
            source: {kind: [*held] for kind, held in kinds.items()} for source, kinds in self._summed.items()
        }
        for unit, results, seconds in partly:
            found.add(unit, results, seconds)
            place = unit.source, unit.phase, unit.method
            rest[place] = rest.get(place, 0) - results
        return found.seconds_for(rest, workers, layers)

    def seconds_for(self, left: Left, workers: int, layers: Mapping[str, int] = MappingProxyType({})) -> float | None:
        """Seconds that so many workers take for what is left: each kind of work at its own pace on its model; one that was not
        timed yet at that of the others, by RELATIVE (`layers` by model source).

        None before anything but predictions was timed, where more than these is left: prompts predicted together say little of the rest.
        """
        timed = [each for kinds in self._summed.values() for each in kinds.items()]
        every = [(layers.get(source, LAYERS), kinds.items()) for source, kinds in self._summed.items()]
        whole = _pace(every)
        more = any(results > 0 and phase != "predict" for (_, phase, _), results in left.items())
        only = more and all(kind == "predict" for kind, _ in timed)
        if whole is None or only:
            return None
        total = 0.0
        for (source, phase, method), results in left.items():
            kinds = self._summed.get(source, {})
            done, seconds = kinds.get(kind_of(phase, method), (0.0, 0.0))
            deep = layers.get(source, LAYERS)
            pace = seconds / done if done else (_pace([(deep, kinds.items())]) or whole) * _relative(phase, deep)
            total += max(0, results) * pace
        return total / max(1, workers)

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        return {source: {kind: list(sums) for kind, sums in kinds.items()} for source, kinds in self._summed.items()}


def _relative(phase: str, layers: int) -> float:
    fixed, shared = RELATIVE.get(phase, (1.0, 0.0))
    return fixed + shared / max(1, layers)


def _pace(models: Iterable[tuple[int, Iterable[tuple[str, Sequence[float]]]]]) -> float | None:
    """Seconds of one attribution's worth of work, from kinds of work by the number of layers."""
    timed = [
        (_relative(kind.partition(" ")[0], layers) * done, seconds)
        for layers, kinds in models
        for kind, (done, seconds) in kinds
    ]
    work = sum(done for done, _ in timed)
    return sum(seconds for _, seconds in timed) / work if work else None


def seconds_for(records: Iterable[RunRecord], source: str, method: str, counts: Mapping[str, int]) -> float | None:
    """Seconds one worker takes for so many results of `Missing.counts`, at the rate of the same kinds of work on the same model in
    these runs; None where a kind of it was not timed yet."""
    summed: dict[str, list[float]] = {}
    for record in records:
        for kind, (results, seconds) in record.provenance.get(KEPT, {}).get(source, {}).items():
            held = summed.setdefault(kind, [0.0, 0.0])
            held[0], held[1] = held[0] + results, held[1] + seconds
    total = 0.0
    for name, number in counts.items():
        results, seconds = summed.get(kind_of(KINDS[name], method), (0.0, 0.0))
        if not results or seconds < LEAST:
            return None
        total += number * seconds / results
    return total
