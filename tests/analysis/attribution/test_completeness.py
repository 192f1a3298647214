"""Completeness: on every family the attributions of a path add up to the change of F that they explain, to 1e-10.

Many models compute norms, softmax or rotations in float32 whatever their dtype, which alone leaves 1e-8 to 1e-6. Here
those casts become float64, so that what is left is the integral's own error and nothing can hide behind rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from knscope.analysis.attribution.integrate import Attribution, attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine.replay import Engine
from tests import families
from tests.analysis.engine.test_families import EVERY, queries

EXACT = 1e-10
KINKED = {"opt": 1e-2, "nemotron": 1e-3, "t5 (2019)": 1e-3}
"""relu and its square above the site: the integrand jumps, or its slope does, and error falls as 1 / nodes or so."""


class _Widened(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        named = {key: _wide(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **named)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def widened() -> Iterator[None]:
    """Nothing inside is computed in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widened():
            yield
    finally:
        torch.set_default_dtype(before)


def residual(engine: Engine, method: str) -> float:
    """The worst |sum of a path's attributions - change of F|, as a share of the larger F."""
    return max(float(share(found).max()) for found in attribute(engine, queries(engine.loaded), parse_method(method)))


def share(found: Attribution) -> np.ndarray:
    paths = found.paths
    worst: np.ndarray = np.abs(paths.residual) / np.maximum(np.abs(paths.f_end), np.abs(paths.f_start))
    return worst


@pytest.mark.parametrize("name", EVERY)
def test_attributions_of_a_path_sum_to_its_change_of_f(name: str) -> None:
    with widened():
        engine = Engine(families.load(name))
        nodes = 20 if name in families.ENCODERS else 80 if engine.loaded.sites[0].gated else 40
        assert residual(engine, f"amig+nodes={nodes}") <= KINKED.get(name, EXACT)


@pytest.mark.parametrize("name", ["bert", "gpt2", "bloom", "llama"])
def test_path_from_zero_is_complete_and_the_rule_of_eq_4_is_not(name: str) -> None:
    with widened():
        engine = Engine(families.load(name))
        assert residual(engine, "bkn+rule=gauss-legendre,nodes=80") <= EXACT
        assert residual(engine, "bkn+rule=right") > 1e-6


@pytest.mark.parametrize("name", KINKED)
def test_family_with_relu_is_complete_once_its_activation_is_smooth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model with a smooth activation function is as exact as all others."""
    room = families.DECODERS if name in families.DECODERS else families.ENCODER_DECODERS
    prefix, options = room[name]
    smooth = options | {"activation_function": "gelu", "hidden_act": "gelu", "feed_forward_proj": "gelu"}
    with widened():
        kinked = residual(Engine(families.load(name)), "amig+nodes=40")
        monkeypatch.setitem(room, name, (prefix, smooth))  # type: ignore[arg-type]
        assert residual(Engine(families.load(name)), "amig+nodes=40") <= EXACT < kinked


@pytest.mark.parametrize("name", ["gemma2", "glm4"])
def test_path_that_80_nodes_do_not_resolve_is_marked_unconverged(name: str) -> None:
    """With a norm behind the MLP too, the integrand spikes where a path leaves w' = 0."""
    engine = Engine(families.load(name))
    asked = queries(engine.loaded)
    results = list(attribute(engine, asked, parse_method("bkn+rule=gauss-legendre,nodes=5")))
    missed = [share(found) > 2e-3 for found in results]
    assert any(each.any() for each in missed)
    for found, each in zip(results, missed, strict=True):
        assert not found.paths.converged[each].any() and (found.paths.nodes[each] == 80).all()


@pytest.mark.parametrize("name", ["llama", "modernbert"])
def test_float32_inside_a_float64_model_leaves_float32_rounding(name: str) -> None:
    assert EXACT < residual(Engine(families.load(name)), "amig+nodes=40") < 1e-6
