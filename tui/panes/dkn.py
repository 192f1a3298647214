"""Pairs of neurons that back each other up: what each removal does alone, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult

from knscope.tui.messages import NeuronWanted, RowEntered
from knscope.tui.panes.neuron_page import words
from knscope.tui.panes.pane import BUSY, Pane, side_by_side
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells
from knscope.tui.widgets.bars import spark
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader

LOW = 14
"""Below this height the rates stand in two lines."""
KINDS = ("paper", "strict", "sets")
ROLES = {"kn": "knowledge neurons", "layer_control": "same layers", "drop_control": "matched drops"}
COLUMNS = (
    Column("pair", "fact", grow=True, least=12, most=40),
    Column("lang", "lang", most=8),
    Column("a", "a", right=True),
    Column("b", "b", right=True),
    Column("drop_a", "Δp_a", cells.signed, right=True, drop=8),
    Column("drop_b", "Δp_b", cells.signed, right=True, drop=8),
    Column("drop_ab", "Δp_ab", cells.signed, right=True),
    Column("interaction", "interact", lambda value: cells.NOTHING if value is None else f"{value:+.2f}", right=True),
    Column("serves", "serves", tone=lambda serves: "good" if serves == "degenerate" else "dim", drop=7),
    Column("rule", "rule", tone=lambda rule: "good" if rule == "strict" else "dim", drop=6),
    Column("promotes_a", "a promotes", lambda found: words(found, 2), most=18, drop=9),
    Column("promotes_b", "b promotes", lambda found: words(found, 2), most=18, drop=9),
)


SET_COLUMNS = (
    Column("size", "size", right=True),
    Column("neurons", "neurons", grow=True, least=25, most=30),
    Column("candidates", "candidates", cells.count, right=True, drop=6),
    Column("sets", "degenerate", cells.count, right=True),
    Column("strict", "strict", cells.count, right=True, tone=lambda n: "good" if n else ""),
    Column("rate", "share", cells.power, right=True, drop=3),
    Column("rate_interval", "its 95 %", cells.plain, drop=1),
    Column("missing", "missing", cells.count, right=True, drop=2),
    Column("missed", "missed", cells.count, right=True, drop=5),
    Column("audited", "of audited", cells.count, right=True, drop=4),
)


@dataclass(frozen=True)
class Pairs:
    """The pair table, the rates of its controls, and where the members are."""

    frame: pl.DataFrame
    rates: pl.DataFrame
    """role, pairs (eligible), paper, strict."""
    by_layer: tuple[float, ...]
    """Members of the paper's pairs, by layer."""


def rates(dkn_rate: pl.DataFrame) -> pl.DataFrame:
    """How many eligible pairs of each role qualify, over all languages."""
    import polars as pl

    return dkn_rate.group_by("role").agg(pl.col("pairs", "paper", "strict").sum())


def members(pairs: pl.DataFrame) -> pl.DataFrame:
    """fact, layer, neuron of every neuron in a pair."""
    import polars as pl

    ends = [
        pairs.select("fact", pl.col(f"layer_{end}").alias("layer"), pl.col(f"neuron_{end}").alias("neuron"))
        for end in "ab"
    ]
    return pl.concat(ends).unique()


_PROMOTED = """
    SELECT layer, neuron, promotes[1:5] AS promotes FROM promoted JOIN vocabulary USING (key)
    SEMI JOIN (SELECT unnest($layers) AS layer, unnest($neurons) AS neuron) USING (layer, neuron) WHERE model = $model
"""


def _with_tokens(pairs: pl.DataFrame, reader: Reader, model: str) -> pl.DataFrame:
    """The same with the tokens that both neurons promote, where they are read and any is."""
    if pairs.is_empty() or not reader.keys("vocabulary"):
        return pairs
    both = members(pairs).select("layer", "neuron").unique()
    given = {"model": model, "layers": both["layer"].to_list(), "neurons": both["neuron"].to_list()}
    found = reader.sql(_PROMOTED, given)
    for end in "ab":
        of_end = found.rename({"layer": f"layer_{end}", "neuron": f"neuron_{end}", "promotes": f"promotes_{end}"})
        pairs = pairs.join(
            of_end.cast({name: pairs.schema[name] for name in of_end.columns[:2]}),
            on=of_end.columns[:2],
            how="left",
            maintain_order="left",
        )
    return pairs


