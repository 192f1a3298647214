"""What every pane speaks of: everything, one relation, one fact in all its languages, or one query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from knscope.store.view import View

LEVELS = ("everything", "relation", "fact", "query")


@dataclass(frozen=True)
class Selection:
    """A level and the row of the query table it was reached from. At `everything` the row does not matter."""

    level: str = "everything"
    relation: str = ""
    fact: str = ""
    query: str = ""
    label: str = ""
    """What a person calls the fact: `Tanzania → Dodoma`."""

    @property
    def row(self) -> Mapping[str, str]:
        """What names the row that it was reached from."""
        return {"relation": self.relation, "fact": self.fact, "query": self.query}

    def at(self, row: Mapping[str, Any]) -> Selection:
        """The same level, reached from another row."""
        return replace(
            self,
            relation=str(row["relation"]),
            fact=str(row["fact"]),
            query=str(row["query"]),
            label=f"{row['subject']} → {row['object']}",
        )

    def deeper(self, row: Mapping[str, Any]) -> Selection:
        """One level in, at this row; the last level stays."""
        place = min(LEVELS.index(self.level) + 1, len(LEVELS) - 1)
        return replace(self, level=LEVELS[place]).at(row)

    def shallower(self) -> Selection:
        return replace(self, level=LEVELS[max(0, LEVELS.index(self.level) - 1)])

    @property
    def scope(self) -> tuple[str, str]:
        """What panes depend on: two selections with one scope show the same."""
        return self.level, {"relation": self.relation, "fact": self.fact, "query": self.query}.get(self.level, "")

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the query table is part of what is selected; nothing is marked at `everything`."""
        return self.level != "everything" and row.get(self.level) == self.scope[1]

    def narrow(self, view: View) -> View:
        """The view of this selection alone."""
        match self.level:
            case "relation":
                return view.with_(relations=(self.relation,))
            case "fact":
                return view.with_(facts=(self.fact,))
            case "query":
                return view.with_(queries=(self.query,))
        return view

    @property
    def trail(self) -> str:
        """The breadcrumb: `everything › P36 › P36-TZ`."""
        parts = {"everything": [], "relation": [self.relation], "fact": [self.relation, self.fact]}.get(
            self.level, [self.relation, self.fact, "query"]
        )
        return " › ".join(("everything", *parts))

    @property
    def subject(self) -> str:
        """What the selection is about, for titles of panes."""
        return {"everything": "everything", "relation": self.relation}.get(self.level, self.label)


@dataclass(frozen=True)
class Shown:
    """What a pane is asked to show. `token` grows with every change: a result for an older one is stale."""

    view: View
    selection: Selection
    token: int

    @property
    def subject(self) -> str:
        """What is looked at, for titles: the selection, or the relations that everything is filtered by."""
        if self.selection.level == "everything" and self.view.relations:
            return ", ".join(self.view.relations)
        return self.selection.subject

    @property
    def narrowed(self) -> View:
        return self.selection.narrow(self.view)
