"""`knscope faithfulness` and `stability`: does a method find the neurons that matter, and is N stable."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knscope.store.errors import UserError
from knscope.tui.commands import common, options
from knscope.tui.commands.options import Dtype, Tau
from knscope.tui.commands.shown import takes

if TYPE_CHECKING:
    from knscope.analysis.runs.config import RunConfig
    from knscope.analysis.statistics.table import Table
    from knscope.store.reader import Reader
    from knscope.store.view import View


@dataclass(frozen=True)
class Measured:
    """The options of a command that measures models on facts. Without a model: the bundled ones."""

    model: options.ModelsArgument = None
    data: options.Data = "demo"
    column: options.Columns = None
    langs: options.DataLangs = None
    relations: options.DataRelations = None
    facts: options.Facts = "12"
    site: options.Site = None
    device: options.Device = "auto"
    seed: options.Seed = 0
    form: options.Format = "table"
    out: options.Output = None
    as_json: options.Json = False

    def config(self, **others: Any) -> RunConfig:
        from knscope.analysis.demo.start import bundled_models
        from knscope.analysis.engine.sources import absolute_source, with_site
        from knscope.analysis.runs.config import ModelSource, RunConfig
        from knscope.analysis.runs.facts import absolute_data

        named = tuple(ModelSource(absolute_source(with_site(one, self.site))) for one in self.model or ())
        return RunConfig(
            models=named or bundled_models(),
            data=absolute_data(self.data),
            columns=tuple(self.column or ()),
            langs=common.words("--langs", self.langs),
            relations=common.words("--relations", self.relations),
            facts=common.facts_count(self.facts),
            device=self.device,
            seed=self.seed,
            **others,
        )

    def emit(self, tables: list[Table], more: Mapping[str, Any] | None = None) -> None:
        """Print or write the tables; a JSON document has `more` beside them."""
        from knscope.tui.printing import output
        from knscope.tui.printing.format import document

        if self.out is not None and self.out.suffix in (".csv", ".parquet"):
            for place, one in enumerate(tables):  # a file holds one table: each further one has a file beside the first
                path = self.out.with_stem(f"{self.out.stem}.{one.name}") if place else self.out
                output.emit([one], self.form, path)
        elif self.out is not None or not self.as_json:
            output.emit(tables, self.form, self.out)
        if self.as_json:
            output.write_json(document(tables) | dict(more or {}))


@takes(Measured)
def faithfulness(
    asked: Measured,
    method: Annotated[
        str | None, typer.Option("--method", help="Methods, as in amig,bkn. Default: thirteen methods.")
    ] = None,
    singles: Annotated[
        str, typer.Option(help="Neurons ablated alone (columns spearman, overlap): all, a number (drawn), or none.")
    ] = "1024",
    store: Annotated[
        Path | None, typer.Option(help="Store to take attributions from and to keep the measurements in.")
    ] = None,
    group: Annotated[
        int, typer.Option(min=0, help="Facts and languages per model for which groups of neurons are ablated.")
    ] = 4,
    processes: Annotated[int, typer.Option(min=0, help="Number of processes. 0: one per processor.")] = 0,
    dtype: Dtype = "float32",
) -> None:
    """Compare attribution methods with the true effect of each neuron, measured by ablating it (known facts only)."""
    from knscope.analysis.faithfulness import table as faithfulness_table
    from knscope.analysis.faithfulness.judge import COMPARED
    from knscope.analysis.runs.facts import load_facts
    from knscope.analysis.runs.measuring import Measurement, Task, tasks
    from knscope.store import create
    from knscope.store.processes import cpu_count
    from knscope.tui.printing import output

    output.check(asked.form, asked.out)
    config = asked.config(dtype=dtype)
    load_facts(config)
    few = {"all": None, "none": 0}[singles] if singles in ("all", "none") else common.facts_count(singles, "--singles")
    place = str(create(store).absolute()) if store else ""
    methods = COMPARED if method is None else common.methods(method)
    work = Measurement(
        tasks(Task(config, methods, grouped=group, singles=few, store=place), processes or cpu_count()),
        processes or None,
    )
    _follow(work)
    measured = in_order(work.documents)
    tables = faithfulness_table.build(measured, seed=asked.seed)
    asked.emit(tables, {"measured": measured})
    if work.cancelled:
        raise typer.Exit(130)


def in_order(documents: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The documents of the processes, sorted by model, fact and language, as the order of arrival varies."""

    def place(row: dict[str, Any]) -> tuple[str, str]:
        return str(row["fact"]), str(row["lang"])

    return [
        {**one, "rows": sorted(one["rows"], key=place), "groups": sorted(one["groups"], key=place)}
        for _, one in sorted(documents.items())
    ]


