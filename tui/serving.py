"""The server behind `knscope serve`: Textual's, for one person, with a bound on everything that a page can ask for.

Needs the optional package textual-serve.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from knscope.tui.serving_rules import allowed, bounded, cookie

SESSIONS = 8
"""Workbenches at once; each is a process that holds the store."""
MESSAGE_BYTES = 1 << 20
"""Of the largest message that a page may send, such as a text pasted."""
LEAVING = 5.0
"""Seconds that a workbench has to end by itself."""
POLICY = (
    "default-src 'self'; connect-src 'self' ws://{host}; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
"""The page may load nothing from elsewhere: no font, no script."""


class Session(AppService):
    """A workbench of its own for one page."""

    async def set_terminal_size(self, width: int, height: int) -> None:
        await super().set_terminal_size(*bounded(width, height))

    async def end(self) -> None:
        """Ask it to leave, and end it where it does not."""
        with suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self.stop(), LEAVING)
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


class Loopback(Server):
    """Textual's server, for one person: every request names this host and carries the token, and sessions end with it."""

    def __init__(self, command: str, host: str, port: int, title: str, greeting: Callable[[str], None]) -> None:
        super().__init__(command, host=host, port=port, title=title)
        self.place, self.token = f"{host}:{port}", secrets.token_urlsafe(16)
        self.sessions: dict[Session, web.WebSocketResponse] = {}
        self._greeting = greeting

    async def _make_app(self) -> web.Application:
        application = await super()._make_app()
        application.middlewares.append(web.middleware(guard(self.place, self.token)))
        return application

    def initialize_logging(self) -> None:
        """Requests are not told: their addresses carry the token."""

    async def on_startup(self, app: web.Application) -> None:
        self._greeting(f"http://{self.place}/?token={self.token}")

    async def on_shutdown(self, app: web.Application) -> None:
        closing = [coroutine for session, page in self.sessions.items() for coroutine in (session.end(), page.close())]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 2 * LEAVING)

    async def handle_websocket(self, request: web.Request) -> web.StreamResponse:
        """One session, from its page's first message to its last."""
        if len(self.sessions) >= SESSIONS:
            return web.Response(status=503, text=f"knscope: {SESSIONS} pages are open already; close one\n")
        websocket = web.WebSocketResponse(heartbeat=15, timeout=1.0, max_msg_size=MESSAGE_BYTES)
        session = Session(
            f"exec {self.command}",  # no shell between: what is ended is the workbench
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=websocket.close,
            download_manager=self.download_manager,
        )
        self.sessions[session] = websocket
        try:
            await websocket.prepare(request)
            size = (to_int(request.query.get(name, ""), usual) for name, usual in (("width", 80), ("height", 24)))
            await session.start(*bounded(*size))
            await self._process_messages(websocket, session)
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError, ConnectionError):
            pass  # a message that no page of ours sends
        finally:
            await session.end()
            del self.sessions[session]
        return websocket


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(place: str, token: str) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    """Refuses who is not `allowed`: other people on this machine, other pages in this browser.

    The token comes once in the address, then as a cookie that no other page can send.
    """

    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.query.get("token") or request.cookies.get(cookie(place), "")
        if not allowed(place, token, request.host, request.headers.get("Origin"), given):
            return web.Response(status=403, text="knscope: open the whole address that knscope serve printed\n")
        response: Any = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY.format(host=place)
            response.headers["Referrer-Policy"] = "no-referrer"
            if "token" in request.query:
                response.set_cookie(cookie(place), token, httponly=True, samesite="Strict")
        return response

    return check
