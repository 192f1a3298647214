"""What a store has to choose from, and whether a View names only that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from knscope.store.errors import UserError
from knscope.store.view import View


@dataclass(frozen=True)
class Catalog:
    """Names that are stored. `depth`: layers by model; `attributed`: (model, method) with attributions; `predicted`: (model, language)
    with predictions; `floor`: the highest floor of any attribution."""

    depth: dict[str, int]
    relations: frozenset[str]
    facts: frozenset[str]
    floor: float
    attributed: frozenset[tuple[str, str]]
    predicted: frozenset[tuple[str, str]]
    described: frozenset[str]
    """Models of table model; attributions may arrive before it."""

    @classmethod
    def of(cls, cursor: duckdb.DuckDBPyConnection) -> Catalog:
        def rows(question: str) -> list[tuple[Any, ...]]:
            return cursor.execute(question).fetchall()

        return cls(
            depth=dict(rows("SELECT model, max(layer) + 1 FROM site GROUP BY ALL")),
            relations=frozenset(name for (name,) in rows("SELECT DISTINCT relation FROM query")),
            facts=frozenset(name for (name,) in rows("SELECT DISTINCT fact FROM query")),
            floor=rows("SELECT coalesce(max(floor), 0) FROM attribution")[0][0],
            attributed=frozenset(rows("SELECT DISTINCT model, method FROM attribution")),
            predicted=frozenset(rows("SELECT DISTINCT p.model, q.lang FROM prediction p JOIN query q USING (query)")),
            described=frozenset(name for (name,) in rows("SELECT model FROM model")),
        )

    def models(self) -> list[str]:
        return sorted({model for model, _ in self.attributed} | self.described)

    def methods(self, model: str | None = None) -> list[str]:
        """Methods with attributions, of one model or of any."""
        return sorted({method for name, method in self.attributed if model in (None, name)})

    def langs(self, model: str | None = None) -> list[str]:
        """Languages with predictions, of one model or of any, English first."""
        found = {lang for name, lang in self.predicted if model in (None, name)}
        return sorted(found, key=lambda lang: (not lang.startswith("en"), lang))

    def validate(self, view: View, unreadable: str = "") -> None:
        """Raises UserError, listing what there is, where a View names what is not stored.

        :param unreadable: what to say of shards that cannot be read
        """
        methods = self.methods(view.model)
        if view.model in self.models() and not methods:
            raise UserError(
                f"no attribution with {view.model} is stored yet; those of a run appear as they are computed{unreadable}"
            )
        for what, value, there in (("model", view.model, self.models()), ("method", view.method, methods)):
            if value not in there:
                raise UserError(
                    f"{what} {value!r} is not in this store; it has {', '.join(there) or 'none yet'}{unreadable}"
                )
        for what, wanted, there in (
            ("language", view.langs, self.langs(view.model)),
            ("relation", view.relations, sorted(self.relations)),
        ):
            if strange := [name for name in wanted if name not in there]:
                raise UserError(
                    f"{what} {', '.join(strange)} is not stored for {view.model}; there is {', '.join(there) or 'none yet'}"
                )
        if strange := sorted(set(view.facts) - self.facts):
            example = f", such as {min(self.facts)}" if self.facts else ""
            raise UserError(f"fact {', '.join(strange[:5])} is not stored; there are {len(self.facts):,}{example}")
