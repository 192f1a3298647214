"""Copying through SSH and tmux: the terminal is asked by OSC 52, tmux by its own buffer, and a person is told what may be missing."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

TMUX_ADVICE = "to reach the clipboard outside: tmux set -s set-clipboard on"


def into_tmux(text: str, environ: Mapping[str, str]) -> bool:
    """Put text into tmux's newest buffer, and ask tmux to pass it on; False where there is no tmux."""
    if not environ.get("TMUX"):
        return False
    try:
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), capture_output=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def advice(environ: Mapping[str, str]) -> str:
    """What may stand between a copy and the clipboard, for this terminal; empty where nothing is known to."""
    if environ.get("TMUX"):
        try:
            shown = subprocess.run(
                ["tmux", "show-options", "-s", "-v", "set-clipboard"],
                capture_output=True,
                timeout=2,
                check=False,
                text=True,
            )
        except (OSError, subprocess.TimeoutExpired):
            return TMUX_ADVICE
        return "" if shown.stdout.strip() == "on" else TMUX_ADVICE
    if environ.get("TERM_PROGRAM") == "Apple_Terminal":
        return "macOS Terminal does not take OSC 52; use the mouse with fn held, or another terminal"
    if environ.get("TERM", "").startswith("screen"):
        return "screen passes no OSC 52 on; use tmux, or the mouse with shift held"
    return ""
