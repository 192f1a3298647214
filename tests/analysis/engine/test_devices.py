"""A model whose blocks lie on two devices by turns gives what it gives on one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.devices import Home
from knscope.analysis.engine.inspection import sample_query
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Edit, Engine
from tests import devices, families

MEMORY = 1 << 28


def by_turns(name: str) -> int:
    """Blocks 0, 2, … on the first device, 1, 3, … on the second; what is no block's on the first."""
    number = re.search(r"\.(\d+)(\.|$)", name)
    return int(number[1]) % 2 if number else 0


@contextmanager
def spread(family: str) -> Iterator[LoadedModel]:
    loaded = families.load(family, torch.float64)
    with devices.spread(loaded.model, by_turns):
        assert len({parameter.device for parameter in loaded.model.parameters()}) == 2
        yield loaded


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt"])
def test_model_on_two_devices_gives_the_scores_and_edits_of_one(family: str) -> None:
    plain = families.load(family, torch.float64)
    engine, query = Engine(plain, memory_bytes=MEMORY), sample_query(plain, 9, 3)
    neurons = [site.offset + 1 for site in plain.sites]
    edits = [Edit.suppress([each]) for each in neurons] + [Edit.suppress(neurons[:2])]
    methods = [parse_method(text) for text in ("amig+nodes=3", "bkn+nodes=3,positions=all")]
    expected = [next(attribute(engine, [query], method)).scores for method in methods]
    dropped = [each.p_steps for each in engine.edited(query, edits)]
    with spread(family) as loaded:
        engine = Engine(loaded, memory_bytes=MEMORY)
        assert engine.replay
        for method, scores in zip(methods, expected, strict=True):
            found = next(attribute(engine, [query], method)).scores
            assert np.abs(found - scores).max() <= 1e-7 * np.abs(scores).max()
        for after, p in zip(engine.edited(query, edits), dropped, strict=True):
            assert after.p_steps == pytest.approx(p, rel=1e-7)


def test_fake_devices_catch_a_missing_move_between_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with callbacks that look at a tensor where it lies, the first pass over two devices fails."""
    monkeypatch.setattr(Home, "of", classmethod(lambda cls, model: cls(next(model.parameters()).device, True)))
    with spread("gpt2") as loaded, pytest.raises(RuntimeError, match="same device"):
        Engine(loaded, memory_bytes=MEMORY)


def test_fake_devices_refuse_each_other_and_pass_gradients_on() -> None:
    with devices.spread(torch.nn.Linear(2, 2), lambda _: 0):
        one, other = (torch.ones(2, device=torch.device(devices.KIND, number)) for number in (0, 1))
        with pytest.raises(RuntimeError, match="same device"):
            one + other
        with pytest.raises(RuntimeError, match="same device"):
            one + torch.ones(2)
        leaf = one.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad((leaf.to(other.device) * other * 3).sum(), leaf)
        assert gradient.device == one.device
        assert gradient.cpu().tolist() == [3, 3]
