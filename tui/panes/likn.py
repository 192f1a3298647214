"""What the languages share: observed, by chance, and between mismatched facts; of one fact, neuron by neuron."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from knscope.tui.host import host_of
from knscope.tui.messages import NeuronWanted, RowEntered
from knscope.tui.panes.likn_groups import COLUMNS, GROUPS, LEGEND, grouped, mean_of
from knscope.tui.panes.pane import FINISHED, SLOW, Pane
from knscope.tui.printing.format import one_line
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.bars import bar
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

BAR = 5
"""Cells of the bars of one fact's neurons, where there is room."""
BESIDE = 5
"""Lines that stand beside the matrix's languages: its head, the sentence, the head and two rows of the controls."""
QUIET = 0.25
"""Seconds without a change before the controls are drawn: drawing them at every repeat of a held key would take too long."""
REST = 8
"""When only new results ask for controls again, they are drawn after this many times as long as the last drawing took."""


@dataclass(frozen=True)
class Overlaps:
    """Mean sizes per fact: `matrix[a][b]` neurons that languages a and b share, the diagonal |N|; None: no common fact."""

    langs: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]
    shared: int
    """Neurons of L over all facts."""
    covered: int
    facts: int
    """Facts that have neurons in every language."""
    neurons: pl.DataFrame | None
    """Of one fact: layer, neuron, one rel a language, and in how many it is; None at a wider selection."""


@dataclass(frozen=True)
class Controls:
    """The controls drawn last: of which View and generation of its results, when that ended, and how long it took."""

    view: View
    generation: int
    frame: pl.DataFrame
    ended: float
    took: float


@dataclass(frozen=True)
class Asked:
    """What the table must show the controls of, since when, and what the lower border says when they are there."""

    shown: Shown
    since: float
    below: str


def overlaps(shared: pl.DataFrame, langs: Sequence[str], kn: pl.DataFrame | None = None) -> Overlaps:
    """Everything that needs no random draws, from `overlap`; of one fact also its neurons, from `kn`."""
    found = {(row["lang_a"], row["lang_b"]): row for row in shared.iter_rows(named=True)}

    def mean(a: str, b: str) -> float | None:
        row = found.get((a, b)) or found.get((b, a))
        return row["shared"] / row["facts"] if row else None

    matrix = tuple(tuple(mean(a, b) for b in langs) for a in langs)
    every = found.get(("LIKN", "LIKN")) or {"shared": 0, "facts_that_share": 0, "facts": 0}
    neurons = None if kn is None else _wide(kn, langs)
    return Overlaps(tuple(langs), matrix, every["shared"], every["facts_that_share"], every["facts"], neurons)


