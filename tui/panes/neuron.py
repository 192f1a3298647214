"""From a bin to its neurons, from a neuron to everything stored of it: its facts, languages, ranks, pairs, effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.message import Message

from knscope.tui.messages import RowEntered
from knscope.tui.panes.pane import Pane
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.neurons.notes import Note
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


LIST = (
    Column("layer", "layer", right=True),
    Column("neuron", "neuron", right=True),
    Column("name", "name", lambda name: name or "", most=20),
    Column("facts", "facts", cells.count, right=True),
    Column("langs", "languages", most=14, drop=1),
    Column("all_langs", "in all", cells.count, right=True, drop=2),
    Column("rel", "mean of max", lambda rel: f"{rel:.3f}", right=True),
    Column("pairs", "pairs", lambda n: cells.count(n) if n else "·", right=True, drop=1),
    Column("promotes", "promotes", lambda tokens: words(tokens, 5), grow=True, least=24, most=60),
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
    """The neurons of a place; of a single one what it serves, what it writes, and what a person wrote about it."""

    place: Place
    frame: pl.DataFrame
    writes: pl.DataFrame | None = None
    note: Note | None = None
    company: pl.DataFrame | None = None
    """Neurons that serve most facts together with it."""


class NeuronPane(Pane):
    """The list of neurons, or one of them."""

    TITLE = "neuron"
    CONTEXT = "neuron"
    HELP = (
        "First the neurons of what is selected, those that serve the most facts on top; Enter opens one: the tokens that its output"
        " vector promotes and suppresses (read off the weights), its facts, its score as a share of each fact's maximum (of max), its "
        "place in the fact's set, what"
        " the answer loses when it alone is removed, and the degenerate pairs it is in. "
        "Enter on a fact goes to it in the query table. Neurons are written layer:neuron, both from 0. A bin of the layers pane"
        " leads here too."
    )

    def __init__(self) -> None:
        super().__init__(id="neuron")
        self.place = Place()

    def compose(self) -> ComposeResult:
        yield self.note
        yield self.sentence
        yield PlainText("", classes="summary")
        yield FrameTable("neurons", empty="no neuron is above the thresholds here")

    def load(self, reader: Reader, shown: Shown) -> Loaded:
        from knscope.analysis.neurons import notes
        from knscope.analysis.neurons.table import company_sql, writes_sql

        place, model = self.place, shown.view.model
        frame = reader.sql(self._sql(reader, shown, place))
        if place.layer is None or place.neuron is None:
            return Loaded(place, frame)
        one = place.layer, place.neuron
        company = reader.sql(f"{company_sql(reader, shown.narrowed, *one)} LIMIT 6")
        return Loaded(place, frame, reader.sql(writes_sql(model, *one)), notes.read(reader, model, *one), company)

    def sql(self, reader: Reader, shown: Shown) -> str:
        return self._sql(reader, shown, self.place)

    @staticmethod
    def _sql(reader: Reader, shown: Shown, place: Place) -> str:
        from knscope.analysis.neurons.table import list_sql, one_sql

        if place.neuron is None or place.layer is None:
            return list_sql(reader, shown.narrowed, place.layer, place.column, place.last)
        return one_sql(reader, shown.narrowed, place.layer, place.neuron)

    def paint(self, result: Any, shown: Shown) -> None:
        place, frame = result.place, result.frame
        self.entitle(f"{place.trail} · {shown.subject}")
        one = place.neuron is not None
        summary, table = self.query_one(".summary", PlainText), self.query_one(FrameTable)
        summary.display = one
        if one:
            self.tell("")
            self.summarise(
                "\n".join(
                    filter(
                        None,
                        (noted(result.note), describe(place, frame), beside(result.company), writes(result.writes)),
                    )
                )
            )
            table.show(frame, ONE, ("fact", "lang"))
            self.entitle(below=f"{frame.height:,} facts and languages")
        else:
            from knscope.analysis.report import sentences

            self.tell(sentences.of_serving(frame, shown.view.langs))
            named = frame["name"].null_count() < frame.height
            table.show(frame if named else frame.drop("name"), LIST, ("layer", "neuron"))
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
    lang, _ = frame.group_by("lang").len().sort("len", "lang", descending=[True, False]).row(0)
    answers = frame.filter(lang=lang).group_by("object").len().sort("len", "object", descending=[True, False])
    said = f"{answers.height} answers in {lang}, most often {answers['object'][0]} ({answers['len'][0]})"
    best, pairs = min(frame["place"].to_list()), sum(frame["pairs"].to_list())
    return (
        f"{facts} facts of {', '.join(relations)} · {by_lang} · {said}\nbest place {best} · {effect} · in {pairs} pairs"
    )


def words(tokens: list[str] | None, most: int) -> str:
    """The first tokens of a list, strongest first; nothing where what the neuron promotes is not read."""
    return " · ".join(shown for token in tokens[:most] if (shown := token.strip() or repr(token))) if tokens else ""


def beside(company: pl.DataFrame | None) -> str:
    """The neurons that serve most facts together with one, and with how many; empty where there are none."""
    if company is None or company.is_empty():
        return ""
    shown = company.select("layer", "neuron", "together").iter_rows()
    return "often beside " + " · ".join(f"{layer}:{neuron} ({together:,})" for layer, neuron, together in shown)


def noted(note: Note | None) -> str:
    """A note in one line; empty where there is none."""
    if note is None:
        return ""
    tags = f"[{', '.join(note.tags)}]" if note.tags else ""
    return "  ".join(filter(None, (note.name, tags, note.text)))


def writes(frame: pl.DataFrame | None) -> str:
    """What a neuron promotes and suppresses, in two lines."""
    if frame is None or frame.is_empty():
        return "what it promotes is not read yet: knscope run … --what neurons"
    seen = f"the head sees it {frame['seen'][0]:.1f} times as well as a random direction"
    return (
        f"promotes {words(frame['promotes'].to_list(), 8)}\n"
        f"suppresses {words(frame['suppresses'].to_list(), 5)} · {seen}"
    )
