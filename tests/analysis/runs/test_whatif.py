"""A set scaled by hand: what the worker answers, against the whole model with hooks of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch

from knscope import store as stores
from knscope.analysis.edits.sets import KINDS
from knscope.analysis.engine.likeliest import GOES_ON
from knscope.analysis.engine.models import load_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import Query, encode
from knscope.analysis.runs import whatif
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.desk import Task
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.worker import Worker
from knscope.analysis.stored.facts import stored_facts
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.view import View
from knscope.tui.workbench import whatif as bench_whatif
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
    assert [one.kind for one in wanted if one.query.fact == fact] == [whatif.OWN] * len(view.langs)  # one template
    assert {one.kind for one in wanted} - {whatif.OWN} <= set(KINDS)
    stored = stores.create(place)
    count, document = Worker(stored, "none", WorkerSettings()).compute(unit, lambda: False)
    found = whatif.answers(wanted, document or {})
    assert count == len(found) == len(wanted)

    loaded = load_model(tiny_models["decoder"])
    for answer in found:
        query = encode(loaded, answer.reading.query)
        for side, change in ((answer.before, lambda x: x), (answer.after, lambda x: FACTOR * x)):
            assert side is not None
            p, rank, best = literal(loaded, query, [change, change])
            assert side.p == pytest.approx(p, rel=1e-4)
            assert side.rank == rank
            assert side.likeliest[0][1] == pytest.approx(best, rel=1e-4)
        assert answer.before is not None and answer.after is not None
        assert answer.flips == (answer.before.likeliest[0][0] != answer.after.likeliest[0][0])


@pytest.mark.parametrize("way", ["mean", "resample"])
def test_what_if_puts_in_the_mean_of_the_language_or_the_values_of_a_fact_of_another_relation(
    place: Path, tiny_models: Mapping[str, Path], way: Literal["mean", "resample"]
) -> None:
    with Reader(place) as reader:
        (model,) = reader.models()
        view = View(model, "amig", tuple(reader.langs(model)))
        fact, lang = reader.sql("SELECT fact, lang FROM query JOIN prediction USING (query) ORDER BY ALL").row(0)
        wanted = whatif.readings(reader, view, fact, lang)[:2]
        unit = whatif.unit(reader, view, wanted, [(0, 1), (1, 2)], way)
        facts = stored_facts(reader, model)
    _, document = Worker(stores.create(place), "none", WorkerSettings()).compute(unit, lambda: False)
    engine = Engine(load_model(tiny_models["decoder"]))
    for answer, read in zip(whatif.answers(wanted, document or {}), unit.payload["reads"], strict=True):
        sources = [Query(**one) for one in unit.payload["put_in"][read["put_in"]]]
        own = answer.reading.query
        if way == "mean":
            assert {one.id for one in sources} == {one.id for (_, lang), one in facts.main.items() if lang == own.lang}
        else:
            assert [(one.lang, one.relation != own.relation) for one in sources] == [(own.lang, True)]
        mean = np.mean([engine.activations(encode(engine.loaded, one)).mean(axis=0) for one in sources], axis=0)
        query = encode(engine.loaded, own)
        values = [lambda x, v=float(v): 0 * x + v for v in mean[[1, int(engine.offsets[1]) + 2]]]
        p, rank, _ = literal(engine.loaded, query, values)
        assert answer.after is not None
        assert (answer.after.p, answer.after.rank) == (pytest.approx(p, rel=1e-4), rank)


def test_what_if_goes_on_greedily_without_and_with_the_change(place: Path, tiny_models: Mapping[str, Path]) -> None:
    with Reader(place) as reader:
        (model,) = reader.models()
        view = View(model, "amig", tuple(reader.langs(model)))
        fact, lang = reader.sql("SELECT fact, lang FROM query JOIN prediction USING (query) ORDER BY ALL").row(0)
        wanted = whatif.readings(reader, view, fact, lang)[:1]
        unit = whatif.unit(reader, view, wanted, [(0, 1), (1, 2)], 30.0, goes_on=True)
    _, document = Worker(stores.create(place), "none", WorkerSettings()).compute(unit, lambda: False)
    loaded = load_model(tiny_models["decoder"])
    for found, factor in zip(whatif.goes_on(document or {}), (1.0, 30.0), strict=True):
        ids = list(encode(loaded, wanted[0].query).steps[0].ids)
        start = len(ids)
        for _ in range(GOES_ON):
            logits = changed(loaded, ids, len(ids) - 1, [lambda x, factor=factor: factor * x] * 2)
            ids.append(int(logits.argmax()))
            if ids[-1] in loaded.tokenizer.all_special_ids:
                break
        assert found == loaded.tokenizer.decode(ids[start:]).strip()


def test_how_the_model_goes_on_is_given_up_between_tokens_and_read_whole_when_asked_again(
    place: Path, tiny_models: Mapping[str, Path]
) -> None:
    with Reader(place) as reader:
        (model,) = reader.models()
        view = View(model, "amig", tuple(reader.langs(model)))
        fact, lang = reader.sql("SELECT fact, lang FROM query JOIN prediction USING (query) ORDER BY ALL").row(0)
        wanted = whatif.readings(reader, view, fact, lang)[:1]
        unit = whatif.unit(reader, view, wanted, [(0, 1), (1, 2)], 30.0, goes_on=True)
    worker = Worker(stores.create(place), "none", WorkerSettings())
    for tokens in (0, 2, GOES_ON + 2):  # of both sides
        asked = iter([False] * tokens)
        assert worker.compute(unit, lambda: next(asked, True)) == (0, None)  # noqa: B023 - computed at once
    again = worker.compute(unit, lambda: False)
    assert again == Worker(stores.create(place), "none", WorkerSettings()).compute(unit, lambda: False)
    assert again[0] == 1


class Listener:
    """What the dialog is told, and the desk that its tasks are given to."""

    is_attached, busy = True, False

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.tasks: list[Task] = []
        self.drops = 0
        self.app = self

    def call_from_thread(self, what, *given) -> None:
        what(*given)

    def answered(self, change, answers, seconds, whole) -> None:
        self.said.append(("answered", change, len(answers), whole))

    def failed(self, change, why) -> None:
        self.said.append(("failed", change, why))

    def say(self, text) -> None:
        self.said.append(("said", text))

    def drop(self) -> None:
        self.drops += 1

    def give(self, task: Task) -> bool:
        self.tasks.append(task)
        return True


def test_a_try_that_fails_in_the_worker_or_before_it_is_told_to_the_dialog_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Listener()
    with Reader(place) as reader:
        (model,) = reader.models()
        view = View(model, "amig", tuple(reader.langs(model)))
        fact, lang = reader.sql("SELECT fact, lang FROM query JOIN prediction USING (query) ORDER BY ALL").row(0)
        found = bench_whatif.Found("x", [(0, 1)], whatif.readings(reader, view, fact, lang))
        asking = bench_whatif.WhatIf(cast(Any, None), cast(Any, heard))
        asking.ask(cast(Any, heard), reader, view, found, 0.0)
        (task,) = heard.tasks
        own, rest = task.units()
        assert len(own.rows) > 1 and own.halves() == () == rest.halves(), "a half would not be what is waited for"
        task.answer({"error": "it broke"})
        task.answer({"rows": [{"why": "too long"}] * len(rest.rows)})
        assert heard.said == [("failed", 0.0, "it broke")]

        def refuse(*given: object, **named: object) -> None:
            raise UserError("no such neuron")

        monkeypatch.setattr(whatif, "unit", refuse)
        asking.ask(cast(Any, heard), reader, view, found, 2.0)
        assert heard.tasks[1].units() == [] and heard.said[1:] == [("failed", 2.0, "no such neuron")]
        assert heard.drops == 2, "what the model goes on with gives place to a try"


def literal(loaded, query, changes):
    """p(answer), the rank of its first token and the highest p there, step by step with hooks on the whole model; `changes` of the
    two neurons."""
    p, first = 1.0, None
    for step in query.steps:
        logits = changed(loaded, step.ids, step.position, changes)
        probabilities = logits.softmax(-1)
        p *= float(probabilities[step.gold])
        first = first or (1 + int((logits > logits[step.gold]).sum()), float(probabilities.max()))
    return p, *first


def changed(loaded, ids, position, changes):
    """Logits (vocabulary,) at a position, with neurons 0:1 and 1:2 changed there."""
    handles = []
    for site, neuron, change in ((loaded.sites[0], 1, changes[0]), (loaded.sites[1], 2, changes[1])):

        def hook(_module, args, neuron=neuron, change=change):
            x = args[0].clone()
            x[..., position, neuron] = change(x[..., position, neuron])
            return (x,)

        handles.append(loaded.model.get_submodule(site.module).register_forward_pre_hook(hook))
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([list(ids)])).logits[0, position].double()
    for handle in handles:
        handle.remove()
    return logits
