"""What tests say to the workbench, by the names of actions rather than of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from knscope.tui import keymap
from knscope.tui.app import Knscope
from knscope.tui.panes.pane import Pane
from knscope.tui.widgets.frame_table import FrameTable
from knscope.tui.workbench.screen import WorkbenchScreen


class Driver:
    """A workbench under test."""

    def __init__(self, pilot: Pilot[Any]) -> None:
        self.pilot = pilot
        assert isinstance(pilot.app, Knscope)
        self.app: Knscope = pilot.app

    @property
    def bench(self) -> WorkbenchScreen:
        assert self.app.bench is not None
        return self.app.bench

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait, in steps of the event loop, until something holds."""
        for _ in range(1200):
            await self.pilot.pause()
            if holds():
                return
            await asyncio.sleep(0.025)
        raise AssertionError(f"never came true: {what or holds}")

    async def ready(self) -> Driver:
        """Queries are shown."""
        await self.until(lambda: self.table("queries").row_count, "queries are shown")
        await self.settled()
        return self

    async def settled(self) -> None:
        """Every pane that is seen shows what is wanted."""
        own = ("thresholds", "sql", "runs")
        await self.until(
            lambda: all(
                pane.painted == pane.wanted is not None for pane in self.bench.seen_panes() if pane.id not in own
            ),
            "the panes have settled",
        )

    async def do(self, *actions: str) -> None:
        """Press the first key of each action."""
        for action in actions:
            await self.pilot.press(keymap.find(action).keys[0])
        await self.pilot.pause(0.06)  # the panes follow after the keys that wait
        await self.settled()

    async def type(self, text: str) -> None:
        names = {" ": "space", ".": "full_stop", "/": "slash", ",": "comma", "!": "exclamation_mark"}
        await self.pilot.press(*(names.get(character, character) for character in text))
        await self.pilot.pause()

    def pane(self, name: str) -> Pane:
        return self.bench.query_one(f"#{name}", Pane)

    def table(self, pane: str) -> FrameTable:
        return self.bench.query_one(f"#{pane} FrameTable", FrameTable)

    def title(self, pane: str) -> str:
        found = self.pane(pane)
        return f"{found.border_title or ''} | {found.border_subtitle or ''}"

    def said(self) -> list[str]:
        """Messages in the corner, oldest first."""
        return [str(notification.message) for notification in self.app._notifications]
