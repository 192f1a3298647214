"""What a View lacks: the missing results in words, with the time that computing them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knscope.store.text import duration
from knscope.tui.selection import Shown
from knscope.tui.widgets import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knscope.analysis.runs.missing import Missing
    from knscope.store.reader import Reader
    from knscope.store.runs import RunRecord

WORDS = {"attributions": "attributions", "scans": "pair scans", "edits": "readings of edits", "claims": "claims"}
ALSO = {"edits": ("edit",), "checks": ("factcheck",)}
"""What a pane shows beyond attributions and pair scans."""


@dataclass(frozen=True)
class Lacking:
    """The results that a View needs and the store lacks, and about how long they take here."""

    shown: Shown
    what: tuple[str, ...]
    missing: Missing
    seconds: float | None
    """None: a kind of this work was never timed on this model."""

    def text(self) -> str:
        """What is missing, for the dialog that offers to compute it."""
        found, view = self.missing, self.shown.view
        lines = [f"{self.shown.subject} · {view.method} · {'+'.join(view.langs)}", ""]
        lines += [f"{number:>8,} {WORDS[name]}" for name, number in found.counts.items()]
        facts = f"{cells.several(len(found.facts), 'fact')}, " if found.facts else ""
        lines += ["", f"{facts}{found.passes:,} model passes.", f"Time here: {self.time}."]
        if found.note:
            lines += ["", f"{found.note[0].upper()}{found.note[1:]}."]
        if set(self.what) & {"edit", "factcheck"} and not {"edits", "claims"} & set(found.counts):
            lines.append("Then what this pane itself needs, which depends on these.")
        return "\n".join(lines)

    @property
    def time(self) -> str:
        if self.seconds is None:
            return "unknown, as such results were not timed on this model yet"
        return f"about {duration(max(1.0, self.seconds))}, at the rate of such results on this model"


def lacking(reader: Reader, shown: Shown, what: tuple[str, ...], records: Sequence[RunRecord]) -> Lacking:
    """Count what is missing for the selection. Runs in a thread.

    :param records: the store's runs, which say how fast they were
    """
    from knscope.analysis.runs import missing
    from knscope.analysis.runs.speed import seconds_for

    found = missing.missing(reader, shown.narrowed, what)
    source = missing.source_of(reader, missing.model_row(reader, shown.view.model))
    return Lacking(shown, what, found, seconds_for(records, source, shown.view.method, found.counts))
