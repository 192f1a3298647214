"""How far a path turns the stream says how fast its integral gets exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knscope.analysis.attribution.quadrature import nodes_and_weights
from knscope.analysis.attribution.smoothness import ellipse, expected_nodes


def direction(stream: np.ndarray, change: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What a norm leaves of h + (1 - a) c, its first number, at each a."""
    moved = stream + (1 - at)[:, None] * change
    return moved[:, 0] / np.linalg.norm(moved, axis=1)


@pytest.mark.parametrize("size", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_error_of_a_norms_integral_falls_by_r_squared_a_node(size: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    stream, change = generator.standard_normal(16), size * generator.standard_normal(16)
    (r,) = ellipse(torch.from_numpy(stream[None]), torch.from_numpy(change[None]))
    at, weights = nodes_and_weights("gauss-legendre", 300)
    exact = weights @ direction(stream, change, at)
    nodes = np.arange(3, 60)
    errors = np.empty(len(nodes))
    for place, n in enumerate(nodes):
        at, weights = nodes_and_weights("gauss-lobatto", int(n))
        errors[place] = abs(weights @ direction(stream, change, at) - exact)
    seen = errors > 1e-13
    nodes, errors = nodes[seen], errors[seen]
    # errors swing around the line they fall along: its slope, from the largest of each three on
    tops = [errors[place : place + 3].max() for place in range(0, len(errors) - 2, 3)]
    slope = np.polyfit(nodes[1 : 1 + 3 * len(tops) : 3], np.log(tops), 1)[0]
    assert np.exp(-slope / 2) == pytest.approx(r, rel=0.25)


def test_the_token_that_turns_most_decides() -> None:
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(2, 3, 8, generator=generator)
    change = torch.randn(2, 3, 8, generator=generator)
    each = ellipse(stream.flatten(0, 1), change.flatten(0, 1)).reshape(2, 3)
    assert ellipse(stream, change) == pytest.approx(each.min(1))
    assert len(np.unique(each)) == each.size


def test_a_path_that_moves_nothing_wants_the_fewest_and_one_through_zero_the_most() -> None:
    stream = 1e5 * torch.ones(2, 4, dtype=torch.float64)
    r = ellipse(stream, torch.stack([torch.zeros(4), -2e5 * torch.ones(4)]).double())
    assert r[1] == pytest.approx(1)
    assert expected_nodes(r, 0.02, 9).tolist() == [3, 9]


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e6), st.floats(1e-3, 0.1), st.floats(1e-3, 0.1), st.integers(2, 80))
def test_more_turning_and_less_tolerance_never_want_fewer(r: float, s: float, t: float, u: float, most: int) -> None:
    turning = expected_nodes(np.sort([r, s]), t, most)
    assert turning[0] >= turning[1]
    tolerances = sorted([t, u])
    assert expected_nodes(np.array([r]), tolerances[0], most) >= expected_nodes(np.array([r]), tolerances[1], most)
    assert min(3, most) <= turning.min() and turning.max() <= most
