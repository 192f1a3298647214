"""Terminals that close after their test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.terminal import Terminal
from tests.tui.made_store import make

NewTerminal = Callable[..., Terminal]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("tmux") is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="these drive a real terminal through tmux, which is missing"))


@pytest.fixture(scope="module")
def new_terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewTerminal]:
    """Makes terminals: `new_terminal(columns, rows)`. Sockets have short paths: tmux allows about a hundred characters."""
    opened: list[Terminal] = []

    def new(columns: int = 120, rows: int = 40, **environment: str) -> Terminal:
        opened.append(Terminal(tmp_path_factory.mktemp("t"), columns, rows, environment))
        return opened[-1]

    yield new
    for terminal in opened:
        terminal.hang_up()


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up store of twelve facts in three languages; no model was needed for it."""
    return make(tmp_path_factory.mktemp("stores") / "made.knstore", models=("bert-made",))
