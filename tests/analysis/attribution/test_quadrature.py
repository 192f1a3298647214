"""Rules on [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from knscope.analysis.attribution.quadrature import MAX_NODES, converged, nodes_and_weights, places
from knscope.analysis.errors import ModelError
from tests.reference.attribution import gauss_legendre, gauss_lobatto

RULES = ("gauss-lobatto", "gauss-legendre", "right", "left", "endpoints")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 5, 20, 80])
def test_weights_sum_to_one_and_nodes_lie_in_the_interval(rule: str, n: int) -> None:
    at, weights = nodes_and_weights(rule, n)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert len(at) == len(weights) == n
    assert (at >= 0).all() and (at <= 1).all()


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_gauss_legendre_integrates_polynomials_of_degree_2n_minus_1_and_no_further(n: int) -> None:
    at, weights = nodes_and_weights("gauss-legendre", n)
    for degree in range(2 * n):
        assert weights @ at**degree == pytest.approx(1 / (degree + 1), rel=1e-13)
    if n <= 5:
        assert abs(weights @ at ** (2 * n) - 1 / (2 * n + 1)) > 1e-12


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_gauss_lobatto_integrates_polynomials_of_degree_2n_minus_3_and_no_further(n: int) -> None:
    at, weights = nodes_and_weights("gauss-lobatto", n)
    assert at[0] == 0 and at[-1] == 1
    for degree in range(2 * n - 2):
        assert weights @ at**degree == pytest.approx(1 / (degree + 1), rel=1e-13)
    if n <= 5:
        assert abs(weights @ at ** (2 * n - 2) - 1 / (2 * n - 1)) > 1e-9


def test_gauss_lobatto_refuses_a_single_node() -> None:
    with pytest.raises(ModelError, match="nodes=2"):
        nodes_and_weights("gauss-lobatto", 1)


@pytest.mark.parametrize("n", [2, 5, 10, MAX_NODES])
@pytest.mark.parametrize(("rule", "literal"), [("gauss-legendre", gauss_legendre), ("gauss-lobatto", gauss_lobatto)])
def test_gauss_rules_equal_the_roots_found_by_newtons_method(
    rule: str, literal: Callable[[int], tuple[np.ndarray, np.ndarray]], n: int
) -> None:
    at, weights = nodes_and_weights(rule, n)
    other, other_weights = literal(n)
    order = np.argsort(other)
    assert at == pytest.approx(other[order], abs=1e-14)
    assert weights == pytest.approx(other_weights[order], abs=1e-14)


def test_equal_step_rules_equal_the_published_sums() -> None:
    assert nodes_and_weights("right", 4)[0].tolist() == [0.25, 0.5, 0.75, 1]
    assert nodes_and_weights("left", 4)[0].tolist() == [0, 0.25, 0.5, 0.75]
    assert nodes_and_weights("endpoints", 5)[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(ModelError):
        nodes_and_weights("simpson", 4)


def test_converged_has_a_relative_and_an_absolute_term() -> None:
    end, start = np.array([0.5]), np.array([0.1])
    assert converged(np.array([0.4 + 3.9e-4]), start, end)[0]
    assert not converged(np.array([0.4 + 4.2e-4]), start, end)[0]
    assert converged(np.array([9e-6]), np.array([1.0]), np.array([1.0]))[0]
    assert not converged(np.array([1.1e-5]), np.array([1.0]), np.array([1.0]))[0]
    assert converged(np.array([0.03]), np.array([1.0]), np.array([1.0]), eps=2**-7)[0]
    assert not converged(np.array([0.04]), np.array([1.0]), np.array([1.0]), eps=2**-7)[0]


@pytest.mark.parametrize("tolerance", [1e-4, 0.02])
def test_converged_allows_the_tolerance_of_the_change_and_a_hundredth_of_it_of_f(tolerance: float) -> None:
    end, start = np.array([1.0]), np.array([0.6])
    allowed = 0.4 * tolerance + tolerance / 100
    assert converged(np.array([0.4 + 0.99 * allowed]), start, end, tolerance=tolerance)[0]
    assert not converged(np.array([0.4 + 1.01 * allowed]), start, end, tolerance=tolerance)[0]


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_places_are_the_nodes_of_each_integral_without_its_end(rule: str, start: bool) -> None:
    nodes = np.array([3, 5, 3, 2])
    found = places(rule, nodes, start)
    for integral, n in enumerate(nodes):
        at, weights = nodes_and_weights(rule, int(n))
        expected = {float(a): float(w) for a, w in zip(at, weights, strict=True) if a < 1}
        if start:
            expected.setdefault(0.0, 0.0)
        mine = found.of == integral
        assert dict(zip(found.at[mine].tolist(), found.weight[mine].tolist(), strict=True)) == expected
        assert found.end[integral] + found.weight[mine].sum() == pytest.approx(1, abs=1e-14)
    assert (np.diff(found.of) >= 0).all()
