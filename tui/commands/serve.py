"""`knscope serve`: the workbench in a browser on the same machine, or through an SSH tunnel to it."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knscope.tui.commands.common import CLI, Store

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

HOST = "127.0.0.1"
COOKIE = "knscope"
POLICY = (
    "default-src 'self'; connect-src 'self' ws://{host}; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
"""The page may load nothing from elsewhere: no font, no script."""


def serve(
    store: Store,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port on this machine.")] = 8700,
) -> None:
    """The workbench on STORE in a browser: on this machine only, and only for who has the address that is printed."""
    from knscope.store import processes
    from knscope.store.errors import UserError
    from knscope.tui.printing import output

    try:
        from textual_serve.server import Server
    except ImportError:
        raise UserError(
            "knscope serve needs the package textual-serve, which is optional; install it with:\n"
            f"  {sys.executable} -m pip install 'knscope[serve]'    (in a checkout: '.[serve]')"
        ) from None
    from aiohttp import web

    if not (store / "store.json").is_file():
        raise UserError(f"{store} is no store of results; knscope demo makes one")
    _free(port)
    place, token = f"{HOST}:{port}", secrets.token_urlsafe(16)

    class Loopback(Server):
        """Textual's server, for one person: every request names this host and carries the token."""

        async def _make_app(self) -> web.Application:
            application = await super()._make_app()
            application.middlewares.append(web.middleware(guard(place, token)))
            return application

        def initialize_logging(self) -> None:
            """Requests are not told: their addresses carry the token."""

        async def on_startup(self, app: web.Application) -> None:
            output.say(
                f"the workbench on {store} is at\n  http://{place}/?token={token}\n"
                f"from elsewhere: ssh -L {port}:{place} THIS-MACHINE, then the same address; ctrl+c ends"
            )

    command = shlex.join(processes.command(CLI, "open", str(store.resolve())))
    Loopback(command, host=HOST, port=port, title=f"knscope {store.name}").serve()


def allowed(place: str, token: str, host: str, origin: str | None, given: str) -> bool:
    """Whether a request may pass: it names this host, comes from no other page, and brings the token."""
    return (
        host == place and origin in (None, f"http://{place}") and secrets.compare_digest(given.encode(), token.encode())
    )


Handler = Callable[["Request"], Awaitable["StreamResponse"]]


def guard(place: str, token: str) -> Callable[[Request, Handler], Awaitable[StreamResponse]]:
    """Refuses who is not `allowed`: other people on this machine, other pages in this browser.

    The token comes once in the address, then as a cookie that no other page can send.
    """
    from aiohttp import web

    async def check(request: Request, handler: Handler) -> StreamResponse:
        given = request.query.get("token") or request.cookies.get(COOKIE, "")
        if not allowed(place, token, request.host, request.headers.get("Origin"), given):
            return web.Response(status=403, text="knscope: open the whole address that knscope serve printed\n")
        response: Any = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY.format(host=place)
            response.headers["Referrer-Policy"] = "no-referrer"
            if "token" in request.query:
                response.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return response

    return check


def _free(port: int) -> None:
    """:raises UserError: when something listens there already"""
    import socket

    from knscope.store.errors import UserError

    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}; name another with --port") from None
