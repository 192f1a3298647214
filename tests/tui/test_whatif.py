"""The dialog that scales a set of neurons step by step."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import polars as pl
import pytest
from textual.app import App
from textual.pilot import Pilot

from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.whatif import FACTORS, OWN, Answer, Change, Reading, Side
from knscope.tui.dialogs.whatif import STILL, WhatIfScreen
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
        self.asked: list[Change] = []
        self.more: list[tuple[Change, int]] = []
        self.exported: list[tuple[pl.DataFrame, str]] = []
        self.saved: list[int] = []
        self.dialog = WhatIfScreen(
            "the 3 en neurons",
            FACTORS,
            self.asked.append,
            lambda *row: self.more.append(row),
            lambda *written: self.exported.append(written),
            lambda: self.saved.append(1),
        )

    def on_mount(self) -> None:
        self.push_screen(self.dialog)

    def text(self, name: str) -> str:
        return str(self.dialog.query_one(f"#{name}", PlainText).render())

    def table(self, name: str) -> FrameTable:
        return self.dialog.query_one(f"#{name}", FrameTable)


async def shown(story: Callable[[Shown, Pilot[None]], Awaitable[None]]) -> None:
    app = Shown()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await story(app, pilot)


async def test_what_if_asks_for_zero_at_once_and_shows_p_rank_flip_and_tokens_of_both_sides() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        assert app.asked == [0.0]
        app.dialog.answered(0.0, answers(0.2), 0.1)
        await pilot.pause()
        frame = app.table("answers").frame
        assert frame["after"].to_list() == [0.2, None]
        assert frame["change"].to_list() == [pytest.approx(math.log(0.2 / 0.9)), None]
        assert frame["ranks"].to_list() == ["1 → 2", "–"]
        assert frame["flips"].to_list() == [True, None]
        first, tokens, *_ = app.text("said").splitlines()
        assert first.split() == ["as", "it", "is", "with", "×", "0"]
        assert tokens.split() == ["Dodoma", "0.900", "Paris", "0.050", "Paris", "0.500", "Dodoma", "0.200"]
        await pilot.press("down")
        assert "too long for the model" in app.text("said")

    await shown(story)


async def test_what_if_takes_the_rows_of_a_try_in_parts_and_asks_no_more_before_the_last() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        own, other = answers(0.2)
        app.dialog.answered(0.0, [own], 0.1, whole=False)
        await pilot.press("right")
        assert app.table("history").row_count == 1 and app.asked == [0.0]
        app.dialog.answered(0.0, [other], 0.3)
        assert app.asked == [0.0, 0.25]
        await pilot.press("left")
        await pilot.pause()
        assert app.table("answers").row_count == 2

    await shown(story)


async def test_what_if_asks_only_for_the_last_of_the_keys_that_came_while_the_model_computed() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.press("right", "right", "right")
        assert app.asked == [0.0]
        app.dialog.answered(0.0, answers(0.2), 0.1)
        assert app.asked == [0.0, 0.75]
        app.dialog.answered(0.75, answers(0.7), 0.1)
        await pilot.press("0", "s")
        assert app.asked == [0.0, 0.75], "what was tried is not computed again"

    await shown(story)


async def test_what_if_puts_in_means_and_other_facts_values_and_lists_every_try() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.answered(0.0, answers(0.2), 0.1)
        for key, change in (
            ("m", "mean"),
            ("r", "resample"),
            ("d", 2.0),
            ("right", 3.0),
            ("right", 5.0),
            ("right", 10.0),
        ):
            await pilot.press(key)
            assert app.asked[-1] == change
            app.dialog.answered(change, answers(0.3), 0.1)
        await pilot.press("m", "left")
        assert app.asked[-1] == 1.0, "from what is put in the arrows lead back to the model as it is"
        app.dialog.answered(1.0, answers(0.9), 0.1)
        await pilot.pause()
        history = app.table("history")
        assert history.frame["change"].to_list() == ["× 0", "mean", "resample", "× 2", "× 3", "× 5", "× 10", "× 1"]
        assert history.frame["p en"].to_list()[:2] == [0.2, 0.3] and history.frame["flips"][0] == "1 of 1"
        assert history.current is not None and history.current["change"] == "× 1"

    await shown(story)


async def test_what_if_asks_how_the_model_goes_on_once_the_keys_rest() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.answered(0.0, answers(0.2), 0.1)
        await pilot.pause(STILL + 0.3)
        assert app.more == [(0.0, 0)]
        app.dialog.went_on(0.0, 0, ("Dodoma, a city", "Paris, the"))
        last = app.text("said").splitlines()[-1]
        assert "goes on: Dodoma, a city" in last and "goes on: Paris, the" in last

    await shown(story)


async def test_what_if_says_why_a_try_failed_and_asks_again_with_the_next_key() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.failed(0.0, "no memory left")
        await pilot.pause()
        assert "no memory left" in app.text("state")
        await pilot.press("2")
        assert app.asked == [0.0, 2.0]

    await shown(story)


async def test_what_if_asks_for_a_newer_change_at_once_when_the_one_before_fails() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.press("2")
        app.dialog.failed(0.0, "no memory left")
        assert app.asked == [0.0, 2.0]

    await shown(story)


async def test_what_if_exports_every_try_and_closes_with_escape() -> None:
    async def story(app: Shown, pilot: Pilot[None]) -> None:
        app.dialog.answered(0.0, answers(0.2), 0.1)
        await pilot.press("2")
        app.dialog.answered(2.0, answers(0.95), 0.1)
        app.dialog.went_on(2.0, 0, ("a", "b"))
        await pilot.press("w", "e", "E", "escape")
        assert app.saved == [1]
        ((frame, ending), (_, other)) = app.exported
        assert (ending, other) == ("csv", "parquet")
        assert frame.select("change", "after").drop_nulls().rows() == [("× 0", 0.2), ("× 2", 0.95)]
        assert frame["goes_on_after"].to_list() == [None, None, "b", None]
        assert frame["first_after"].to_list() == [" Paris", None, " Paris", None]
        assert app.screen is not app.dialog

    await shown(story)


@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0])
def test_the_slider_has_the_factors_that_keys_jump_to(factor: float) -> None:
    assert factor in FACTORS