def rates_text(result: Pairs) -> Text:
    """One line a role: rates side by side with their controls."""
    text = Text(f"{'':<17}{'pairs':>7}{'paper':>13}{'strict':>13}", style="dim", no_wrap=True)
    found = {row["role"]: row for row in result.rates.iter_rows(named=True)}
    for role, label in ROLES.items():
        text.append(f"\n{label:<17}", style="" if role == "kn" else "dim")
        if (row := found.get(role)) is None:
            text.append(f"{cells.NOTHING:>7}", style="dim")
            continue
        text.append(f"{row['pairs']:>7,}")
        for kind in ("paper", "strict") if row["pairs"] else ():
            text.append(
                f"{row[kind]:>6,}{cells.percent(row[kind] / row['pairs']):>7}", style="bold" if role == "kn" else ""
            )
    if any(result.by_layer):
        text.append(f"\nmembers L0–L{len(result.by_layer) - 1} ", style="dim")
        text.append(spark(list(result.by_layer)), style="bold")
    return text


def rates_line(result: Pairs) -> Text:
    """The same in two lines, for a low pane."""
    found = {row["role"]: row for row in result.rates.iter_rows(named=True) if row["pairs"]}
    text = Text(no_wrap=True)
    for kind in ("paper", "strict"):
        shares = [
            cells.percent(found[role][kind] / found[role]["pairs"]) if role in found else cells.NOTHING
            for role in ROLES
        ]
        text.append(f"{kind:<6} {found['kn'][kind] if 'kn' in found else 0:>6,}", style="dim")
        text.append(f" {shares[0]:>6}", style="bold")
        text.append(f"  same layers {shares[1]:>6}  matched drops {shares[2]:>6}\n", style="dim")
    text.rstrip()
    return text


def counted(pairs: pl.DataFrame) -> str:
    """How many pairs there are, and how many of them are degenerate in the strict sense of the word, or redundant."""
    kinds = dict(pairs.group_by("serves").len().iter_rows())
    told = [f"{kinds.get(kind, 0):,} {kind}" for kind in ("degenerate", "redundant")]
    return " · ".join((cells.several(pairs.height, "pair"), *told))


