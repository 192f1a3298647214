"""Flags over environment over file over defaults."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from knscope.store.errors import UserError
from knscope.tui import config, state
from knscope.tui.app import Knscope


def test_terminal_of_sixteen_colours_begins_with_their_theme(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Knscope(None).theme == "knscope"
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("TERM", "xterm-16color")
    assert Knscope(None).theme == "knscope-16"
    state.write("theme", {"name": "nord"})
    assert Knscope(None).theme == "nord"


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert config.load(None, {}, path).theme == ""
    path.write_text('theme = "from-file"\neditor_rows = 7\n')
    assert config.load(None, {}, path) == config.Settings(theme="from-file", editor_rows=7)
    environ = {"KNSCOPE_THEME": "from-environment"}
    assert config.load(None, environ, path).theme == "from-environment"
    assert config.load({"theme": "from-flag", "editor_rows": None}, environ, path).theme == "from-flag"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("theme = ", "config.toml"),
        ('colour = "red"', "unknown setting colour"),
        ('editor_rows = "many"', "editor_rows"),
        ('animations = "wild"', "choose one"),
    ],
)
def test_invalid_settings_file_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        config.load(None, {}, path)


def test_animations_are_off_over_ssh() -> None:
    assert config.Settings().animation_level({"SSH_TTY": "/dev/pts/1"}) == "none"
    assert config.Settings().animation_level({}) == "basic"
    assert config.Settings(animations="full").animation_level({"SSH_TTY": "x"}) == "full"


def test_damaged_session_file_is_set_aside() -> None:
    state.write("theme", {"name": "nord"})
    assert state.read("theme") == {"name": "nord"}
    state.file("theme.json").write_text("{")
    assert state.read("theme") == {}
    assert state.file("theme.damaged").exists()


@pytest.mark.parametrize("variable", [None, "relative"])
def test_without_a_home_directory_nothing_is_remembered_and_the_demo_asks_for_a_place(
    variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    for name in ("CONFIG", "STATE", "DATA"):
        monkeypatch.delenv(f"XDG_{name}_HOME")
        if variable:
            monkeypatch.setenv(f"XDG_{name}_HOME", variable)
    assert config.load() == config.Settings() and state.last_store() is None
    state.write("theme", {"name": "nord"})
    assert state.read("theme") == {} and not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="demo --store FOLDER"):
        config.demo_store()


def test_unusable_state_folder_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "file"))
    state.write("theme", {"name": "nord"})
    assert state.read("theme") == {} and config.load() == config.Settings()
