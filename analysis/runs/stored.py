"""What planning asks of a store, answered through a reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.facts import Facts, load_sets
from knscope.analysis.runs.planner import (
    Planned,
    activation_units,
    claim_units,
    edit_units,
    given_units,
    set_units,
    wiring_units,
)
from knscope.analysis.stored.facts import attributed, stored_facts
from knscope.analysis.stored.ranked import rel
from knscope.analysis.types import Floats
from knscope.store.main_query import template_order
from knscope.store.reader import Reader
from knscope.store.shards import write_shard
from knscope.store.view import View


class ReaderStored:
    """`planner.Stored`: polls before each answer, so that it includes what was committed a moment ago.

    :param run: whose own results need no look before a unit is handed out: what it does is not planned twice
    """

    def __init__(self, reader: Reader, run: str = "") -> None:
        self.reader = reader
        self.run = run

    def keys(self, table: str, keys: Collection[str], fresh: bool = True) -> frozenset[str]:
        self.reader.poll(without="" if fresh else self.run)
        return self.reader.keys(table) & set(keys)

    def mean_rel(self, keys: Sequence[str]) -> Floats:
        self.reader.poll()
        present = self.keys("attribution", keys)
        total: Floats = np.zeros(0)
        for key in keys:
            if key in present:
                own = rel(self.reader, key)
                total = own if not total.size else total + own
        return total / max(len(present), 1)


class RunStored(ReaderStored):
    """`schedule.Stored`: what a run sees of the store while it runs.

    :param facts: the run's data
    """

    def __init__(self, reader: Reader, config: RunConfig, facts: Facts, gpus: int = 0, run: str = "") -> None:
        super().__init__(reader, run)
        self._config = config
        self._gpus = gpus
        self._templates = facts.templates
        self._facts = frozenset(row.fact for row in facts.rows)
        self._opened = reader.generation

    @property
    def company(self) -> bool:
        """Whether other runs have committed results since the reader was opened."""
        return any(last > self._opened for run, last in self.reader.heard.items() if run != self.run)

    def _queries(self, model: str, rows: str) -> set[str]:
        self.reader.poll()
        return set(self.reader.sql(f"SELECT query FROM {rows}", {"model": model})["query"])

    def predicted(self, model: str) -> set[str]:
        return self._queries(model, "prediction WHERE model = $model")

    def known(self, model: str) -> set[str]:
        return self._queries(model, "prediction WHERE model = $model AND known")

    def unusable(self, model: str) -> set[str]:
        return self._queries(model, "unusable WHERE model = $model")

    def mains(self, model: str) -> Mapping[tuple[str, str], Query]:
        """The data's order of templates decides between them, and is stored first."""
        self.reader.poll()
        order = template_order(self._templates)
        new = order.join(self.reader.sql("FROM template_order"), on=order.columns, how="anti", maintain_order="left")
        if new.height:
            write_shard(self.reader.path, self.run, {"template_order": new})
            self.reader.poll()
        return stored_facts(self.reader, model).main

    def attributed(self, model: str, method: str, facts: Collection[str]) -> Mapping[tuple[str, str], Sequence[str]]:
        self.reader.poll()
        return attributed(self.reader, model, method, facts)

    def late(self, phase: str, source: str, row: Mapping[str, Any], method: str) -> Planned:
        """At the default thresholds, over the languages of the run that the model has: of known facts, as tables show them, unless
        it knows none. Edits are those of the run's own facts, chosen among all as the tables choose them."""
        self.reader.poll()
        label = str(row["model"])
        if phase == "wiring":
            return wiring_units(self.reader, source, row)
        if phase == "activate":
            return activation_units(self.reader, source, row, self._gpus)
        asked = self._config.table_langs or self._config.langs
        langs = tuple(lang for lang in self.reader.langs(label) if not asked or lang in asked)
        if not langs or method not in self.reader.methods(label):
            return [], 0, 0
        view = View(label, method, langs, relations=self._config.relations, known=bool(self.known(label)))
        given = (self.reader, source, row, view, self._config.seed)
        if phase == "sets":
            return set_units(*given, self._config.size, self._facts)
        if phase == "edit" and self._config.sets:
            given = (self.reader, source, row, view.with_(facts=self._config.fact_ids), self._config.seed)
            sets = load_sets(self.reader, label, self._config)
            return given_units(*given, sets, self._config.suppress, self._facts)
        if phase == "edit":
            return edit_units(*given, self._config.suppress, self._config.signs, self._facts)
        return claim_units(*given, gpus=self._gpus)
