"""A set scaled by hand: what the worker answers, against the whole model with hooks of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from knscope import store as stores
from knscope.analysis.edits.sets import KINDS
from knscope.analysis.engine.models import load_model
from knscope.analysis.prompts.encode import encode
from knscope.analysis.runs import whatif
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.worker import Worker
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.analysis.runs.inline_job import execute

FACTOR = 3.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_models: Mapping[str, Path], tiny_facts: Path) -> Path:
    place = tmp_path_factory.mktemp("whatif") / "a.knstore"
    models = (ModelSource(str(tiny_models["decoder"])),)
    execute(place, RunConfig(models, str(tiny_facts), templates="1", engine="inline", what=("attribution",)))
    return place


def test_what_if_answers_what_the_whole_model_says_with_the_neurons_scaled(
    place: Path, tiny_models: Mapping[str, Path]
) -> None:
    with Reader(place) as reader:
        (model,) = reader.models()
        view = View(model, "amig", tuple(reader.langs(model)))
        fact, lang = reader.sql("SELECT fact, lang FROM query JOIN prediction USING (query) ORDER BY ALL").row(0)
        wanted = whatif.readings(reader, view, fact, lang)
        unit = whatif.unit(reader, view, wanted, [(0, 1), (1, 2)], FACTOR)
    assert [one.kind for one in wanted if one.query.fact == fact] == [whatif.OWN] * len(view.langs)
    assert {one.kind for one in wanted} - {whatif.OWN} <= set(KINDS)
    stored = stores.create(place)
    count, document = Worker(stored, "none", WorkerSettings()).compute(unit, lambda: False)
    found = whatif.answers(wanted, document or {})
    assert count == len(found) == len(wanted)

    loaded = load_model(tiny_models["decoder"])
    for answer in found:
        query = encode(loaded, answer.reading.query)
        for side, factor in ((answer.before, 1.0), (answer.after, FACTOR)):
            assert side is not None
            p, rank, best = literal(loaded, query, factor)
            assert side.p == pytest.approx(p, rel=1e-4)
            assert side.rank == rank
            assert side.likeliest[0][1] == pytest.approx(best, rel=1e-4)


def literal(loaded, query, factor):
    """p(answer), the rank of its first token and the highest p there, step by step with hooks on the whole model."""
    p, first = 1.0, None
    for step in query.steps:
        handles = []
        for site, neuron in ((loaded.sites[0], 1), (loaded.sites[1], 2)):

            def hook(_module, args, neuron=neuron, at=step.position):
                x = args[0].clone()
                x[..., at, neuron] *= factor
                return (x,)

            handles.append(loaded.model.get_submodule(site.module).register_forward_pre_hook(hook))
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([step.ids])).logits[0, step.position].double()
        for handle in handles:
            handle.remove()
        probabilities = logits.softmax(-1)
        p *= float(probabilities[step.gold])
        first = first or (1 + int((logits > logits[step.gold]).sum()), float(probabilities.max()))
    return p, *first
