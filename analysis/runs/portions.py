"""Long units in short stretches: so that they commit, report, and can be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from knscope.analysis.attribution.method import MethodConfig
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.prompts.encode import EncodedQuery

PORTION_CPU, PORTION_GPU = 5e11, 1e14  # floating-point operations of about as long, on one core and on one GPU
WORD_SECONDS = 1.0  # a unit at a long row says that it goes on this often


class StopUnitError(Exception):
    """Somebody wants the unit stopped, in the middle of a row."""


def watch(cancelled: Callable[[], bool], goes_on: Callable[[], None]) -> Callable[[], None]:
    """What to do between passes: stop where that is wanted, and say once in WORD_SECONDS that the unit goes on.

    The function it returns raises StopUnitError.
    """
    said = time.monotonic()

    def between() -> None:
        nonlocal said
        if cancelled():
            raise StopUnitError
        if time.monotonic() - said > WORD_SECONDS:
            said = time.monotonic()
            goes_on()

    return between


def portions(
    loaded: LoadedModel, queries: Sequence[EncodedQuery], method: MethodConfig
) -> Iterable[Sequence[EncodedQuery]]:
    """The queries in stretches of some seconds each.

    From sizes alone: the same queries make the same stretches on every run, whatever else the machine does.
    """
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    head = loaded.model.get_input_embeddings().weight.numel() if method.kind == "logprob_increase" else 0
    operations = PORTION_GPU if loaded.device.type == "cuda" else PORTION_CPU
    begin, spent = 0, 0.0
    for index, query in enumerate(queries):
        paths = query.n_words if method.baseline == "per_word" else 1
        tokens = 1 if loaded.kind == "decoder" else len(query.steps[-1].ids)
        passes = len(query.steps) * paths * len(loaded.sites) * method.nodes
        cost = 3.0 * parameters * tokens * passes  # forward 2, backward 4, on average from the middle layer
        cost += 2.0 * head * loaded.n_neurons * len(query.steps)  # a product with the vocabulary a neuron
        if index > begin and spent + cost > operations:
            yield queries[begin:index]
            begin, spent = index, 0.0
        spent += cost
    if begin < len(queries):
        yield queries[begin:]
