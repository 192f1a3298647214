"""From a bin to its neurons, from a neuron to everything stored of it: its facts, languages, ranks, pairs, effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.message import Message

from knscope.store.view import sql_literal
from knscope.tui.messages import RowEntered
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.store.reader import Reader


@dataclass(frozen=True)
class Place:
    """Where in the pane one is: all neurons, those of a bin, or one."""

    layer: int | None = None
    column: str = ""
    """A language, LIKN or DKN; empty: any."""
    neuron: int | None = None

    @property
    def trail(self) -> str:
        parts = ["neurons"]
        if self.layer is not None and (self.column or self.neuron is None):
            parts.append(f"L{self.layer} {self.column}".strip())
        if self.neuron is not None:
            parts.append(f"{self.layer}:{self.neuron}")
        return " › ".join(parts)


@dataclass
class FactWanted(Message):
    """Go to this fact in the query table."""

    fact: str
    lang: str


LIST = (
    Column("layer", "layer", right=True),
    Column("neuron", "neuron", right=True),
    Column("facts", "facts", cells.count, right=True),
    Column("langs", "languages", grow=True, least=8, most=30),
    Column("all_langs", "in all", cells.count, right=True, drop=2),
    Column("rel", "mean rel", lambda rel: f"{rel:.3f}", right=True),
    Column("pairs", "pairs", lambda n: cells.count(n) if n else "·", right=True, drop=1),
)
ONE = (
    Column("fact", "fact", least=6, most=18, drop=3),
    Column("pair", "subject → object", grow=True, least=12, most=50),
    Column("lang", "lang", most=8),
    Column("rel", "rel", lambda rel: f"{rel:.3f}", right=True),
    Column("place", "#", cells.count, right=True),
    Column("drop_p", "Δp alone", cells.signed, right=True),
    Column("pairs", "pairs", lambda n: cells.count(n) if n else "·", right=True, drop=1),
)


def _degenerate(reader: Reader, shown: Shown) -> str:
    """SQL: both members of every pair of the paper's kind, one row an end."""
    macro = reader.macro_sql("dkn", shown.narrowed)
    return (
        f"SELECT fact, lang, unnest([layer_a, layer_b]) AS layer, unnest([neuron_a, neuron_b]) AS neuron "
        f"FROM ({macro}) WHERE role = 'kn' AND paper"
    )


def list_sql(reader: Reader, shown: Shown, place: Place) -> str:
    """The neurons of a place, those that serve the most facts first."""
    view = shown.narrowed
    conditions = [] if place.layer is None else [f"layer = {place.layer}"]
    if place.column in view.langs:
        conditions.append(f"lang = {sql_literal(place.column)}")
    having = ""
    if place.column == "LIKN":
        having = "WHERE all_langs > 0"
    elif place.column == "DKN":
        having = "WHERE pairs > 0"
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"""\
WITH k AS MATERIALIZED ({reader.macro_sql("kn", view)}),
shared AS (SELECT fact, layer, neuron FROM k GROUP BY ALL HAVING count(*) = {len(view.langs)} AND {len(view.langs)} > 1),
d AS MATERIALIZED ({_degenerate(reader, shown)}),
n AS (SELECT layer, neuron, count(DISTINCT fact) AS facts, string_agg(DISTINCT lang, ' ' ORDER BY lang) AS langs, avg(rel) AS rel
      FROM k {where} GROUP BY ALL),
l AS (SELECT layer, neuron, count(*) AS all_langs FROM shared GROUP BY ALL),
p AS (SELECT layer, neuron, count(*) AS pairs FROM d GROUP BY ALL)
SELECT n.layer, n.neuron, facts, langs, coalesce(all_langs, 0) AS all_langs, rel, coalesce(pairs, 0) AS pairs
FROM n LEFT JOIN l USING (layer, neuron) LEFT JOIN p USING (layer, neuron) {having}
ORDER BY facts DESC, rel DESC, layer, neuron"""


