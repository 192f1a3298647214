"""Notes (w): a name, tags and a note of the neuron that is marked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.panes.neuron import NeuronPane

if TYPE_CHECKING:
    from knscope.store.reader import Reader
    from knscope.tui.workbench.bench import Bench

Neuron = tuple[int, int]
"""Layer and place in it."""


def marked_neurons(bench: Bench) -> tuple[Neuron, ...]:
    """The neuron that the neuron pane shows, or the neuron or the pair of the marked row; none where there is neither."""
    if bench.open_tab == "neuron":
        place = bench.query_one(NeuronPane).place
        if place.layer is not None and place.neuron is not None:
            return ((place.layer, place.neuron),)
    pane = bench.pane()
    table = pane.table() if pane is not None else None
    row = (table.current if table is not None else None) or {}
    if {"layer_a", "neuron_a", "layer_b", "neuron_b"} <= set(row):
        return ((row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"]))
    return ((row["layer"], row["neuron"]),) if {"layer", "neuron"} <= set(row) else ()


class Notes:
    """Asks for a note and keeps it in the store."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def write(self) -> None:
        """Open the form for the marked neuron, filled with what is kept of it."""
        from knscope.analysis.neurons import notes

        bench = self._bench
        reader, view, path = bench.session.reader, bench.session.view, bench.session.path
        neurons = marked_neurons(bench)
        if reader is None or view is None or path is None or len(neurons) != 1:
            bench.say("Mark one neuron first: in the neuron pane, or in the LIKN list of a fact.")
            return
        ((layer, neuron),) = neurons
        kept = notes.read(reader, view.model, layer, neuron)

        def keep(values: dict[str, str] | None) -> None:
            if values is not None:
                note = notes.Note(values["name"], notes.tags_of(values["tags"]), values["text"])
                bench.in_thread(
                    partial(_kept, reader, partial(notes.write, path, view.model, layer, neuron, note)),
                    lambda _: self._show(f"note of {layer}:{neuron} kept"),
                    lambda error: bench.say(f"The note could not be kept: {error}"),
                    group="note",
                )

        fields = (
            Field("name", "name", kept.name, "what you call this neuron", required=False),
            Field(
                "tags", "tags", ", ".join(kept.tags), "lists that it is in, as in: capitals, to check", required=False
            ),
            Field("text", "note", kept.text, "anything", required=False),
        )
        bench.app.push_screen(FormScreen(f"note of neuron {layer}:{neuron}", fields), keep)

    def _show(self, said: str) -> None:
        self._bench.say(said, "information")
        self._bench.query_one(NeuronPane).again()


def _kept(reader: Reader, write: Callable[[], None]) -> None:
    """Write a note and take it in, so that what is loaded next holds it. Runs in a thread."""
    write()
    reader.poll()
