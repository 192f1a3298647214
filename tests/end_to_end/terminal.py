"""A real terminal for tests: a shell in a tmux of its own, driven by the names of actions, read as a person reads it.

Nothing here waits for a time to pass: it looks again and again until the screen says what is expected, or fails with the screen.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from knscope.tui import keymap

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which something that should be seen is missing; reached only by failures."""
EVERY = 0.04
_TMUX_KEYS = {
    "enter": "Enter", "escape": "Escape", "up": "Up", "down": "Down", "left": "Left", "right": "Right", "tab": "Tab",
    "pageup": "PageUp", "pagedown": "PageDown", "home": "Home", "end": "End", "backspace": "BSpace", "space": "Space",
    "shift+tab": "BTab",
}  # fmt: skip
CLEAN = {
    "alternate_on": "0", "cursor_flag": "1", "mouse_any_flag": "0", "mouse_button_flag": "0", "mouse_standard_flag": "0",
    "mouse_sgr_flag": "0", "keypad_flag": "0", "keypad_cursor_flag": "0", "wrap_flag": "1",
}  # fmt: skip
"""What tmux says of a terminal that nothing was left on in: main screen, cursor shown, no mouse reports, lines wrap."""


def tmux_key(key: str) -> str:
    """A key as tmux calls it, from what Textual and the keymap call it."""
    if key in _TMUX_KEYS:
        return _TMUX_KEYS[key]
    modifier, _, last = key.rpartition("+")
    if modifier:
        return {"ctrl": "C-", "shift": "S-"}[modifier] + _TMUX_KEYS.get(last, last)
    return key.upper() if re.fullmatch(r"f\d+", key) else keymap.glyph(key)


class Terminal:
    """One shell of one size. Its methods that press return the terminal, those that look assert."""

    def __init__(self, place: Path, columns: int, rows: int, environment: Mapping[str, str] | None = None) -> None:
        """`place`: a folder for the socket, the shell's home and all the XDG folders."""
        self.place, self.columns, self.rows = place, columns, rows
        place.mkdir(parents=True, exist_ok=True)
        self._socket = place / "tmux"
        kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "HF_HUB_OFFLINE") if name in os.environ}
        xdg = {f"XDG_{name.upper()}_HOME": str(place / name) for name in ("config", "state", "data", "cache")}
        self._environment = {
            **kept, **xdg, "HOME": str(place), "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "COLORTERM": "truecolor",
            "PS1": "[$?]> ", "KNSCOPE_ANIMATIONS": "none", "INPUTRC": os.devnull, **(environment or {}),
        }  # fmt: skip
        assigned = [f"{name}={value}" for name, value in self._environment.items()]
        shell = shlex.join(["env", "-i", *assigned, "TERM=tmux-256color", "bash", "--norc", "--noprofile"])
        tmux_set = 'TMUX="$TMUX" '  # where the tmux is that one runs in, which env -i would hide
        self.tmux(
            "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(place),
            shell.replace("env -i ", f"env -i {tmux_set}", 1),
        )  # fmt: skip
        self.prompt()

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", str(self._socket), "-f", os.devnull, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "LANG": "C.UTF-8"}
        )
        return done.stdout

    def hang_up(self) -> None:
        """Lose the connection: the terminal is gone from one moment to the next."""
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)

    # --- pressing

    def keys(self, *names: str) -> Terminal:
        """Keys by the names that Textual gives them."""
        self.tmux("send-keys", *(tmux_key(name) for name in names))
        return self

    def do(self, *actions: str) -> Terminal:
        """The first key of each action of the keymap."""
        return self.keys(*(keymap.find(action).keys[0] for action in actions))

    def type(self, text: str) -> Terminal:
        self.tmux("send-keys", "-l", text)
        return self

    def command(self, line: str) -> Terminal:
        """Type a line into the shell, on a screen wiped before."""
        self.tmux("send-keys", "C-l")
        return self.type(line).keys("enter")

    def knscope(self, *arguments: str, patch: str = "") -> Terminal:
        """Start it; `patch` is Python that breaks something first."""
        code = f"{patch}\nfrom knscope.tui.cli import main\nmain()"
        script = self.place / "started.py"
        script.write_text(code, encoding="utf-8")
        return self.command(shlex.join([sys.executable, str(script), *arguments]))

    def resize(self, columns: int, rows: int) -> Terminal:
        self.columns, self.rows = columns, rows
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))
        return self

    # --- looking

    @property
    def screen(self) -> str:
        joined = self.tmux("capture-pane", "-p", "-J")  # -J: what the shell wrapped is one line again
        return "\n".join(line.rstrip() for line in joined.splitlines())

    @property
    def lines(self) -> list[str]:
        return self.screen.splitlines()

    def until(self, holds: Callable[[], object], what: str, within: float = PATIENCE) -> Terminal:
        """Look until it holds."""
        end = time.monotonic() + within
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"never came true: {what}\n{self.screen}")
            time.sleep(EVERY)
        return self

    def sees(self, *texts: str, within: float = PATIENCE) -> Terminal:
        """All of these texts at once."""
        return self.until(lambda: all(text in self.screen for text in texts), f"the screen shows {texts}", within)

    def misses(self, *texts: str) -> Terminal:
        """None of these texts any more."""
        return self.until(lambda: not any(text in self.screen for text in texts), f"the screen shows none of {texts}")

    def matches(self, pattern: str) -> re.Match[str]:
        """Where the screen fits a pattern."""
        self.until(lambda: re.search(pattern, self.screen), f"the screen fits {pattern!r}")
        found = re.search(pattern, self.screen)
        assert found is not None, pattern
        return found

    def settled(self) -> str:
        """The screen, when two looks in a row saw the same."""
        before = ""
        while (now := self.screen) != before:
            before = now
            time.sleep(6 * EVERY)
        return now

    # --- the shell

    def prompt(self, code: int | None = None) -> Terminal:
        """The shell asks for the next line, after a command that ended with `code`."""
        expected = "0" if code is None else str(code)

        def asks() -> bool:
            # Not joined: a command that ends at the right edge would count as one line with the prompt below it.
            lines = self.tmux("capture-pane", "-p").split("\n")
            return [line.strip() for line in lines if line.strip()][-1:] == [f"[{expected}]>"]

        return self.until(asks, f"the shell's prompt after {expected}")

    def modes(self) -> dict[str, str]:
        """The terminal's modes, as tmux keeps them."""
        names = list(CLEAN)
        values = self.tmux("display-message", "-p", "|".join(f"#{{{name}}}" for name in names)).strip().split("|")
        return dict(zip(names, values, strict=True))

    def line_settings(self) -> str:
        """`stty -g`: echo, line editing, flow control and the rest, in one number each."""
        tty = self.tmux("display-message", "-p", "#{pane_tty}").strip()
        return subprocess.run(["stty", "-g", "-F", tty], capture_output=True, text=True, check=True).stdout.strip()

    def process(self) -> psutil.Process:
        """What the shell runs now."""
        shell = psutil.Process(int(self.tmux("display-message", "-p", "#{pane_pid}")))
        self.until(shell.children, "the shell runs something")
        return shell.children()[0]