def one_sql(reader: Reader, shown: Shown, place: Place) -> str:
    """Every fact and language that one neuron serves, with its place in the set, its own effect and its pairs."""
    view = shown.narrowed
    drop = "(s.p - a.p) / nullif(s.p, 0)" if view.drop == "relative" else "s.p - a.p"
    return f"""\
WITH k AS MATERIALIZED ({reader.macro_sql("kn", view)}),
placed AS (SELECT *, row_number() OVER (PARTITION BY fact, lang ORDER BY rel DESC) AS place FROM k),
alone AS (
    SELECT q.fact, q.lang, min({drop}) AS drop_p FROM ablation a JOIN scan s USING (key) JOIN query q USING (query)
    WHERE s.model = {sql_literal(view.model)} AND s.method = {sql_literal(view.method)} AND s.role = 'kn' AND a.layer_b IS NULL
      AND a.layer_a = {place.layer} AND a.neuron_a = {place.neuron} GROUP BY ALL
),
d AS ({_degenerate(reader, shown)}),
p AS (SELECT fact, lang, count(*) AS pairs FROM d WHERE layer = {place.layer} AND neuron = {place.neuron} GROUP BY ALL),
words AS (SELECT fact, lang, first(subject) || ' → ' || first(object) AS pair FROM query GROUP BY ALL)
SELECT fact, relation, pair, lang, rel, share, place, drop_p, coalesce(pairs, 0) AS pairs
FROM placed JOIN words USING (fact, lang) LEFT JOIN alone USING (fact, lang) LEFT JOIN p USING (fact, lang)
WHERE layer = {place.layer} AND neuron = {place.neuron}
ORDER BY rel DESC, fact, lang"""


class NeuronPane(Pane):
    """The list of neurons, or one of them."""

    TITLE = "neuron"
    CONTEXT = "neuron"
    HELP = (
        "First the neurons of what is selected, those that serve the most facts on top; Enter opens one: its facts, its rel and"
        " its place (#) in each fact's set, what the answer loses when it alone is removed, and the degenerate pairs it is in. "
        "Enter on a fact goes to it in the query table. Neurons are written layer:neuron, both from 0. A bin of the layers pane"
        " leads here too."
    )

    def __init__(self) -> None:
        super().__init__(id="neuron")
        self.place = Place()

    def compose(self) -> ComposeResult:
        yield self.note
        yield PlainText("", classes="summary")
        yield FrameTable("neurons", empty="no neuron is above the thresholds here")

    def load(self, reader: Reader, shown: Shown) -> tuple[Place, pl.DataFrame]:
        place = self.place
        return place, reader.sql(self._sql(reader, shown, place))

    def sql(self, reader: Reader, shown: Shown) -> str:
        return self._sql(reader, shown, self.place)

    @staticmethod
    def _sql(reader: Reader, shown: Shown, place: Place) -> str:
        return (list_sql if place.neuron is None else one_sql)(reader, shown, place)

    def paint(self, result: Any, shown: Shown) -> None:
        place, frame = result
        self.entitle(f"{place.trail} · {shown.subject}")
        one = place.neuron is not None
        summary, table = self.query_one(".summary", PlainText), self.query_one(FrameTable)
        summary.display = one
        if one:
            self.summarise(describe(place, frame))
            table.show(frame, ONE, ("fact", "lang"))
            self.entitle(below=f"{frame.height:,} facts and languages")
        else:
            table.show(frame, LIST, ("layer", "neuron"))
            self.entitle(below=f"{frame.height:,} neurons")

    def go_to(self, place: Place) -> None:
        """Show another place."""
        self.place = place
        self.query_one(FrameTable).cursor = 0
        self.again()

    def go_out(self) -> bool:
        """One level up; False at the top."""
        if self.place.neuron is not None:
            self.go_to(replace(self.place, neuron=None, layer=self.place.layer if self.place.column else None))
        elif self.place.layer is not None:
            self.go_to(Place())
        else:
            return False
        return True

    def on_row_entered(self, message: RowEntered) -> None:
        message.stop()
        row = message.row
        if "neuron" in row:
            self.go_to(replace(self.place, layer=row["layer"], neuron=row["neuron"]))
        else:
            self.post_message(FactWanted(row["fact"], row["lang"]))


def describe(place: Place, frame: pl.DataFrame) -> str:
    """A neuron in one or two lines."""
    if frame.is_empty():
        return f"{place.layer}:{place.neuron} is no knowledge neuron of anything here, at these thresholds."
    facts, relations = frame["fact"].n_unique(), sorted(frame["relation"].unique())
    by_lang = " ".join(f"{lang} {n}" for lang, n in frame.group_by("lang").len().sort("lang").iter_rows())
    scanned = frame["drop_p"].drop_nulls()
    effect = f"alone Δp {float(scanned.sum()) / scanned.len():+.3f}" if scanned.len() else "never removed alone"
    best, pairs = min(frame["place"].to_list()), sum(frame["pairs"].to_list())
    return f"{facts} facts of {', '.join(relations)} · {by_lang}\nbest place {best} · {effect} · in {pairs} pairs"
