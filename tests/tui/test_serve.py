"""The workbench in a browser: who may, and what is said where it cannot be."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from knscope.tui.cli import run_app
from knscope.tui.commands.serve import allowed

PLACE, TOKEN = "127.0.0.1:8700", "a token"


@pytest.mark.parametrize(
    ("host", "origin", "given", "passes"),
    [
        (PLACE, None, TOKEN, True),
        (PLACE, f"http://{PLACE}", TOKEN, True),
        (PLACE, None, "", False),
        (PLACE, None, "another", False),
        (PLACE, "http://elsewhere.example", TOKEN, False),
        ("elsewhere.example", None, TOKEN, False),
        ("127.0.0.1:9000", None, TOKEN, False),
    ],
)
def test_only_this_host_this_page_and_the_token_pass(host: str, origin: str | None, given: str, passes: bool) -> None:
    assert allowed(PLACE, TOKEN, host, origin, given) is passes


def test_serving_without_the_optional_package_says_how_to_install_it(
    made_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    assert run_app(["serve", str(made_store)]) == 2
    assert "pip install 'knscope[serve]'" in capsys.readouterr().err


def test_a_port_in_use_is_refused_with_another_to_name(made_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("textual_serve")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run_app(["serve", str(made_store), "--port", str(taken.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err
