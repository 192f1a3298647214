"""`knscope serve`: the workbench in a browser, on this machine or through an SSH tunnel."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from knscope.store.errors import UserError
from knscope.tui.commands.common import CLI
from knscope.tui.commands.options import Store
from knscope.tui.serving_rules import HOST


def serve(
    store: Store, port: Annotated[int, typer.Option(min=1024, max=65535, help="Port on this machine.")] = 8700
) -> None:
    """Serve the workbench on STORE to a browser on this machine, at a printed address that holds a token."""
    from knscope.store import safe_path
    from knscope.store.layout import check
    from knscope.tui.printing import output

    try:
        from knscope.tui.serving import Loopback
    except ImportError:
        raise UserError(
            "knscope serve needs the package textual-serve, which is optional; install it with:\n"
            f"  {sys.executable} -m pip install 'knscope[serve]'    (in a checkout: '.[serve]')"
        ) from None
    check(store)
    _free(port)

    def greeting(address: str) -> None:
        output.say(
            f"the workbench on {store} is at\n  {address}\n"
            f"from elsewhere: ssh -L {port}:{HOST}:{port} THIS-MACHINE, then the same address; ctrl+c ends"
        )

    command = shlex.join(safe_path.command(CLI, "open", str(store.resolve())))
    Loopback(command, HOST, port, f"knscope {store.name}", greeting).serve()


def _free(port: int) -> None:
    """:raises UserError: the port is in use"""
    import socket

    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None
