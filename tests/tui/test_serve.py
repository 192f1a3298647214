"""The workbench in a browser: who may, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from knscope.tui.cli import run_app
from knscope.tui.serving_rules import COLUMNS, ROWS, allowed, bounded, cookie

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


def test_the_cookie_is_named_by_the_port_so_that_two_servers_do_not_take_each_others() -> None:
    assert cookie(PLACE) == "knscope-8700" != cookie("127.0.0.1:8701")


@pytest.mark.parametrize(
    ("asked", "given"),
    [((120, 40), (120, 40)), ((10**9, 10**9), (COLUMNS, ROWS)), ((-1, 0), (1, 1)), (("x", None), (1, 1))],
)
def test_a_page_gets_a_terminal_of_a_size_that_can_be_drawn(asked: tuple[Any, Any], given: tuple[int, int]) -> None:
    assert bounded(*asked) == given


def test_a_page_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("textual_serve")
    from aiohttp.test_utils import make_mocked_request

    from knscope.tui import serving

    server = serving.Loopback("false", "127.0.0.1", 8700, "title", print)
    monkeypatch.setattr(server, "sessions", dict.fromkeys(range(serving.SESSIONS)))
    answer = asyncio.run(server.handle_websocket(make_mocked_request("GET", "/ws")))
    assert answer.status == 503


def test_serving_without_the_optional_package_says_how_to_install_it(
    made_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "knscope.tui.serving", None)
    assert run_app(["serve", str(made_store)]) == 2
    assert "pip install 'knscope[serve]'" in capsys.readouterr().err


def test_a_port_in_use_is_refused_with_another_to_name(made_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("textual_serve")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run_app(["serve", str(made_store), "--port", str(taken.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err