class DknPane(Pane):
    """Δp_a, Δp_b, Δp_ab and interaction; by the paper's rule or strictly; and larger sets."""

    TITLE = "DKN"
    CONTEXT = "dkn"
    DRAWS = True
    INTEGRALS = True
    HELP = (
        "Degenerate pairs: removing either neuron costs little (≤ T_low), removing both costs more (> T_high). strict also asks"
        " that they interact: interact, the pair's effect in logits beyond the sum of the singles, below -δ (none where p is too near "
        "certainty for its logit). The same scan over "
        "neurons of the same layers, and over pairs matched on their single drops, says how often that happens anyway. d turns "
        "from paper to strict, and to degenerate sets of three to six neurons (no smaller set in them is enough), beside the same "
        "controls; missing are sets that a run with --what sets would still ablate. serves: degenerate where each neuron also serves "
        "facts that the other does not, redundant where both serve the same other facts or none, else one-sided; other facts are all "
        "those of the view, whatever is selected."
    )

    def __init__(self) -> None:
        super().__init__(id="dkn")
        self.kind = "paper"

    def compose(self) -> ComposeResult:
        yield self.note
        yield self.sentence
        yield PlainText("", classes="summary")
        yield FrameTable("dkn", empty="no such pair at these thresholds")
        yield self.foot

    def load(self, reader: Reader, shown: Shown) -> Pairs | Table:
        import polars as pl

        if self.kind == "sets":
            return self._sets(reader, shown)
        pairs, counts, texts = side_by_side(
            partial(reader.live.dkn_service, shown.view, shown.narrowed),
            partial(reader.live.dkn_rate, shown.narrowed),
            partial(reader.sql, "SELECT query, subject || ' → ' || object AS pair FROM query"),
        )
        frame = (
            pairs.sort("drop_ab", descending=True, nulls_last=True)
            .join(texts, on="query", how="left", maintain_order="left")
            .with_columns(
                a=pl.format("{}:{}", "layer_a", "neuron_a"),
                b=pl.format("{}:{}", "layer_b", "neuron_b"),
                rule=pl.when("strict").then(pl.lit("strict")).otherwise(pl.lit("paper")),
            )
        )
        frame = _with_tokens(frame, reader, shown.view.model)
        layers = dict(members(frame).group_by("layer").len().iter_rows())
        return Pairs(
            frame, rates(counts), tuple(float(layers.get(layer, 0)) for layer in range(reader.depth(shown.view.model)))
        )

    @staticmethod
    def _sets(reader: Reader, shown: Shown) -> Table:
        from knscope.analysis.dkn import sets_table

        return sets_table.build(reader, shown.narrowed, sets_table.asked_size(reader))

    def result(self, reader: Reader, shown: Shown) -> Table:
        from knscope.analysis.dkn import table as dkn_table

        if self.kind == "sets":
            return self._sets(reader, shown)
        return dkn_table.build(reader, shown.narrowed)

    def sql(self, reader: Reader, shown: Shown) -> str:
        return reader.macro_sql("dkn_service", shown.view, shown.narrowed)

    def paint(self, result: Pairs | Table, shown: Shown) -> None:
        if isinstance(result, Pairs) == (self.kind == "sets"):  # d was pressed while it was loaded
            self.again()
            return
        self.query_one(".summary").display = isinstance(result, Pairs)
        if not isinstance(result, Pairs):
            self._paint_sets(result, shown)
            return
        self._result = result
        if not result.rates["pairs"].sum():
            self.entitle("DKN", "")
            self.tell("")
            self.query_one(".summary").display = False
            self.say("No ablation of this selection is stored. r says what computing it takes.")
            return
        self._tell_rates()
        self._show_kind()

    def _paint_sets(self, result: Table, shown: Shown) -> None:
        from knscope.analysis.report import sentences

        self.entitle(f"DKN · larger sets · {shown.subject}")
        self.entitle(below="missing: not ablated yet; R, with what: sets")
        self.tell(sentences.of_sets(result.frame))
        self.query_one(FrameTable).show(result.frame, SET_COLUMNS, ("size", "neurons"))

    def on_resize(self) -> None:
        """A result may come before the pane has been given its room."""
        if self.painted is not None and not self.note.display and self.kind != "sets":
            self._tell_rates()

    def _tell_rates(self) -> None:
        self.summarise((rates_line if self.size.height < LOW else rates_text)(self._result))

    def _show_kind(self) -> None:
        frame = self._result.frame
        if self.kind == "strict":
            frame = frame.filter("strict")
        subject = self.painted.subject if self.painted else ""
        self.entitle(f"DKN · {self.kind} pairs · {subject}")
        self.entitle(below=counted(frame))
        from knscope.analysis.report import sentences

        self.tell(sentences.of_pairs(self._result.rates, self.kind))
        self.query_one(FrameTable).show(frame, COLUMNS, ("query", "a", "b"))

    def turn_kind(self) -> None:
        before, self.kind = self.kind, KINDS[(KINDS.index(self.kind) + 1) % len(KINDS)]
        if "sets" in (before, self.kind):
            self.entitle(below=BUSY)
            self.again()
        elif self.painted is not None and not self.note.display:
            self._show_kind()

    def on_row_entered(self, message: RowEntered) -> None:
        message.stop()
        if "layer_a" not in message.row:
            return
        self.post_message(NeuronWanted(message.row["layer_a"], message.row["neuron_a"]))
