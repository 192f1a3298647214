"""What a View lacks: the missing results in words, with the time that computing them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knscope.tui.printing.format import duration
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells

if TYPE_CHECKING:
    from knscope.analysis.runs.missing import Missing
    from knscope.store.reader import Reader

WORDS = {"attributions": "attributions", "scans": "pair scans", "edits": "readings of edits", "claims": "claims"}
ALSO = {"edits": ("edit",), "checks": ("factcheck",)}
"""What a pane shows beyond attributions and pair scans."""


@dataclass(frozen=True)
class Lacking:
    """The results that a View needs and the store lacks, and how fast passes have been in this store."""

    shown: Shown
    what: tuple[str, ...]
    missing: Missing
    pace: float | None
    """Passes a second; None where nothing was timed."""

    def text(self) -> str:
        """What is missing, for the dialog that offers to compute it."""
        found, view = self.missing, self.shown.view
        lines = [f"{self.shown.subject} · {view.method} · {'+'.join(view.langs)}", ""]
        lines += [f"{number:>8,} {WORDS[name]}" for name, number in found.counts.items()]
        about = "not timed here yet"
        if self.pace:
            about = f"about {duration(max(1.0, found.passes / self.pace))} at {self.pace:,.0f} passes a second"
        facts = f"{cells.several(len(found.facts), 'fact')}, " if found.facts else ""
        lines += ["", f"{facts}{found.passes:,} passes, {about}, beside loading the model where it is not warm."]
        if set(self.what) & {"edit", "factcheck"} and not {"edits", "claims"} & set(found.counts):
            lines.append("Then what this pane itself needs, which depends on these.")
        return "\n".join(lines)


def lacking(reader: Reader, shown: Shown, what: tuple[str, ...], seconds: float) -> Lacking:
    """Count what is missing for the selection. Runs in a thread.

    :param seconds: how long all runs of the store took together
    """
    from knscope.analysis.runs import missing

    found = missing.missing(reader, shown.narrowed, what)
    pace = missing.passes_stored(reader) / seconds or None if found.passes and seconds > 1.0 else None
    return Lacking(shown, what, found, pace)
