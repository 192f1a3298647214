"""Every test of the workbench has a home of its own and no colour of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from knscope.tui import session
from knscope.tui.app import Knscope
from knscope.tui.config import Settings
from tests.tui.made_store import make


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TMUX", "SSH_TTY", "SSH_CONNECTION", "KNSCOPE_CONFIG", "KNSCOPE_THEME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CONFIG", "STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setattr(session, "KNOWN_FIRST", False)  # made facts are as they come: all of them are looked at
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of twelve facts in three languages and two models. Not to be written to."""
    return make(tmp_path_factory.mktemp("made") / "made.knstore")


@pytest.fixture
def workbench(made_store: Path) -> Callable[..., Knscope]:
    """Makes the application, on the made store or another."""
    return lambda store=made_store: Knscope(store, Settings(animations="none"))
