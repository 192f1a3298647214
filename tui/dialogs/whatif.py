"""What if: a set of neurons scaled step by step, and what the model answers at each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from knscope.tui.messages import RowEntered, RowMoved
from knscope.tui.printing.format import one_line
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.runs.whatif import Answer, Side

SHOWN = 5
"""Likeliest tokens of a line."""
COLUMNS = (
    Column("kind", "read on", most=14),
    Column("lang", "lang", most=8),
    Column("pair", "subject → answer", grow=True, least=12, most=50),
    Column("before", "p", cells.prob, right=True),
    Column("after", "p with it", cells.prob, right=True),
    Column("ranks", "rank", right=True),
    Column("first", "says then", least=6, most=20, drop=1),
)


class WhatIfScreen(ModalScreen[None]):
    """Left and right move the factor. `ask` is called with each factor that was not tried before; `answered` takes what it
    led to. `export` is given every try so far as a frame; `save` writes the set.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave", show=False),
        Binding("left,h,minus", "step(-1)", "smaller", show=False, priority=True),
        Binding("right,l,plus,equals_sign", "step(1)", "larger", show=False, priority=True),
        Binding("0", "to(0)", "suppress", show=False),
        Binding("1", "to(1)", "leave as it is", show=False),
        Binding("2", "to(2)", "double", show=False),
        Binding("e", "export", "export", show=False),
        Binding("w", "save", "write the set", show=False),
    ]

    def __init__(
        self,
        title: str,
        factors: Sequence[float],
        ask: Callable[[float], None],
        export: Callable[[pl.DataFrame], None],
        save: Callable[[], None],
    ) -> None:
        super().__init__()
        self._title, self._factors = title, tuple(factors)
        self._ask, self._export, self._save = ask, export, save
        self.factor = 0.0
        self.tried: dict[float, tuple[Answer, ...]] = {}
        """What each factor led to."""
        self._asked: float | None = None
        """The factor that is being computed."""
        self._since = 0.0

    def compose(self) -> ComposeResult:
        with Vertical(id="box", classes="wide") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "←/→ factor, 0 suppresses, 1 as it is, 2 doubles, e exports, w writes the set"
            yield PlainText(id="slider")
            yield PlainText("", id="state", classes="hint")
            yield FrameTable("whatif")
            yield PlainText("", id="said")
            yield PlainText("", id="history", classes="hint")

    def on_mount(self) -> None:
        self.query_one(FrameTable).focus()
        self.set_interval(1.0, self._say_waiting)
        self._go(self.factor)

    # --- the factor

    def action_step(self, step: int) -> None:
        place = self._factors.index(self.factor) + step
        self._go(self._factors[max(0, min(place, len(self._factors) - 1))])

    def action_to(self, factor: float) -> None:
        self._go(float(factor))

    def _go(self, factor: float) -> None:
        self.factor = factor
        marks = (f"[{one:g}]" if one == factor else f" {one:g} " for one in self._factors)
        self.query_one("#slider", PlainText).update("activations × " + "".join(marks))
        if factor in self.tried:
            self._paint()
        else:
            self._next()

    def _next(self) -> None:
        """Ask for the factor that is shown, once the model is free: held keys ask for the last one alone."""
        if self._asked is None and self.factor not in self.tried:
            self._asked, self._since = self.factor, time.monotonic()
            self._say("the model computes …")
            self._ask(self.factor)

    def _say_waiting(self) -> None:
        waited = time.monotonic() - self._since
        if self._asked is not None and waited > 1:
            what = "computes" if self.tried else "is loaded, then computes"
            self._say(f"the model {what} … {waited:.0f} s")

    def answered(self, factor: float, answers: Sequence[Answer], seconds: float) -> None:
        """Take what a factor led to."""
        self._asked = None
        self.tried[factor] = tuple(answers)
        self._say(f"answered in {seconds:.2f} s")
        if factor == self.factor:
            self._paint()
        self._next()

    def failed(self, why: str) -> None:
        """Say why there is no answer; the next key asks again."""
        self._asked = None
        self._say(why)

    def _say(self, text: str) -> None:
        self.query_one("#state", PlainText).update(text)

    # --- what came of it

    def _paint(self) -> None:
        self.query_one(FrameTable).show(self._frame(self.factor), COLUMNS, ("kind", "lang", "pair"))
        self._paint_row()
        own = [(factor, answers[0]) for factor, answers in sorted(self.tried.items()) if answers]
        tries = "  ".join(f"×{factor:g} {cells.prob(one.after.p)}" for factor, one in own if one.after is not None)
        self.query_one("#history", PlainText).update(f"p of the first row: {tries}")

    def _frame(self, factor: float) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame([_row(one) for one in self.tried[factor]])

    def _paint_row(self) -> None:
        answers = self.tried.get(self.factor, ())
        place = self.query_one(FrameTable).cursor
        if not 0 <= place < len(answers):
            return
        one = answers[place]
        if one.before is None or one.after is None:
            self.query_one("#said", PlainText).update(one.why)
        else:
            lines = f"as it is   {_tokens(one.before)}", f"{f'× {self.factor:g}':<10} {_tokens(one.after)}"
            self.query_one("#said", PlainText).update("\n".join(lines))

    def on_row_moved(self, message: RowMoved) -> None:
        message.stop()
        self._paint_row()

    def on_row_entered(self, message: RowEntered) -> None:
        message.stop()

    def action_save(self) -> None:
        self._save()

    def action_export(self) -> None:
        """Every try so far as rows, smallest factor first."""
        import polars as pl

        if self.tried:
            frames = [self._frame(factor).with_columns(factor=pl.lit(factor)) for factor in sorted(self.tried)]
            self._export(pl.concat(frames, how="diagonal_relaxed"))


def _row(one: Answer) -> Mapping[str, object]:
    query, before, after = one.reading.query, one.before, one.after
    return {
        "kind": one.reading.kind,
        "lang": query.lang,
        "pair": f"{query.subject} → {query.object}",
        "fact": query.fact,
        "template": query.template,
        "before": None if before is None else before.p,
        "after": None if after is None else after.p,
        "ranks": cells.NOTHING if before is None or after is None else f"{before.rank:,} → {after.rank:,}",
        "first": one.why if after is None else after.likeliest[0][0].strip(),
    }


def _tokens(side: Side) -> str:
    return "  ".join(f"{token.strip() or repr(token)} {cells.prob(p)}" for token, p in side.likeliest[:SHOWN])
