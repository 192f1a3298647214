"""The options that commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path, typer.Argument(metavar="STORE", help="A store: a folder of results, usually named *.knstore.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a hub id or the name of a bundled model.")
]
ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL", help="Folders, hub ids, names of bundled models. Default: the bundled ones."),
]

# A View of what is stored.
Model = Annotated[str | None, typer.Option("--model", help="Stored model: its name, or a unique prefix of its label.")]
Method = Annotated[str | None, typer.Option("--method", help="Attribution method. Needed if several are stored.")]
Langs = Annotated[str | None, typer.Option("--langs", help="Languages, as in en,zh. Default: all attributed ones.")]
Relations = Annotated[str | None, typer.Option("--relations", help="Relations, as in P36,P37. Default: all.")]
Tau = Annotated[str | None, typer.Option("--tau", help="Threshold by language, as in en=0.3,zh=0.2; or one number.")]
Share = Annotated[
    float | None,
    typer.Option("--template-share", help="A neuron must exceed tau on at least this share of the templates."),
]
Known = Annotated[
    bool | None,
    typer.Option(
        "--known/--all",
        help="Only prompts that the model answers correctly (default, if it knows any), or all of them.",
    ),
]
TLow = Annotated[float | None, typer.Option("--t-low", help="Largest drop that a single ablation may cause.")]
THigh = Annotated[float | None, typer.Option("--t-high", help="Drop that ablating the pair must exceed.")]
Delta = Annotated[float | None, typer.Option("--delta", help="Strict pairs: interaction below -delta.")]
Drop = Annotated[str | None, typer.Option("--drop", help="How drops are measured: relative or absolute.")]
DknShare = Annotated[
    float | None,
    typer.Option("--dkn-share", help="t: share of the highest count that a degenerate neuron must exceed."),
]
Lam = Annotated[float | None, typer.Option("--lam", help="Claims that score above this are judged true.")]

# Where a table goes.
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="table, csv, json, latex, parquet, or spreadsheet: CSV whose cells Excel never runs as formulas.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write to a file: .csv, .json, .parquet, .tex; or a figure: .pdf, .svg, .png."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

# Facts, and how a model computes on them.
DATA = "demo or agreement, a table (CSV, JSON, Parquet), a published dataset as KIND:PATH (mlama:DIR, popqa:FILE, …), or hf:owner/name"
Data = Annotated[str, typer.Option("--data", help=f"{DATA}.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="What your table calls a column, as in subject=s; repeat for several."),
]
DataLangs = Annotated[
    str | None, typer.Option("--langs", help="Languages, as in en,zh-hans. Default: all in the data.")
]
DataRelations = Annotated[str | None, typer.Option("--relations", help="Relations, as in P36,P37. Default: all.")]
FactIds = Annotated[
    list[str] | None, typer.Option("--fact", metavar="ID", help="Only the fact of this id; repeat for several.")
]
SetOrList = Annotated[
    Path | None,
    typer.Option(
        "--set", metavar="SET", help="A neuron set: .json or .safetensors, or a list of STORE: a tag of knscope note."
    ),
]
SetFile = Annotated[
    Path | None, typer.Option("--set", metavar="FILE", help="A neuron set: .json or .safetensors; whoever made it.")
]
Facts = Annotated[str, typer.Option("--facts", help="Number of facts (seeded, balanced over relations), or all.")]
Site = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX", help="Paths of the second MLP linears, for a model whose neurons are not found by themselves."
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda:0; several GPUs: cuda:0,cuda:1; one model over two: cuda:0+cuda:1.")
]
Dtype = Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")]
Prefix = Annotated[
    str, typer.Option(help="Text before every template (an instruction, solved examples), or @FILE to read a file.")
]
Chat = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="User message, rendered with the model's own chat template before every template (its answer).",
    ),
]
Shots = Annotated[
    int,
    typer.Option(
        min=0, help="Solved examples before every prompt: other facts of its relation, language and template."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of samples and controls.")]
