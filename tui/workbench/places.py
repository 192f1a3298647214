"""The palette's way to any fact and any neuron: `paris` finds facts, and neurons that a person named so; `17:345` that neuron."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from textual.command import Hit, Hits, Provider

from knscope.tui.messages import NeuronWanted
from knscope.tui.panes.neuron import FactWanted
from knscope.tui.panes.queries import SEARCHED, QueriesPane
from knscope.tui.printing.format import one_line
from knscope.tui.widgets.fitting import holding

if TYPE_CHECKING:
    from knscope.tui.workbench.screen import WorkbenchScreen

MOST = 12
"""Facts that are listed."""
LEAST = 2
"""Letters from which on facts are looked for."""
_NEURON = re.compile(r"^\s*L?(\d{1,4})\s*[: ]\s*(\d{1,7})\s*$")


class Places(Provider):
    """Facts by any of their words and neurons by their address or note, below the actions of that name."""

    async def search(self, query: str) -> Hits:
        from knscope.tui.workbench.screen import WorkbenchScreen

        bench = next((screen for screen in self.app.screen_stack if isinstance(screen, WorkbenchScreen)), None)
        if bench is None:
            return
        if found := _NEURON.match(query):
            layer, neuron = int(found[1]), int(found[2])
            yield Hit(
                1.0,
                f"Neuron {layer}:{neuron}",
                partial(_to_neuron, bench, layer, neuron),
                help="everything stored of it",
            )
        elif len(query.strip()) >= LEAST:
            for layer, neuron, name, tags in _named(bench, query):
                there = partial(_to_neuron, bench, layer, neuron)
                said = f"Neuron {layer}:{neuron} {one_line(name)}"
                yield Hit(0.7, said, there, help=one_line(", ".join(tags)) or "named")
        loaded = bench.query_one(QueriesPane).loaded
        if loaded is None or len(query.strip()) < LEAST:
            return
        facts = holding(loaded, SEARCHED, query).unique("fact", keep="first", maintain_order=True).head(MOST)
        for row in facts.iter_rows(named=True):
            name = one_line(f"{row['subject']} → {row['object']}")
            go = partial(bench.post_message, FactWanted(str(row["fact"]), str(row["lang"])))
            yield Hit(0.5, f"Fact {name}", go, help=one_line(f"{row['fact']}, {row['relation']}"))


def _named(bench: WorkbenchScreen, query: str) -> list[tuple[int, int, str, list[str]]]:
    """Neurons whose name, tags or note hold the words."""
    from knscope.analysis.neurons.notes import notes

    reader, view = bench.session.reader, bench.session.view
    if reader is None or view is None:
        return []
    return notes(reader, view.model, query.split()).frame.select("layer", "neuron", "name", "tags").head(MOST).rows()


def _to_neuron(bench: WorkbenchScreen, layer: int, neuron: int) -> None:
    bench.post_message(NeuronWanted(layer, neuron))
