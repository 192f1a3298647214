"""Nodes and weights on [0, 1] for the path integral of eq. 2."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.errors import ModelError

MAX_NODES = 80
"""Where doubling stops."""


@lru_cache(maxsize=64)
def nodes_and_weights(rule: str, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) nodes in [0, 1] and (n,) weights that sum to 1.

    `gauss-lobatto` has both ends among its nodes and is exact for polynomials up to degree 2n - 3, `gauss-legendre`
    has neither and is up to 2n - 1; `right` takes k/n for k = 1..n (eq. 4); `left` k = 0..n-1; `endpoints` n evenly
    spaced points from 0 to 1, both included, each of weight 1/n.
    """
    if rule == "gauss-lobatto":
        return _lobatto(n)
    if rule == "gauss-legendre":
        x, w = np.polynomial.legendre.leggauss(n)
        return (x + 1) / 2, w / 2
    if rule == "endpoints":
        return np.linspace(0.0, 1.0, n), np.full(n, 1 / n)
    if rule not in ("left", "right"):
        raise ModelError(
            f"unknown quadrature rule {rule!r}; choose gauss-lobatto, gauss-legendre, right, left or endpoints"
        )
    return (np.arange(n) + (rule == "right")) / n, np.full(n, 1 / n)


def _lobatto(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inner nodes are the roots of P'_{n-1}; weights on [-1, 1] are 2 / (n (n - 1) P_{n-1}(x)^2)."""
    if n < 2:
        raise ModelError("gauss-lobatto has both ends among its nodes; give nodes=2 or more")
    legendre = np.polynomial.legendre.Legendre.basis(n - 1)
    # P'_{n-1} is a multiple of the Jacobi polynomial P^(1,1)_{n-2}: its roots are eigenvalues of a symmetric matrix
    k = np.arange(1, n - 2)
    beside = np.sqrt(k * (k + 2) / ((2 * k + 1) * (2 * k + 3)))
    inner = np.linalg.eigvalsh(np.diag(beside, 1) + np.diag(beside, -1)) if n > 2 else np.empty(0)
    x = np.concatenate([[-1.0], inner, [1.0]])
    return (x + 1) / 2, 1 / (n * (n - 1) * legendre(x) ** 2)


def converged(
    total: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64], eps: float = 0.0
) -> NDArray[np.bool_]:
    """Whether attributions of sum `total` account for F(w) - F(w') closely enough: |total - dF| <= 1e-3 |dF| + 1e-5
    max F.

    F may be negative (a logit, a log probability): its size counts then. `eps` is the model's relative precision: where
    four of it are more than 1e-5 (bfloat16, float16) they take its place, as more nodes do not lessen rounding.
    """
    change = end - start
    scale = np.maximum(np.abs(end), np.abs(start))
    result: NDArray[np.bool_] = np.abs(total - change) <= 1e-3 * np.abs(change) + max(1e-5, 4 * eps) * scale
    return result
