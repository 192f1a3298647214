"""What a field of a form may go on with: paths, and words of a list, also within values parted by commas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from textual.suggester import Suggester

Completion = Callable[[str], str | None]
"""From what is typed to what it may become; None: nothing fits."""


class Completer(Suggester):
    """Suggests what a completion says, in grey behind the cursor."""

    def __init__(self, complete: Completion) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value) if value else None


def words(choices: Iterable[str]) -> Completion:
    """The first of these that goes on with the last word typed, after a comma or at the beginning."""
    known = tuple(choices)

    def complete(text: str) -> str | None:
        before, comma, last = text.rpartition(",")
        found = next((word for word in known if word.startswith(last.lstrip()) and word != last.lstrip()), None)
        return (
            None
            if found is None or not last.strip()
            else f"{before}{comma}{last[: len(last) - len(last.lstrip())]}{found}"
        )

    return complete


def path(text: str) -> str | None:
    """The first file or folder whose path goes on with the last part typed, after a comma or a `mlama:`; folders end in /."""
    begin = max(text.rfind(",") + 1, text.find(":") + 1 if text.partition(":")[0].isalpha() else 0)
    typed = text[begin:].lstrip()
    folder, slash, name = typed.rpartition("/")
    place = Path(os.path.expanduser(folder + slash) if folder + slash else ".")  # noqa: PTH111 - never fails
    try:
        entries = sorted(
            entry.name + "/" * entry.is_dir() for entry in os.scandir(place) if entry.name.startswith(name)
        )
    except OSError:
        return None
    found = [entry for entry in entries if entry != name and (name or not entry.startswith("."))]
    return text[: len(text) - len(name)] + found[0] if found and typed else None


def either(*completions: Completion) -> Completion:
    """The first that knows something."""
    return lambda text: next(filter(None, (complete(text) for complete in completions)), None)
