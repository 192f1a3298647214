"""From a bin to its neurons, from a neuron to everything stored of it: its facts, languages, ranks, pairs, effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.message import Message

from knscope.tui.messages import RowEntered
from knscope.tui.panes.neuron_page import Page, lines_of, page_of, words
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.fitting import align, leading_parts
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
    last: int | None = None
    """The last layer of a bin of several; None: `layer` alone."""

    @property
    def trail(self) -> str:
        parts = ["neurons"]
        if self.layer is not None and (self.column or self.neuron is None):
            to = "" if self.last in (None, self.layer) else f"-{self.last}"
            parts.append(f"L{self.layer}{to} {self.column}".strip())
        if self.neuron is not None:
            parts.append(f"{self.layer}:{self.neuron}")
        return " › ".join(parts)


@dataclass
class FactWanted(Message):
    """Go to this fact in the query table."""

    fact: str
    lang: str


ROWS = 6
"""Lines that the table of a neuron's facts keeps under the lines that describe it."""
LIST = (
    Column("layer", "layer", right=True),
    Column("neuron", "neuron", right=True),
    Column("name", "name", lambda name: name or "", most=20),
    Column("facts", "facts", cells.count, right=True),
    Column("n_langs", "langs", cells.count, right=True, drop=3),
    Column("langs", "languages", most=14, drop=5),
    Column("all_langs", "in all", cells.count, right=True, drop=4),
    Column("rel", "of max", lambda rel: f"{rel:.3f}", right=True),
    Column("pairs", "pairs", lambda n: cells.count(n) if n else "·", right=True, drop=2),
    Column("other_relation", "hub", cells.percent, right=True, drop=1),
    Column("promotes", "promotes", lambda tokens: words(tokens, 5), grow=True, least=16, most=60),
)
ONE = (
    Column("fact", "fact", least=6, most=18, drop=3),
    Column("pair", "subject → object", grow=True, least=12, most=50),
    Column("lang", "lang", most=8),
    Column("rel", "of max", lambda rel: f"{rel:.3f}", right=True),
    Column("place", "place", cells.count, right=True),
    Column("drop_p", "Δp alone", cells.signed, right=True),
    Column("pairs", "pairs", lambda n: cells.count(n) if n else "·", right=True, drop=1),
)


@dataclass(frozen=True)
class Loaded:
    """The neurons of a place; of a single one what it serves, and everything else that is known of it."""

    place: Place
    frame: pl.DataFrame
    page: Page | None = None


class NeuronPane(Pane):
    """The list of neurons, or one of them."""

    TITLE = "neuron"
    CONTEXT = "neuron"
    HELP = (
        "First the neurons of what is selected, those that serve the most facts on top (hub: the share of facts of other relations that"
        " it serves besides one that it serves); Enter opens one, over all facts of the view: the tokens that its output vector promotes"
        " and suppresses, its activation over all queries by language with the strongest and the weakest, the share of other facts by"
        " kind that it serves"
        " too, the tokens that it reads, its company; then its facts, its score as a share of each fact's maximum (of max), its place"
        " in the fact's set, what the answer loses when it alone is removed, and the degenerate pairs it is in. "
        "Enter on a fact goes to it in the query table. Neurons are written layer:neuron, both from 0. A bin of the layers pane"
        " leads here too."
    )

    def __init__(self) -> None:
        super().__init__(id="neuron")
        self.place = Place()
        self._lines: list[str] = []
        """What describes the neuron: as many are shown as leave room for the table."""

    def compose(self) -> ComposeResult:
        yield self.note
        yield self.sentence
        yield PlainText("", classes="summary")
        yield FrameTable("neurons", empty="no neuron is above the thresholds here")

    def load(self, reader: Reader, shown: Shown) -> Loaded:
        place = self.place
        frame = reader.sql(self._sql(reader, shown, place))
        if place.layer is None or place.neuron is None:
            return Loaded(place, frame)
        one = place.layer, place.neuron
        return Loaded(place, frame, page_of(reader, shown.view, *one))

    def sql(self, reader: Reader, shown: Shown) -> str:
        return self._sql(reader, shown, self.place)

    @staticmethod
    def _sql(reader: Reader, shown: Shown, place: Place) -> str:
        from knscope.analysis.neurons.table import list_sql, one_sql

        if place.neuron is None or place.layer is None:
            return list_sql(reader, shown.narrowed, place.layer, place.column, place.last)
        return one_sql(reader, shown.view, place.layer, place.neuron)

    def paint(self, result: Any, shown: Shown) -> None:
        place, frame = result.place, result.frame
        one = place.neuron is not None
        everything = ", ".join(shown.view.relations) or "everything"
        self.entitle(f"{place.trail} · {everything if one else shown.subject}")
        summary, table = self.query_one(".summary", PlainText), self.query_one(FrameTable)
        summary.display = one
        if one:
            self.tell("")
            self._lines = lines_of(f"{place.layer}:{place.neuron}", frame, result.page)
            self._fit()
            opened = table.current is None or "fact" not in table.current
            at = (
                {"fact": shown.selection.fact, "lang": ""} if opened and shown.selection.level != "everything" else None
            )
            table.show(frame, ONE, ("fact", "lang"), at, ("fact",))
            self.entitle(below="1 fact and language" if frame.height == 1 else f"{frame.height:,} facts and languages")
        else:
            from knscope.analysis.report import sentences

            self.tell(sentences.of_serving(frame, shown.view.langs))
            empty = [name for name in ("name", "promotes") if frame[name].null_count() == frame.height]
            empty += ["langs", "n_langs", "all_langs"] if len(shown.view.langs) == 1 else []
            table.show(frame, tuple(one for one in LIST if one.name not in empty), ("layer", "neuron"))
            self.entitle(below=f"{cells.several(frame.height, 'neuron')} · hub: serves other relations too")

    def _fit(self) -> None:
        room = max(3, self.size.height - ROWS)
        left = len(self._lines) - room
        shown = self._lines if left <= 0 else [*self._lines[: room - 1], f"… {left + 1} more lines: z"]
        width = max(20, self.query_one(FrameTable).size.width)
        self.summarise("\n".join(align(leading_parts(line, width), width, False).rstrip() for line in shown))

    def on_resize(self) -> None:
        if self.place.neuron is not None:
            self._fit()

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
