"""The messages of the workbench. Widgets say what a person did; the screen decides what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from textual.message import Message


@dataclass
class RowMoved(Message):
    """The cursor of a table moved to another row, or to none."""

    table: str
    row: Mapping[str, Any] | None


@dataclass
class RowEntered(Message):
    """Enter, or a double click, on a row of a table."""

    table: str
    row: Mapping[str, Any]


@dataclass
class BinEntered(Message):
    """Enter on a bin of the layer histogram: `column` is a language, `LIKN` or `DKN`; layers from `layer` to `last`."""

    layer: int
    column: str
    last: int


@dataclass
class ThresholdMarked(Message):
    """Another threshold became the one that keys nudge."""

    name: str


@dataclass
class ThresholdSet(Message):
    """A threshold was typed."""

    name: str
    value: float


@dataclass
class NeuronWanted(Message):
    """Show everything stored of one neuron."""

    layer: int
    neuron: int


@dataclass
class SqlWanted(Message):
    """What a key in the SQL editor asks of its pane."""

    what: Literal["run", "cancel", "older", "newer", "leave", "browse", "history"]


@dataclass
class Complaint(Message):
    """A refusal, a failure or a hint for the person. `severity` as Textual's."""

    text: str
    severity: str = "warning"


@dataclass
class DeskMoved(Message):
    """What the desk, which drives the model worker, does now: a `DeskState`."""

    state: Any

    def can_replace(self, message: Message) -> bool:
        """Progress not handled yet gives way to newer progress; the end of a task never does."""
        return isinstance(message, DeskMoved) and self.state.task is not None
