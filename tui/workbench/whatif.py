"""What if (i): the set of neurons that is looked at, scaled by hand, read at once by the warm model worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knscope.store.errors import UserError
from knscope.tui.dialogs.completing import path as path_of
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.whatif import WhatIfScreen
from knscope.tui.widgets.cells import several
from knscope.tui.workbench.exporting import unused
from knscope.tui.workbench.notes import marked_neurons

if TYPE_CHECKING:
    import polars as pl

    from knscope.analysis.runs.units import Unit
    from knscope.analysis.runs.whatif import Change, Neuron, Reading
    from knscope.store.reader import Reader
    from knscope.store.view import View
    from knscope.tui.workbench.bench import Bench
    from knscope.tui.workbench.desk import ModelDesk


class WhatIf:
    """Finds the set and its readings, and asks the desk for one factor after the other."""

    def __init__(self, bench: Bench, desk: ModelDesk) -> None:
        self._bench, self._desk = bench, desk

    def open_file(self, file: str = "", error: str = "") -> None:
        """Ask for the file of a neuron set, and open the dialog for it.

        :param error: what was wrong with `file` the last time
        """

        def begin(values: dict[str, str] | None) -> None:
            if values is not None:
                self.open(values["file"])

        field = Field("file", "set", file, "a list's name, or a neuron set: .json or .safetensors", complete=path_of)
        self._bench.app.push_screen(FormScreen("what if · neurons of a file or list", [field], error=error), begin)

    def open(self, file: str = "") -> None:
        """Open the dialog for the neurons of a file, or for the neuron, the pair or the fact's set that is marked."""
        bench = self._bench
        reader, view, row = bench.session.reader, bench.session.view, self._marked_query()
        if reader is None or view is None or row is None:
            bench.say("Mark a fact in the query table first: the set of its neurons is what is scaled.")
        elif self._desk.busy:
            bench.say("The model worker is busy; ^x stops it.")
        else:
            named = marked_neurons(bench)
            shared = bench.open_tab == "likn"
            bench.in_thread(
                partial(found_in_file, reader, view, row["fact"], row["lang"], file)
                if file
                else partial(_found, reader, view, row["fact"], row["lang"], named, shared),
                partial(self._show, reader, view, f"{row['subject']} → {row['object']}"),
                partial(self._not_found, file),
                group="whatif",
                exclusive=True,
                what="looking up the neurons",
            )

    def _not_found(self, file: str, error: BaseException) -> None:
        if file and self._bench.app.screen is self._bench:
            self.open_file(file, str(error))
        else:
            self._bench.say(f"The set could not be found: {error}")

    def _marked_query(self) -> Mapping[str, Any] | None:
        from knscope.tui.widgets.frame_table import FrameTable

        return self._bench.query_one("#queries FrameTable", FrameTable).current

    def _show(self, reader: Reader, view: View, label: str, found: Found) -> None:
        from knscope.analysis.runs.whatif import FACTORS

        if not found.neurons:
            self._bench.say(f"{label} has no neurons at these thresholds in {found.readings[0].query.lang}.")
            return
        screen = WhatIfScreen(
            f"what if · {found.name} of {label}",
            FACTORS,
            lambda change: self.ask(screen, reader, view, found, change),
            lambda change, row: self._go_on(screen, reader, view, found, change, row),
            partial(self._export, found),
            partial(self._save, view, found),
        )
        self._bench.app.push_screen(screen)

    def ask(self, screen: WhatIfScreen, reader: Reader, view: View, found: Found, change: Change) -> None:
        """Ask for one change. The fact's own languages first: they are what one waits for."""
        from knscope.analysis.runs import whatif

        self._desk.drop()  # how the model goes on with the change before
        began = time.monotonic()
        own = [one for one in found.readings if one.kind == whatif.OWN]
        parts = [part for part in (own, found.readings[len(own) :]) if part]
        waiting = iter(parts)

        def answer(document: Mapping[str, Any]) -> None:
            """Runs in the desk's thread."""
            part = next(waiting)
            answers = whatif.answers(part, document)
            took = time.monotonic() - began
            screen.app.call_from_thread(screen.answered, change, answers, took, part is parts[-1])

        self._give(
            screen,
            reader,
            view,
            [partial(whatif.unit, reader, view, part, found.neurons, change) for part in parts],
            answer,
            partial(screen.failed, change),
        )

    def _go_on(self, screen: WhatIfScreen, reader: Reader, view: View, found: Found, change: Change, row: int) -> None:
        from knscope.analysis.runs import whatif

        def answer(document: Mapping[str, Any]) -> None:
            """Runs in the desk's thread."""
            screen.app.call_from_thread(screen.went_on, change, row, whatif.goes_on(document))

        if not self._desk.busy:
            unit = partial(whatif.unit, reader, view, [found.readings[row]], found.neurons, change, goes_on=True)
            self._give(screen, reader, view, [unit], answer, screen.say)

    def _give(
        self,
        screen: WhatIfScreen,
        reader: Reader,
        view: View,
        units: Sequence[Callable[[], Unit]],
        answer: Callable[[Mapping[str, Any]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Ask the model worker for units; `answer` receives what each answers while the dialog is there, up to the first that fails."""
        from knscope.analysis.runs.desk import Task
        from knscope.analysis.runs.missing import model_row

        stages = iter([units])
        errors: list[str] = []

        def heard(document: Mapping[str, Any]) -> None:
            """Runs in the desk's thread."""
            if not screen.is_attached or errors:
                return
            if "error" in document:
                errors.append(str(document["error"]))
                screen.app.call_from_thread(failed, errors[0])
            elif "rows" in document:
                answer(document)

        def wanted() -> list[Unit]:
            try:
                return [unit() for unit in next(stages, ())]
            except UserError as error:
                heard({"error": str(error)})
                return []

        dtype = str(model_row(reader, view.model)["dtype"])
        if not self._desk.give(Task("what if", wanted, 0, dtype=dtype, answer=heard)):
            failed("the model worker could not start")

    def _save(self, view: View, found: Found) -> None:
        """Write the set with what it is of, so that it can be sent, edited and judged."""
        from knscope.analysis.api.neuron_set import NeuronSet

        about = {
            "name": found.name,
            "method": view.method,
            "tau": dict(view.taus),
            "template_share": view.template_share,
            "langs": list(view.langs),
            "facts": [found.readings[0].query.fact],
        }
        self._written("set.json", NeuronSet(found.neurons, (), view.model, about).save)

    def _export(self, found: Found, frame: pl.DataFrame, ending: str) -> None:
        """The rows of `WhatIfScreen.action_export`, with the set that they are of."""
        import polars as pl

        from knscope.analysis.statistics.table import Table
        from knscope.tui.printing import writing

        frame = frame.with_columns(neurons=pl.lit(" ".join(f"{layer}:{neuron}" for layer, neuron in found.neurons)))
        self._written(f"whatif.{ending}", lambda path: writing.write([Table("whatif", "what if", frame)], path))

    def _written(self, name: str, write: Callable[[Path], object]) -> None:
        """Write under a name that is free in the folder for exports, and say where, or why not."""
        from knscope.store.layout import expanded

        try:
            path = unused(expanded(Path(self._bench.host.settings.export_folder) / name))
            write(path)
        except (UserError, OSError) as error:
            self._bench.say(str(error))
        else:
            self._bench.say(f"{path} written", "information")


class Found:
    """A set and what it is read on."""

    def __init__(self, name: str, neurons: Sequence[Neuron], readings: Sequence[Reading]) -> None:
        self.name, self.neurons, self.readings = name, tuple(neurons), tuple(readings)


def found_in_file(reader: Reader, view: View, fact: str, lang: str, file: str) -> Found:
    """The neurons of a file, or of a list of this store. Runs in a thread.

    :raises UserError: neither of them, a file that holds no set, or one of another model
    """
    from knscope.analysis.neurons.notes import set_of
    from knscope.analysis.runs.whatif import readings

    neurons = set_of(reader, view.model, file)
    return Found(
        f"the {several(len(neurons), 'neuron')} of {Path(file).name}", list(neurons), readings(reader, view, fact, lang)
    )


def _found(reader: Reader, view: View, fact: str, lang: str, named: Sequence[Neuron], shared: bool) -> Found:
    """The neurons named, or else the fact's: N in its language, or what all languages share. Runs in a thread."""
    from knscope.analysis.runs.whatif import readings

    wanted = readings(reader, view, fact, lang)
    if named:
        what = " and ".join(f"{layer}:{neuron}" for layer, neuron in named)
        return Found(f"neuron {what} on the fact" if len(named) == 1 else f"the pair {what}", named, wanted)
    kn = reader.kn(view.with_(facts=(fact,), relations=(), queries=()))
    if shared:
        every = kn.group_by("layer", "neuron").len().filter(len=len(view.langs))
        rows = every.select("layer", "neuron").sort("layer", "neuron").rows()
    if shared and rows:
        return Found(f"the {several(len(rows), 'neuron')} shared by {'+'.join(view.langs)}", rows, wanted)
    rows = kn.filter(lang=lang).select("layer", "neuron").sort("layer", "neuron").rows()
    return Found(f"the {several(len(rows), f'{lang} neuron')}", rows, wanted)
