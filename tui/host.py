"""What screens, panes and the parts of the workbench may ask of the application they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from textual.dom import DOMNode

    from knscope.tui.config import Settings
    from knscope.tui.session import Session


class Host(Protocol):
    """The application, for those whom it imports: they must not import it."""

    session: Session
    settings: Settings
    last_key: float
    """When the last key came, by the monotonic clock."""

    def say(self, text: str, severity: str = "warning") -> None:
        """Show a message in the corner for a few seconds."""

    def open_store(self, path: Path) -> None:
        """Go from the welcome screen to the workbench."""

    def take_theme(self, name: str) -> None:
        """Change the colours and remember the choice."""

    def leave(self, code: int = 0) -> None:
        """Save the session and exit."""


def host_of(node: DOMNode) -> Host:
    """The application of a screen or a widget."""
    return cast("Host", node.app)
