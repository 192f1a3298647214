"""`knscope models inspect`, `data check` and `doctor`: check a model, data and this machine before a run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common, options
from knscope.tui.commands.listing import Listed

models_app = typer.Typer(
    cls=Listed, help="Say where the neurons of a model are, and what a query costs.", rich_markup_mode=None
)
data_app = typer.Typer(
    cls=Listed, help="Count the facts of a file, and those that a model knows.", rich_markup_mode=None
)
LIBRARIES = ("torch", "transformers", "textual", "rich", "duckdb", "polars", "pyarrow", "numpy", "scipy")


@models_app.command(name="inspect")
def inspect_model(
    model: options.ModelArgument,
    site: options.Site = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    as_json: options.Json = False,
) -> None:
    """Show the neuron sites of MODEL, how edits are computed, and the time and memory of one query."""
    import polars as pl

    from knscope.analysis.engine.sources import absolute_source, with_site
    from knscope.tui.printing import output
    from knscope.tui.printing.format import cell

    check_options(model, device, dtype)
    report = common.child("inspect", absolute_source(with_site(model, site)), "--device", device, "--dtype", dtype)
    if as_json:
        output.write_json(report)
        return
    sites, costs = (pl.DataFrame(report.pop(name)) for name in ("sites", "costs"))
    mib = report.pop("mib_scores")
    report["scores_on_disk"] = f"{mib:.3g} MiB a query in float32, about {mib / 2:.3g} in float16 (run --dense)"
    ways = _ways(report)
    what, how = (
        pl.DataFrame({"what": list(rows), "value": [cell(value) for value in rows.values()]}) for rows in (report, ways)
    )
    neurons = "neurons are the inputs of the listed modules (each block's second MLP linear), proven on a forward pass"
    if (sites["experts"] > 1).any():
        neurons += "; of routed experts all in turn, width / experts neurons each, times the router's weight"
    hidden = "substitute: what eq. 3 puts in place of a hidden word; --method amig+substitute=TOKEN names another"
    proven = "every way is compared at load with full forwards of this very model"
    query = (
        "one query of 12 tokens, 6 words and one answer token, before any path asks for more nodes; a fact has several"
    )
    output.emit(
        [
            output.one_table("model", str(report["model"]), what, hidden),
            output.one_table("edits", "how edits of neurons are computed", how, proven),
            output.one_table("cost", "what a query costs", costs, query),
            output.one_table("sites", "sites", sites, neurons),
        ],
        hint="--json",
    )


def check_options(model: str, device: str, dtype: str) -> None:
    """Raise UserError for options that a run would refuse."""
    from knscope.analysis.runs.config import ModelSource, RunConfig

    RunConfig((ModelSource(model),), "demo", device=device, dtype=dtype)


def _ways(report: dict[str, Any]) -> dict[str, Any]:
    """Pop the lines that say how edits are computed from the report."""
    ways = {"at the answer": report.pop("computed_by"), "at all positions": report.pop("computed_by_all_positions")}
    long, tokens = report.pop("computed_by_long"), report.pop("long_from")
    if long:
        ways[f"in prompts of {tokens:,} tokens or more"] = long
    ways["largest difference to full forwards"] = report.pop("error")
    for number, (way, why) in enumerate(dict(report.pop("not_faster_because")).items(), 1):
        ways[f"not used, {number}"] = f"{way}: {why}"
    return ways


@data_app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="PATH", help=f"{options.DATA}.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Also count the facts that this model can use and knows.")
    ] = None,
    column: options.Columns = None,
    langs: options.DataLangs = None,
    relations: options.DataRelations = None,
    facts: Annotated[
        str | None, typer.Option(help="With --model: number of facts to try, or all. Default: 200; with -o all.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.csv",
            help="With --model: write the prompts it knows to a new file of facts.",
        ),
    ] = None,
    known_any: Annotated[
        bool,
        typer.Option(
            "--known-any", help="With -o: of facts known in at least one of the languages. Default: in every one."
        ),
    ] = False,
    prefix: options.Prefix = "",
    chat: options.Chat = "",
    shots: options.Shots = 0,
    site: options.Site = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    as_json: options.Json = False,
) -> None:
    """Count the facts in PATH, and list the rows that cannot be used, with the reason."""
    from knscope.analysis.datasets import check_table
    from knscope.analysis.engine.sources import absolute_source, with_site
    from knscope.analysis.runs.config import ModelSource, RunConfig
    from knscope.analysis.runs.facts import absolute_data
    from knscope.tui.printing import output

    facts = facts or ("all" if out else "200")
    count = common.facts_count(facts)
    if out is not None:
        _check_output(out, model)
    columns, chosen = tuple(column or ()), (common.words("--langs", langs), common.words("--relations", relations))
    tables = check_table.build(absolute_data(data), *chosen, columns)
    if model is not None:
        check_options(model, device, dtype)
        text, known = common.prefix(prefix, chat, [model]), "any" if known_any else "every"
        source = ModelSource(absolute_source(with_site(model, site)))
        config = RunConfig(
            (source,), absolute_data(data), columns, *chosen, count,
            device=device, dtype=dtype, prefix=text, shots=shots, known=known,
        )  # fmt: skip
        report = common.child("check", json.dumps(config.to_json()))
        tables = [*tables, *check_table.of_model(report)]
        if out is not None:
            _write_known(out, report["known"], str(report["model"]))
    output.emit(tables, "json" if as_json else "table", hint="--json")


def _check_output(out: Path, model: str | None) -> None:
    if model is None:
        raise UserError("-o writes what a model knows; name it with --model")
    if out.suffix.lower() != ".csv":
        raise UserError(f"-o {out}: facts are written as CSV; name a file that ends in .csv")


def _write_known(out: Path, rows: list[dict[str, str]], model: str) -> None:
    """Facts in the project's own format, to be given to --data."""
    import polars as pl

    from knscope.tui.printing import output, writing

    if not rows:
        raise UserError(
            f"{model} knows none of these facts in every language (--known-any: in one); nothing was written"
        )
    frame = pl.DataFrame(rows)
    if not (frame["alternatives"] != "").any():
        frame = frame.drop("alternatives")
    writing.write([output.one_table("known_facts", "known facts", frame)], out)
    facts = frame["fact_id"].n_unique()
    output.say(
        f"{facts:,} known facts ({frame.height:,} prompts) written to {out}; go on with: knscope run STORE --data {out}"
    )