def _wide(kn: pl.DataFrame, langs: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    of_lang = [pl.col("rel").filter(pl.col("lang") == lang).max().alias(lang) for lang in langs]
    grouped = kn.group_by("layer", "neuron").agg(
        *of_lang,
        pl.col("lang").n_unique().alias("in"),
        pl.col("lang").unique().sort().str.join(" ").alias("langs"),
        pl.col("rel").max().alias("most"),
    )
    return grouped.sort(["in", "most", "layer", "neuron"], descending=[True, True, False, False]).drop("most")


def matrix_text(result: Overlaps) -> Text:
    """The overlap matrix, aligned; the diagonal is what each language has."""
    wide = max(6, *(len(lang) + 1 for lang in result.langs))
    text = Text("shared".ljust(wide) + "".join(f"{lang:>{wide}}" for lang in result.langs), style="dim", no_wrap=True)
    for i, lang in enumerate(result.langs):
        text.append(f"\n{lang:<{wide}}", style="dim")
        for j, value in enumerate(result.matrix[i]):
            text.append(f"{mean_of(value):>{wide}}", style="bold" if i != j else "dim")
    return text


class LiknPane(Pane):
    """Overlap matrix and controls; of one fact, its neurons in each language."""

    TITLE = "LIKN"
    CONTEXT = "likn"
    DRAWS = True
    INTEGRALS = True
    HELP = (
        "Language-independent knowledge neurons: those found in every chosen language of a fact. The matrix gives the mean number that two "
        "languages share (diagonal: neurons of that language). Below it, how many all of them share, at the thresholds and with the top n "
        "neurons of each; then how many they share when the other languages' sets are taken from a mismatched fact: of the same relation "
        "with another answer (relation), with the same answer (answer), of another relation (others), and how many random sets share "
        "(chance). The verdict goes by the intervals of the differences: only what is above relation and answer may be called the fact's "
        "own (green). Enter on ▸ unfolds a group. Go in to a fact to see its neurons: the share of the maximum in each language."
    )

    def __init__(self) -> None:
        super().__init__(id="likn")
        self._open: set[str] | None = None
        """Groups of controls that are unfolded; None, until a person folds or unfolds one: all where they fit, else none."""
        self._asked: Asked | None = None
        """None while the pane shows the neurons of a fact, or one language."""
        self._drawn: Controls | None = None
        self._drawing: Shown | None = None
        """What controls are being drawn for; one drawing at a time."""
        self._timer: Timer | None = None

    @property
    def loading_still(self) -> bool:
        """The controls count too: they come last. Those of the same View from fewer results do not hold up newer results."""
        asked = self._asked
        coming = asked is not None and asked.shown == self.painted and (self._drawing or not self._drawn_for(asked))
        return super().loading_still or bool(coming)

    def result(self, reader: Reader, shown: Shown) -> Table:
        from knscope.analysis.likn import table as likn_table

        return likn_table.build(reader, shown.narrowed)

    def whole(self) -> pl.DataFrame | None:
        """Controls with those of the folded groups."""
        drawn = self._drawn_for(self._asked) if self._asked is not None else None
        return drawn.frame if drawn is not None else super().whole()

    def compose(self) -> ComposeResult:
        yield self.note
        yield self.sentence
        yield PlainText("", classes="summary")
        yield FrameTable("likn", empty="the controls follow when the keys rest")
        yield self.foot

    def load(self, reader: Reader, shown: Shown) -> Overlaps:
        one_fact = shown.selection.level in ("fact", "query")
        kn = reader.kn(shown.narrowed) if one_fact else None
        return overlaps(reader.live.overlap(shown.narrowed), shown.view.langs, kn)

    def sql(self, reader: Reader, shown: Shown) -> str:
        return reader.macro_sql("likn", shown.narrowed)

    def paint(self, result: Overlaps, shown: Shown) -> None:
        self.entitle(f"LIKN · {shown.subject}")
        summary, table = self.query_one(".summary", PlainText), self.query_one(FrameTable)
        self._asked = None
        if result.neurons is not None:
            from knscope.analysis.report import sentences

            self.entitle(below=cells.several(result.neurons.height, "neuron"))
            own = [lang for lang in result.langs if result.neurons[lang].count()]
            self.tell(sentences.of_neurons(result.neurons.height, result.shared, result.langs, own))
            summary.display = False
            bars = table.size.width >= 22 + len(result.langs) * (6 + BAR)
            table.show(result.neurons, self._neuron_columns(result.langs, BAR if bars else 0), ("layer", "neuron"))
            return
        if len(result.langs) < 2:
            self.entitle(below="")
            self.tell("")
            summary.display = False
            self.say("One language only: there is nothing to share. L chooses languages, m another model.")
            return
        below = f"{LEGEND} · in {result.covered} of {result.facts} facts"
        self.entitle(below=below)
        self._make_room(shown)
        self.summarise(matrix_text(result))
        self._asked = Asked(shown, time.monotonic(), below)
        if self._drawn_for(self._asked) is None:
            self._tell_shared(result)
        self._advance()

    def _make_room(self, shown: Shown) -> None:
        """The matrix gives way where it would leave the controls fewer than two rows."""
        self.query_one(".summary", PlainText).display = self.size.height >= len(shown.view.langs) + BESIDE

    @staticmethod
    def _neuron_columns(langs: Sequence[str], wide: int) -> tuple[Column, ...]:
        def share(rel: float | None) -> str:
            text = "   ·" if rel is None else f"{rel:.2f}"
            return f"{text} {bar(rel or 0.0, wide)}" if wide else text

        def everywhere(n: int) -> str:
            return f"all {n}" if n == len(langs) else f"{n} of {len(langs)}"

        return (
            Column("layer", "layer", right=True),
            Column("neuron", "neuron", right=True),
            *(Column(lang, one_line(lang).rjust(4), share, least=5) for lang in langs),
            *(
                (Column("in", "found in", everywhere, right=True, tone=lambda n: "good" if n == len(langs) else ""),)
                if len(langs) > 1
                else ()
            ),
        )

    # --- the controls, once the keys rest

    def _drawn_for(self, asked: Asked) -> Controls | None:
        """The controls drawn last, where they belong to the View asked for."""
        return self._drawn if self._drawn is not None and self._drawn.view == asked.shown.narrowed else None

    def _advance(self) -> None:
        """Show the controls drawn last if they belong to this View; draw newer ones if there are newer results and it is time.

        Called when something is asked for, when its time has come, and when a drawing has ended.
        """
        asked, reader = self._asked, self.session.reader
        if asked is None or reader is None or asked.shown != self.wanted:
            return
        due = asked.since + QUIET
        if (drawn := self._drawn_for(asked)) is not None:
            self._show_controls(drawn)
            if drawn.generation == reader.changed.get(drawn.view.model, 0):
                return
            due = max(due, drawn.ended + REST * drawn.took)
        if (left := due - time.monotonic()) > 0:
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(left, self._advance)
        elif self._drawing is None:
            self._draw(reader, asked.shown)

    def _tell_shared(self, result: Overlaps) -> None:
        """What is shared, until the controls say what it means."""
        from knscope.analysis.report import sentences

        if not result.facts:
            self.tell(f"No fact has neurons in {sentences.every(result.langs)}.")
        else:
            mean = sentences.number(result.shared / result.facts)
            self.tell(f"{sentences.together(result.langs)} share {mean} neurons a fact; the controls follow.")

    def _show_controls(self, drawn: Controls) -> None:
        from knscope.analysis.report import sentences

        self.query_one(FrameTable).show(grouped(drawn.frame, self._unfolded(drawn)), COLUMNS, ("sets",))
        self.tell(sentences.of_likn(drawn.frame, drawn.view.langs))

    def _unfolded(self, drawn: Controls) -> set[str]:
        if self._open is not None:
            return self._open
        fits = grouped(drawn.frame, GROUPS).height < self.query_one(FrameTable).size.height
        return set(GROUPS) if fits else set()

    def on_resize(self) -> None:
        """The matrix and other groups may fit. Textual calls this beside `Pane`'s own."""
        if self._asked is not None:
            self._make_room(self._asked.shown)
        if self._open is None:
            self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Show the controls again, unless something else is shown by now."""
        if self._asked is not None and (drawn := self._drawn_for(self._asked)) is not None:
            self._show_controls(drawn)

    def _draw(self, reader: Reader, shown: Shown) -> None:
        self._drawing = shown
        self.set_timer(SLOW, self._say_drawing)
        host, view = host_of(self), shown.narrowed

        def give_way() -> None:
            while time.monotonic() - host.last_key < QUIET:
                time.sleep(0.02)

        def work() -> Controls:
            from knscope.analysis.likn import table as likn_table

            begun, generation = time.monotonic(), reader.changed.get(view.model, 0)
            frame = likn_table.build(reader, view, between=give_way).frame
            return Controls(view, generation, frame, time.monotonic(), time.monotonic() - begun)

        self.run_worker(work, thread=True, group="likn-controls", exit_on_error=False)

    def _say_drawing(self) -> None:
        """Say so while a drawing takes long."""
        if self._drawing is not None and self._asked is not None and self._asked.shown == self.painted:
            self.entitle(below="the controls are drawn …")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take drawn controls. Textual calls this handler beside that of `Pane`, which takes what the pane loads."""
        if event.worker.group != "likn-controls":
            return
        event.stop()
        if event.state not in FINISHED:
            return
        asked, shown, self._drawing = self._asked, self._drawing, None
        if asked is not None:
            self.entitle(below=asked.below)
        if event.state == WorkerState.SUCCESS:
            self._drawn = event.worker.result
        elif event.state == WorkerState.ERROR and asked is not None and asked.shown == shown:
            self._asked = None
            self.broken(event.worker.error)
        self._advance()

    def on_row_entered(self, message: RowEntered) -> None:
        if group := message.row.get("group"):
            message.stop()
            if self._asked is not None and (drawn := self._drawn_for(self._asked)) is not None:
                self._open = self._unfolded(drawn) ^ {group}
                self._show_controls(drawn)
        elif "neuron" in message.row and "layer" in message.row:
            message.stop()
            self.post_message(NeuronWanted(message.row["layer"], message.row["neuron"]))
