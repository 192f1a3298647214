"""The dialog that scales a set of neurons step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import polars as pl
import pytest
from textual.app import App
from textual.pilot import Pilot

from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.whatif import FACTORS, OWN, Answer, Reading, Side
from knscope.tui.dialogs.whatif import WhatIfScreen
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.widgets.line import PlainText

QUERY = Query("tz", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma")
BEFORE = Side(0.9, 1, ((" Dodoma", 0.9), (" Paris", 0.05)))


def answers(p: float) -> tuple[Answer, ...]:
    after = Side(p, 2, ((" Paris", 0.5), (" Dodoma", p)))
    return (
        Answer(Reading(OWN, QUERY), BEFORE, after),
        Answer(Reading("same answer", QUERY), None, None, "too long for the model"),
    )


class Shown(App[None]):
    CSS_PATH = "../../tui/dialogs/modal.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.exported: list[pl.DataFrame] = []
        self.saved: list[int] = []
        self.dialog = WhatIfScreen(
            "the 3 en neurons", FACTORS, self.asked.append, self.exported.append, lambda: self.saved.append(1)
        )

    def on_mount(self) -> None:
        self.push_screen(self.dialog)

    def text(self, name: str) -> str:
        return str(self.dialog.query_one(f"#{name}", PlainText).render())


async def shown(story: Callable[[Shown, Pilot[None]], Awaitable[None]]) -> None:
    app = Shown()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await story(app, pilot)


async def test_what_if_asks_for_zero_at_once_and_shows_p_rank_and_tokens_of_both_sides() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        assert app.asked == [0.0]
        app.dialog.answered(0.0, answers(0.2), 0.1)
        await pilot.pause()
        frame = app.dialog.query_one(FrameTable).frame
        assert frame["after"].to_list() == [0.2, None]
        assert frame["ranks"].to_list() == ["1 → 2", "–"]
        assert "as it is   Dodoma 0.900  Paris 0.050" in app.text("said")
        assert "× 0        Paris 0.500  Dodoma 0.200" in app.text("said")
        await pilot.press("down")
        assert "too long for the model" in app.text("said")

    await shown(story)


async def test_what_if_asks_only_for_the_last_of_the_keys_that_came_while_the_model_computed() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.press("right", "right", "right")
        assert app.asked == [0.0]
        app.dialog.answered(0.0, answers(0.2), 0.1)
        assert app.asked == [0.0, 0.75]
        app.dialog.answered(0.75, answers(0.7), 0.1)
        await pilot.press("0")
        assert app.asked == [0.0, 0.75], "what was tried is not computed again"
        assert "×0 0.200  ×0.75 0.700" in app.text("history")

    await shown(story)


async def test_what_if_says_why_a_try_failed_and_asks_again_with_the_next_key() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.failed("no memory left")
        await pilot.pause()
        assert "no memory left" in app.text("state")
        await pilot.press("2")
        assert app.asked == [0.0, 2.0]

    await shown(story)


async def test_what_if_exports_every_try_and_closes_with_escape() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.answered(0.0, answers(0.2), 0.1)
        await pilot.press("2")
        app.dialog.answered(2.0, answers(0.95), 0.1)
        await pilot.press("w", "e", "escape")
        assert app.saved == [1]
        (frame,) = app.exported
        assert frame.select("factor", "after").drop_nulls().rows() == [(0.0, 0.2), (2.0, 0.95)]
        assert app.screen is not app.dialog

    await shown(story)


@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0])
def test_the_slider_has_the_factors_that_keys_jump_to(factor: float) -> None:
    assert factor in FACTORS
