"""Single neurons: neurons, neuron, note, notes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common, shown
from knscope.tui.commands.options import Format, Json, Model, Output, Store
from knscope.tui.commands.shown import Shown, shows

if TYPE_CHECKING:
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View

Address = Annotated[str, typer.Argument(metavar="NEURON", help="layer:neuron, both from 0.")]


@shows()
def neurons(
    asked: Shown,
    promotes: Annotated[
        str, typer.Option(help="All neurons of the model that promote this token, strongest first.")
    ] = "",
    layer: Annotated[int | None, typer.Option(help="Only neurons of this layer.", min=0)] = None,
) -> None:
    """Knowledge neurons by the facts that they serve, with the tokens that each promotes."""
    from knscope.analysis.neurons import table

    if promotes and layer is not None:
        raise UserError("--promotes looks at every layer; leave --layer out")
    asked.show(partial(table.neurons, layer=layer, promotes=promotes))


@shows()
def neuron(
    asked: Shown,
    address: Address,
    activations: Annotated[
        bool, typer.Option("--activations", help="Its activation on every query instead; the figure is a histogram.")
    ] = False,
) -> None:
    """One neuron: the facts that it serves, what it writes and reads, where it fires, and its company."""
    from knscope.analysis.neurons import activations as room
    from knscope.analysis.neurons import table

    layer, place = table.parse_address(address)

    def every(reader: Reader, view: View) -> Table:
        table.check_neuron(reader, view.model, layer, place)
        return room.activations(reader, view, layer, place)

    if activations:
        asked.show(every)
        return
    asked.show(lambda reader, view: table.neuron(reader, view, layer, place))


def note(
    store: Store,
    address: Address,
    model: Model = None,
    name: Annotated[str | None, typer.Option(help="What you call the neuron.")] = None,
    tags: Annotated[str | None, typer.Option(help="Lists that it is in, as in capitals,check.")] = None,
    text: Annotated[str | None, typer.Option(help="A note.")] = None,
) -> None:
    """Keep a name, tags and a note of a neuron in STORE. What is not given stays; '' takes it away."""
    from dataclasses import replace

    from knscope.analysis.neurons import notes as room
    from knscope.analysis.neurons import table
    from knscope.tui.printing import output

    layer, place = table.parse_address(address)
    with shown.opened(store) as reader:
        label = common.choose("model", model, reader.models())
        table.check_neuron(reader, label, layer, place)
        kept = room.read(reader, label, layer, place)
    kept = replace(kept, name=kept.name if name is None else name, text=kept.text if text is None else text)
    kept = kept if tags is None else replace(kept, tags=room.tags_of(tags))
    room.write(store, label, layer, place, kept)
    output.say(f"note of {layer}:{place} of {label} kept")


def notes(
    store: Store,
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Only notes that hold these.")] = None,
    model: Model = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Write the neurons that carry this tag as a set, to -o FILE.json or .safetensors."
        ),
    ] = None,
    form: Format = "table",
    out: Output = None,
    as_json: Json = False,
) -> None:
    """The neurons that have a note, a name or tags; a tag is a list of neurons."""
    from knscope.analysis.neurons import notes as room
    from knscope.tui.printing import output

    with shown.opened(store) as reader:
        label = common.choose("model", model, reader.models())
        if save is not None:
            if out is None:
                raise UserError(f"--save {save}: say where to, as in -o {save}.json")
            found = room.set_of(reader, label, save)
            output.say(f"{found.save(out)} written: {len(found):,} neurons")
            return
        output.emit([room.notes(reader, label, words or ())], "json" if as_json else form, out)
