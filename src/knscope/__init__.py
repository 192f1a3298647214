"""knscope: which MLP neurons of a language model hold a fact, in which languages, and which back each other up.

    import knscope

    model = knscope.load("gpt2-en")                                     # a folder, a hub id or a bundled model
    found = model.attribute("The capital of Kenya is", "Nairobi")       # a score for every neuron (eq. 1-5)
    found.frame                                                         # a polars frame of neurons
    model.ask("The capital of Kenya is", edit=model.ablate(found.top(20)))

    reader = knscope.open("my.knstore")     # a store of results, also while a run writes it
    reader.table("prediction")              # every table as a polars frame

`knscope.store`, `knscope.analysis` and `knscope.tui` are the three layers. Importing knscope imports none of them, and no torch.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for a type checker True; `typing` is not imported before `store.safe_path.clean` has run
if TYPE_CHECKING:
    from typing import Any

    from knscope.analysis.api.model import Answer, Attribution, Model, load
    from knscope.analysis.api.neuron_set import Edit, NeuronSet
    from knscope.analysis.api.runs import run
    from knscope.store import open as open  # noqa: A004 - knscope.open is what a person types

__all__ = ["Answer", "Attribution", "Edit", "Model", "NeuronSet", "__version__", "load", "open", "run"]

_HOMES = {
    "open": "store",
    "load": "analysis.api.model",
    "Model": "analysis.api.model",
    "Answer": "analysis.api.model",
    "Attribution": "analysis.api.model",
    "NeuronSet": "analysis.api.neuron_set",
    "Edit": "analysis.api.neuron_set",
    "run": "analysis.api.runs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"knscope.{_HOMES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("knscope")
    raise AttributeError(f"module 'knscope' has no attribute {name!r}")
