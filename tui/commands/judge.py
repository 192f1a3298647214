"""`knscope judge`: is a list of neurons better than random ones?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common, options


def judge(
    neurons: Annotated[
        Path, typer.Argument(metavar="SET", help="A neuron set: .json or .safetensors, or JSON [[layer, neuron], …].")
    ],
    model: options.ModelArgument,
    data: options.Data,
    column: options.Columns = None,
    fact: Annotated[
        list[str] | None, typer.Option(help="Id of a fact that the set is meant for; repeat. Default: all facts.")
    ] = None,
    others: Annotated[int, typer.Option(min=0, help="Other facts of each kind to read, with --fact.")] = 50,
    langs: options.DataLangs = None,
    relations: options.DataRelations = None,
    draws: Annotated[int, typer.Option(min=1, help="Number of random sets.")] = 20,
    prefix: options.Prefix = "",
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    seed: options.Seed = 0,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the set with this verdict: .json or .safetensors.")
    ] = None,
    form: options.Format = "table",
    out: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Ablate the neurons of SET on facts, and compare with random sets of their size and with other facts."""
    from dataclasses import replace

    from knscope.analysis.api.neuron_set import NeuronSet
    from knscope.analysis.engine.sources import absolute_source
    from knscope.analysis.judge import table as judge_table
    from knscope.analysis.runs.facts import absolute_data
    from knscope.tui.commands.inspect import check_options
    from knscope.tui.printing import output

    output.check(form, out)
    if save is not None:
        NeuronSet.check_name(save)
    check_options(model, device, dtype)
    found = NeuronSet.load(neurons)
    if not len(found):
        raise UserError(f"{neurons} holds no neuron")
    about = {"model": absolute_source(model), "neurons": found.neurons, "made_for": found.model}
    facts = {"data": absolute_data(data), "own": fact or [], "others": others, "prefix": common.prefix(prefix)}
    names = {
        "columns": column or [],
        "langs": common.words("--langs", langs),
        "relations": common.words("--relations", relations),
    }
    how = {"draws": draws, "seed": seed, "device": device, "dtype": dtype}
    document = common.child("judge", json.dumps({**about, **facts, **names, **how}))
    table = judge_table.build(document)
    said = judge_table.record(document, table)
    if "verdict" in found.about:
        table = replace(table, notes=(judge_table.beside(found.about["verdict"], said), *table.notes))
    if save is not None:
        replace(found, model=document["model"], about={**found.about, "verdict": said}).save(save)
    output.emit([table], "json" if as_json else form, out)
