"""The units a run is cut into: what one worker computes in one go, and what one shard holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from knscope.analysis.prompts.encode import Query

ROLES = ("kn", "layer_control", "drop_control")
UNIT_ROWS, UNIT_ROWS_GPU = 32, 256
"""Queries of a unit: few, so that every pane has something early; a GPU fills its passes only with many
(`attribution.WINDOW_GPU`)."""
ROWS = {"predict": 64, "attribute": UNIT_ROWS, "scan": UNIT_ROWS, "edit": 256, "claim": UNIT_ROWS}
"""Results of a unit on processors: more of a phase than this are computed by several workers. A scan has fewer facts than its chunk has
queries, and three roles of each."""
UNITS_A_GPU = (
    4  # at least, of a model's queries, so that progress is seen and no GPU waits long for another's last unit
)


@dataclass(frozen=True)
class ScanItem:
    """A main query with the flat neurons to ablate, and every flat neuron that counts as serving the fact (never a
    control) with its highest rel over the fact's templates.
    """

    query: Query
    chosen: tuple[int, ...]
    serving: tuple[tuple[int, float], ...]
    roles: tuple[str, ...] = ROLES


@dataclass(frozen=True)
class Unit:
    """What one worker does in one go, and what one shard holds."""

    phase: str
    source: str
    method: str = ""
    queries: tuple[Query, ...] = ()
    scans: tuple[ScanItem, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, tuple[Query, ...]] = field(default_factory=dict)
    """Other facts that the paths of some methods start from, by language or by the query's id."""
    seed: int = 0
    model: str = ""
    """`model_hash` of the stored model that it goes on with; empty: whatever the source holds."""

    @property
    def size(self) -> int:
        """Results it yields; what progress counts."""
        return int(self.payload.get("size", 0)) or len(self.queries) or sum(len(item.roles) for item in self.scans)

    @property
    def rows(self) -> Sequence[Any]:
        """What it can be parted into: queries, scans, or the claims, reads, layers or flat neurons of its payload."""
        named = (self.payload.get(name) for name in ("claims", "reads", "layers", "flat"))
        return self.queries or self.scans or next(filter(None, named), ())

    @property
    def where(self) -> str:
        """Its first row, as a message names it."""
        if not self.rows:
            return ""
        first = self.rows[0]
        if isinstance(first, int):
            return f"{'layer' if 'layers' in self.payload else 'neuron'} {first}"
        row = first if self.queries else first.query if self.scans else Query(**first["query"])
        return f"{row.fact} {row.lang} {row.template!r}"

    def of(self, rows: Sequence[Any]) -> Unit:
        """The same unit with only these of its rows."""
        if self.queries or self.scans:
            return replace(self, **{"queries" if self.queries else "scans": tuple(rows)})  # type: ignore[arg-type]
        for name in ("claims", "layers", "flat"):
            if name in self.payload:
                return replace(self, payload={**self.payload, name: list(rows), "size": len(rows)})
        edits = [edit for read in rows for edit in read["edits"]]
        used = {operation for operation, *_ in edits}
        sources = {name: queries for name, queries in self.payload.get("sources", {}).items() if name in used}
        # `irrelevant` stays with every part: stored twice it counts once, and no part that fails takes it along.
        return replace(self, payload={**self.payload, "reads": list(rows), "size": len(edits), "sources": sources})

    def halves(self) -> tuple[Unit, ...]:
        """The unit cut in two, to corner a row that makes it fail; none when it cannot be cut, as a try that is answered at once."""
        middle = 0 if self.phase == "try" else len(self.rows) // 2
        return (self.of(self.rows[:middle]), self.of(self.rows[middle:])) if middle else ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Unit:
        return cls(
            phase=stored["phase"],
            source=stored["source"],
            method=stored["method"],
            queries=tuple(Query(**row) for row in stored["queries"]),
            scans=tuple(
                ScanItem(
                    Query(**item["query"]),
                    tuple(item["chosen"]),
                    tuple((int(n), float(s)) for n, s in item["serving"]),
                    tuple(item["roles"]),
                )
                for item in stored["scans"]
            ),
            payload=stored["payload"],
            others={name: tuple(Query(**row) for row in rows) for name, rows in stored.get("others", {}).items()},
            seed=stored["seed"],
            model=stored["model"],
        )


def unit_rows(queries: int, gpus: int) -> int:
    """How many of a model's `queries` make a unit, computed on so many GPUs (0: on processors)."""
    share = -(-queries // (UNITS_A_GPU * gpus)) if gpus else 0
    return min(max(share, UNIT_ROWS), UNIT_ROWS_GPU)
