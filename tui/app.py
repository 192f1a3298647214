"""The Textual application: wiring only. Screens compose, panes show, the session remembers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen

from knscope.store.errors import UserError
from knscope.tui import config, keymap, state
from knscope.tui.config import Settings
from knscope.tui.dialogs.welcome import WelcomeScreen
from knscope.tui.printing.format import visible
from knscope.tui.printing.streams import on_screen
from knscope.tui.session import Session
from knscope.tui.terminal.driver import HARMLESS, drawing_alone, end_by_signal
from knscope.tui.terminal.themes import SIXTEEN, THEMES
from knscope.tui.terminal.typeahead import OneKeyAtATime
from knscope.tui.workbench.places import Places
from knscope.tui.workbench.screen import WorkbenchScreen

STYLES = (
    "app.tcss", "workbench/screen.tcss", "dialogs/modal.tcss", "panes/pane.tcss", "panes/queries.tcss", "panes/runs.tcss",
    "panes/sql.tcss", "widgets/frame_table.tcss", "widgets/layer_grid.tcss", "widgets/threshold_bar.tcss", "widgets/header_line.tcss",
    "widgets/footer_line.tcss", "widgets/tab_line.tcss",
)  # fmt: skip


SWITCH = 0.001
"""Seconds for which a thread that computes may keep a key waiting, each of the few times that a key changes threads."""


class Knscope(OneKeyAtATime):
    """The workbench on one store, or the welcome screen where there is none."""

    TITLE = "knscope"
    CSS_PATH = [Path(__file__).parent / name for name in STYLES]
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = App.COMMANDS | {Places}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self, store: Path | None, settings: Settings | None = None, driver: type[Driver] | None = None
    ) -> None:
        self.settings = settings or Settings()
        super().__init__(driver_class=driver)
        self._take_first_theme()
        self.session = Session(store)
        self.bench: WorkbenchScreen | None = None
        self.fatal = ""

    def _take_first_theme(self) -> None:
        """Before the first style is parsed: a theme taken later parses all of them anew, and the first paint waits."""
        for theme in THEMES:
            self.register_theme(theme)
        first = SIXTEEN if self.console.color_system == "standard" else THEMES[0].name
        chosen = self.settings.theme or str(state.read("theme").get("name", first))
        self.strange_theme = "" if chosen in self.available_themes else chosen
        self.set_reactive(App.theme, first if self.strange_theme else chosen)
        self.stylesheet.set_variables(self.get_css_variables())

    def on_mount(self) -> None:
        self.animation_level = self.settings.animation_level(os.environ)  # type: ignore[assignment]
        if not self.is_headless:
            end_by_signal(self.leave)
        if self.is_web:
            from knscope.store.ending import when_the_caller_ends

            when_the_caller_ends(lambda: os.kill(os.getpid(), signal.SIGHUP))
        if not gc.isenabled():
            self.call_after_refresh(_collect)
        remap, unknown = keymap.remapped(self.settings.keys)
        self.set_keymap(remap)
        if self.session.path is None:
            self.push_screen(WelcomeScreen())
        else:
            self.bench = WorkbenchScreen()
            self.push_screen(self.bench)
        if self.strange_theme:
            self.say(f"There is no theme called {self.strange_theme}; ctrl+t lists them.")
        if unknown:
            self.say(
                f"The config file remaps {', '.join(unknown)}, which no action is called; docs/keys.md lists them."
            )

    def open_store(self, path: Path) -> None:
        """From the welcome screen to the workbench."""
        self.session = Session(path)
        self.bench = WorkbenchScreen()
        self.switch_screen(self.bench)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action of the keymap; Textual's own add nothing to them."""
        if self.bench is None:
            return
        for group, actions in keymap.BY_GROUP.items():
            for action in actions:
                if action.where in ("workbench", "sql", "runs") and action.id not in ("palette", "go.in"):
                    keys = " ".join(keymap.glyph(key) for key in keymap.keys_of(action, self.settings.keys))
                    yield SystemCommand(f"{group}: {action.label}", f"{action.help}  ({keys})", self._doer(action.id))

    def _doer(self, action_id: str) -> Callable[[], object]:
        bench = self.bench
        assert bench is not None
        return lambda: self.call_later(bench.action_do, action_id)

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), HARMLESS]

    def say(self, text: str, severity: str = "warning") -> None:
        """A line at the corner that goes by itself."""
        self.notify(visible(text), severity=severity, timeout=6 if severity != "information" else 3, markup=False)  # type: ignore[arg-type]

    def leave(self, code: int = 0) -> None:
        """Keep what the next sitting starts from, and end."""
        if self.bench is not None and self.bench.is_mounted:
            self.bench.save()
        self.exit(return_code=code)

    async def action_quit(self) -> None:
        """What ctrl+q does, which Textual binds for itself: leave as q does."""
        if self.bench is not None and self.screen is self.bench:
            self.bench.action_quit_workbench()
        else:
            self.leave()

    def take_theme(self, name: str) -> None:
        self.theme = name
        state.write("theme", {"name": name})

    def _handle_exception(self, error: Exception) -> None:
        """No traceback reaches the screen: it goes to a file, and leaving says where."""
        if self.is_headless:  # tests want to see it
            super()._handle_exception(error)
            return
        log, place = state.file("crash.log"), ""
        if log is not None:
            with contextlib.suppress(OSError):
                log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                log.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
                place = f"; what happened is in {log}"
        self.fatal = f"the workbench failed ({type(error).__name__}: {error}){place}; the stored results are untouched"
        self.exit(return_code=1)

    def on_unmount(self) -> None:
        self.session.close()


def _collect() -> None:
    """Collect garbage, which was put off until the first paint, but not among what is there by then and stays: a key that falls on a
    collection waits for it."""
    gc.freeze()
    gc.enable()


def run_workbench(store: Path | None, flags: Mapping[str, Any] | None = None) -> None:
    """Open the workbench on a store, or on the last one; without any, welcome. Comes back when it was left.

    :param flags: settings given on the command line, over the environment and the config file
    :raises UserError: a config file that cannot be used, no terminal to draw on, or the workbench's own failure
    """
    in_browser = "TEXTUAL_DRIVER" in os.environ  # set by knscope serve for its child
    if not in_browser and not on_screen():
        term = (
            f"; with TERM={os.environ['TERM']} nothing can be drawn: set it, as in xterm-256color"
            if sys.stdin.isatty()
            else ""
        )
        raise UserError(f"the workbench needs a terminal{term}; for text use knscope kn, likn, dkn or sql")
    path, settings = store or state.last_store(), config.load(flags)
    gc.disable()  # until the first paint (`_collect`): nothing that loads before is garbage, and looking for it takes a tenth of that time
    try:
        if in_browser:
            fatal, code = _run(Knscope(path, settings))
        else:
            with drawing_alone(state.file("workbench.log")) as driver:
                fatal, code = _run(Knscope(path, settings, driver))
    finally:
        gc.enable()
    if fatal:
        raise UserError(fatal)
    if code:
        raise SystemExit(code)


def _run(app: Knscope) -> tuple[str, int]:
    """What failed, and the exit code. The app is let go here: an exception that held it would make DuckDB complain at the end."""
    sys.setswitchinterval(SWITCH)
    app.run(loop=asyncio.new_event_loop())  # without one of ours Textual waits for every thread that still loads
    return app.fatal, app.return_code or 0


__all__ = ["Knscope", "run_workbench"]