def _follow(work: Any) -> None:
    """Show progress. Ctrl+c stops after the facts in progress, a second ctrl+c at once."""
    from knscope.tui.printing import output

    with output.progress_bar() as bar:
        bar.show(0, 0, "loading models")
        told = False
        for seen in work.run():
            bar.show(seen.done, seen.total, "facts measured")
            if work.cancelled and not told:
                told = True
                output.say("stopping after the facts in progress; press ctrl+c again to stop at once")


@takes(Measured)
def stability(
    asked: Measured,
    method: Annotated[str, typer.Option("--method", help="The method whose N is measured.")] = "amig",
    tau: Tau = None,
    store: Annotated[Path | None, typer.Option(help="Keep the results in this store, and reuse those it has.")] = None,
) -> None:
    """Measure how much N changes across templates, node counts, precisions and seeds."""
    from dataclasses import replace

    from knscope.analysis.runs.facts import load_facts
    from knscope.analysis.stability import table as stability_table
    from knscope.tui.commands import run, shown
    from knscope.tui.printing import output

    output.check(asked.form, asked.out)
    label = common.one_method(method)
    config = asked.config()
    config = replace(config, what=("attribution",), methods=stability_table.variants(label))
    rows = load_facts(config).rows
    facts_asked = tuple(dict.fromkeys(row.fact for row in rows))
    # a threshold that is out of range, or of no language of the facts, is told before anything is computed
    shown.thresholds_of(tuple(dict.fromkeys(row.lang for row in rows)), tau, model="", method=label)
    labels: list[str] = []
    with _place(store) as place:
        for dtype in ("float32", *stability_table.DTYPES):
            methods = config.methods if dtype == "float32" else (label,)
            seen = run.compute(place, replace(config, dtype=dtype, methods=methods))
            if seen.status == "cancelled" or (seen.status != "done" and dtype == "float32"):
                raise typer.Exit(run.exit_code(seen))  # another precision may not work on a model or device
            if dtype == "float32":  # a store may hold more models, and more facts, than are asked for here
                ran = seen.record.provenance["models"]
                labels = [str(ran[one.source]["model"]) for one in config.models if one.source in ran]
        with shown.opened(place) as reader:
            views = [view for name in labels if (view := _view(reader, name, label, asked.langs, tau))]
            tables = {
                view.model: stability_table.build(reader, view.with_(facts=facts_asked), asked.seed) for view in views
            }
    if not tables:
        raise UserError(
            f"--langs {asked.langs}: no model has results in these languages; choose another model or other languages"
        )
    one_by_one = asked.as_json or (asked.form in ("table", "latex") and asked.out is None)
    asked.emit(list(tables.values()) if one_by_one else [stability_table.together(tables)])


def _view(reader: Reader, model: str, method: str, langs: str | None, tau: str | None) -> View | None:
    """The View of one model in those of the languages that it has. Without any, says so on stderr and returns None."""
    from knscope.tui.commands import shown
    from knscope.tui.printing import output

    stored = reader.langs(model)
    wanted = [lang for lang in common.words("--langs", langs) or stored if lang in stored]
    if not wanted:
        output.say(f"{model} is left out: it has no results in these languages")
        return None
    taus = ",".join(part for part in common.words("--tau", tau) if part.rpartition("=")[0] in ("", *wanted))
    return shown.view_of(reader, model, method, ",".join(wanted), tau=taus or None)


@contextmanager
def _place(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="knscope-") as folder:
        yield Path(folder, "stability.knstore")
