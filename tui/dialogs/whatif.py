"""What if: a set of neurons changed step by step, and what the model answers at each step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer

from knscope.tui.messages import RowEntered, RowMoved
from knscope.tui.printing.format import one_line
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.fitting import align
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.runs.whatif import Answer, Change, Side

SHOWN = 5
"""Likeliest tokens of a side."""
STILL = 0.6
"""Seconds without a key after which the model is asked how it goes on: it takes longer than a try."""
COLUMNS = (
    Column("kind", "read on", most=14),
    Column("lang", "lang", most=8, drop=1),
    Column("pair", "subject → answer", grow=True, least=12, most=50),
    Column("before", "p", cells.prob, right=True),
    Column("after", "p with it", cells.prob, right=True),
    Column("change", "Δ log p", cells.signed, right=True, drop=2),
    Column("ranks", "rank", right=True, drop=3),
    Column("flips", "flips", cells.tick, tone=lambda flips: "bad" if flips else ""),
    Column("first", "says then", least=6, most=16, drop=4),
)


class WhatIfScreen(ModalScreen[None]):
    """Left and right move the factor. `ask` is called with each change that was not tried before; `answered` takes what it led to,
    in as many parts as come. `more` asks how the model goes on in one row. `export` is given every try so far as a frame and the
    ending of the file; `save` writes the set.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave", show=False),
        Binding("left,h,minus", "step(-1)", "smaller", show=False, priority=True),
        Binding("right,l,plus,equals_sign", "step(1)", "larger", show=False, priority=True),
        Binding("0,s", "to(0)", "suppress", show=False, priority=True),
        Binding("1", "to(1)", "leave as it is", show=False),
        Binding("2,d", "to(2)", "double", show=False),
        Binding("m", "put_in('mean')", "mean", show=False),
        Binding("r", "put_in('resample')", "resample", show=False, priority=True),
        Binding("e", "export('csv')", "export", show=False),
        Binding("E", "export('parquet')", "export as Parquet", show=False),
        Binding("w", "save", "write the set", show=False),
    ]

    def __init__(
        self,
        title: str,
        factors: Sequence[float],
        ask: Callable[[Change], None],
        more: Callable[[Change, int], None],
        export: Callable[[pl.DataFrame, str], None],
        save: Callable[[], None],
    ) -> None:
        super().__init__()
        self._title, self._factors = title, tuple(factors)
        self._ask, self._more, self._export, self._save = ask, more, export, save
        self.at: Change = 0.0
        """The change that is shown."""
        self.tried: dict[Change, tuple[Answer, ...]] = {}
        """What each change led to, in the order in which they were tried."""
        self.says: dict[tuple[Change, int], tuple[str, str]] = {}
        """How the model goes on without and with a change, by row."""
        self._asked: Change | None = None
        """The change that is being computed."""
        self._since = 0.0
        self._rest: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="box", classes="wide") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "←/→ factor · s 0 · d ×2 · m mean · r resample · e/E export · w set"
            yield PlainText(id="slider")
            yield PlainText("", id="state", classes="hint")
            yield FrameTable("whatif", id="answers")
            yield PlainText("", id="said")
            yield FrameTable("history", id="history")

    def on_mount(self) -> None:
        self.query_one(FrameTable).focus()
        self.set_interval(1.0, self._say_waiting)
        self._go(self.at)

    # --- the change

    def action_step(self, step: int) -> None:
        place = self._factors.index(self.at) + step if self.at in self._factors else self._factors.index(1.0)
        self._go(self._factors[max(0, min(place, len(self._factors) - 1))])

    def action_to(self, factor: float) -> None:
        self._go(float(factor))

    def action_put_in(self, way: Literal["mean", "resample"]) -> None:
        self._go(way)

    def _go(self, change: Change) -> None:
        self.at = change
        marks = "".join(f"[{one:g}]" if one == change else f" {one:g} " for one in self._factors)
        ways = "".join(f"[{way}]" if way == change else f" {way} " for way in ("mean", "resample"))
        self.query_one("#slider", PlainText).update(f"×{marks} {ways}")
        if change in self.tried:
            self._paint()
        else:
            self._next()

    def _next(self) -> None:
        """Ask for the change that is shown, once the model is free: held keys ask for the last one alone."""
        if self._asked is None and self.at not in self.tried:
            self._asked, self._since = self.at, time.monotonic()
            self.say("the model computes …")
            self._ask(self.at)

    def _say_waiting(self) -> None:
        waited = time.monotonic() - self._since
        if self._asked is not None and waited > 1:
            what = "computes" if self.tried else "is loaded, then computes"
            self.say(f"the model {what} … {waited:.0f} s")

    def answered(self, change: Change, answers: Sequence[Answer], seconds: float, whole: bool = True) -> None:
        """Take what a change led to; not `whole`: more rows of it come."""
        self.tried[change] = (*self.tried.get(change, ()), *answers)
        self.say(f"answered in {seconds:.2f} s")
        if whole:
            self._asked = None
        if change == self.at:
            self._paint()
        self._next()

    def went_on(self, change: Change, row: int, says: tuple[str, str]) -> None:
        """Take how the model goes on in a row."""
        self.says[change, row] = says
        self._paint_row()

    def failed(self, change: Change, why: str) -> None:
        """Say why there is no answer to a change; the next key asks again. A newer change is asked for at once."""
        self._asked = None
        self.say(why)
        if change != self.at:
            self._next()

    def say(self, text: str) -> None:
        """Put a line below the slider."""
        self.query_one("#state", PlainText).update(text)

    # --- what came of it

    def _tables(self) -> tuple[FrameTable, FrameTable]:
        answers, history = self.query(FrameTable)
        return answers, history

    def _paint(self) -> None:
        import polars as pl

        table, history = self._tables()
        table.show(
            pl.DataFrame([_row(one) for one in self.tried[self.at]]), COLUMNS, ("kind", "lang", "pair", "template")
        )
        self._paint_row()
        tries = pl.DataFrame([_summary(change, answers) for change, answers in self.tried.items()])
        columns = [Column(name, name, cells.prob, right=True, drop=2) for name in tries.columns[1:-1]]
        ends = Column("change", "tried", most=10), Column("flips", "first answers that flip", right=True)
        history.show(tries, (ends[0], *columns, ends[1]), ("change",), {"change": named(self.at)})

    def _paint_row(self) -> None:
        answers, place = self.tried.get(self.at, ()), self._tables()[0].cursor
        if not 0 <= place < len(answers):
            return
        one, said = answers[place], self.query_one("#said", PlainText)
        if one.before is None or one.after is None:
            said.update(one.why)
            return
        goes_on = self.says.get((self.at, place), ("…", "…"))
        width = max(20, said.size.width // 2 - 1)
        left = "as it is", *_tokens(one.before), f"goes on: {goes_on[0]}"
        right = f"with {named(self.at)}", *_tokens(one.after), f"goes on: {goes_on[1]}"
        pairs = zip(left, right, strict=True)
        said.update(
            "\n".join(f"{align(one_line(a), width, False)} {align(one_line(b), width, False)}" for a, b in pairs)
        )
        if self._rest is not None:
            self._rest.stop()
        if (self.at, place) not in self.says:
            self._rest = self.set_timer(STILL, self._ask_more)

    def _ask_more(self) -> None:
        place = self._tables()[0].cursor
        if self._asked is None and self.at in self.tried and (self.at, place) not in self.says:
            self._more(self.at, place)

    def on_row_moved(self, message: RowMoved) -> None:
        message.stop()
        if message.table == "whatif":
            self._paint_row()

    def on_row_entered(self, message: RowEntered) -> None:
        message.stop()

    def action_save(self) -> None:
        self._save()

    def action_export(self, ending: str) -> None:
        """Every try so far as rows, in the order in which they were tried."""
        import polars as pl

        rows = [
            {"change": named(change), **_exported(one, self.says.get((change, place), ("", "")))}
            for change, answers in self.tried.items()
            for place, one in enumerate(answers)
        ]
        if rows:
            self._export(pl.DataFrame(rows, infer_schema_length=None), ending)


def named(change: Change) -> str:
    """×0.5, or what is put in."""
    return change if isinstance(change, str) else f"× {change:g}"


def _row(one: Answer) -> Mapping[str, object]:
    query, before, after = one.reading.query, one.before, one.after
    there = before is not None and after is not None
    return {
        "kind": one.reading.kind,
        "lang": query.lang,
        "pair": f"{query.subject} → {query.object}",
        "fact": query.fact,
        "template": query.template,
        "before": None if before is None else before.p,
        "after": None if after is None else after.p,
        "change": _log_change(before, after),
        "ranks": f"{before.rank:,} → {after.rank:,}" if there and before and after else cells.NOTHING,
        "flips": one.flips,
        "first": one.why if after is None else after.likeliest[0][0].strip(),
    }


def _log_change(before: Side | None, after: Side | None) -> float | None:
    """log p after - log p before, in nats; None where either is 0 or not there."""
    if before is None or after is None or min(before.p, after.p) <= 0:
        return None
    return math.log(after.p) - math.log(before.p)


def _summary(change: Change, answers: Sequence[Answer]) -> Mapping[str, object]:
    """A try in one row: p of the answer in each language of the fact, and how many rows' first answers flip."""
    first = answers[0].reading
    own = {
        f"p {one.reading.query.lang}": None if one.after is None else one.after.p
        for one in answers
        if one.reading.kind == first.kind
    }
    read = [one.flips for one in answers if one.flips is not None]
    return {"change": named(change), **own, "flips": f"{sum(read)} of {len(read)}"}


def _exported(one: Answer, says: tuple[str, str]) -> Mapping[str, object]:
    query = one.reading.query
    row = {name: value for name, value in _row(one).items() if name not in ("ranks", "first", "change")}
    sides = {
        f"{name}_{when}": None if side is None else getattr(side, name) if name == "rank" else side.likeliest[0][0]
        for name in ("rank", "first")
        for when, side in (("before", one.before), ("after", one.after))
    }
    goes_on = {"goes_on_before": says[0] or None, "goes_on_after": says[1] or None}
    texts = {"subject": query.subject, "object": query.object, "why_not": one.why or None}
    return {**row, "log_p_change": _log_change(one.before, one.after), **sides, **goes_on, **texts}


def _tokens(side: Side) -> tuple[str, str]:
    """The likeliest tokens in two lines."""
    shown = [f"{token.strip() or repr(token)} {cells.prob(p)}" for token, p in side.likeliest[:SHOWN]]
    return "  ".join(shown[:2]), "  ".join(shown[2:])