@data_app.callback()
def _data() -> None:
    """Keep `data check` a subcommand."""


@models_app.callback()
def _models() -> None:
    """Keep `models inspect` a subcommand."""


def doctor(as_json: options.Json = False) -> None:
    """Check terminal, colours, clipboard, CUDA and versions, and say what to change."""
    import polars as pl

    from knscope.tui.printing import output

    rows = [*_terminal(), *_machine(), *((name, _version(name), "") for name in ("knscope", *LIBRARIES))]
    if as_json:
        output.write_json({name: {"value": value, "advice": advice} for name, value, advice in rows})
        return
    columns = {"what": [r[0] for r in rows], "value": [r[1] for r in rows], "what to change": [r[2] for r in rows]}
    output.emit([output.one_table("doctor", "doctor", pl.DataFrame(columns))], hint="--json")


def _terminal() -> list[tuple[str, str, str]]:
    from knscope.tui.printing.streams import DUMB

    term, true_colour = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    tmux, ssh = "TMUX" in os.environ, "SSH_CONNECTION" in os.environ
    columns, lines = shutil.get_terminal_size()
    colours = "true colour" if true_colour else "256 colours" if "256color" in term else "few colours"
    advice = (
        "" if true_colour else "export COLORTERM=truecolor where the terminal can (ssh drops it: SendEnv COLORTERM)"
    )
    if tmux and not true_colour:
        advice = "in ~/.tmux.conf: set -g default-terminal tmux-256color; set -as terminal-overrides ',*:Tc'"
    copy = (
        "in ~/.tmux.conf: set -g set-clipboard on" if tmux else "macOS Terminal cannot copy this way; iTerm2, kitty can"
    )
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return [
        ("terminal", term or "none", "" if term not in ("", *DUMB) else "set TERM, as in xterm-256color"),
        (
            "size",
            f"{columns}x{lines}",
            "" if columns >= 80 and lines >= 24 else "80x24 is the least the workbench needs",
        ),
        ("colours", "none (NO_COLOR is set)" if "NO_COLOR" in os.environ else colours, advice),
        (
            "encoding",
            sys.stdout.encoding or "unknown",
            "" if utf8 else "export LANG=C.UTF-8 (or your own .UTF-8 locale)",
        ),
        ("connection", f"{'ssh' if ssh else 'local'}{', tmux' if tmux else ''}", ""),
        ("clipboard", "OSC 52, through the terminal", copy),
    ]


def _machine() -> list[tuple[str, str, str]]:
    import psutil

    from knscope.store.processes import cpu_count

    gpus = "none"
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        listing = subprocess.run(query, capture_output=True, text=True, check=False)
        gpus = "; ".join(listing.stdout.strip().splitlines()) or "none"
    memory = psutil.virtual_memory()
    torch = _version("torch")
    wrong = gpus != "none" and torch.endswith("+cpu")
    return [
        ("processors", str(cpu_count()), ""),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free", ""),
        ("GPU", gpus, "this torch is built without CUDA; install the CUDA build" if wrong else ""),
        ("python", platform.python_version(), ""),
    ]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
