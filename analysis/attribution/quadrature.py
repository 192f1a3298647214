"""Nodes and weights on [0, 1] for the path integral of eq. 2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from knscope.analysis.errors import ModelError
from knscope.analysis.types import Bools, Floats, Ints

MAX_NODES = 80
"""Where doubling stops."""


@lru_cache(maxsize=64)
def nodes_and_weights(rule: str, n: int) -> tuple[Floats, Floats]:
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


def _lobatto(n: int) -> tuple[Floats, Floats]:
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


@dataclass(frozen=True)
class Places:
    """Where integrands are evaluated: row r belongs to integral of[r], at place at[r] in [0, 1) with weight[r]. The place
    a = 1 is not a row; end[i] is its weight in integral i."""

    of: Ints
    at: Floats
    weight: Floats
    end: Floats


def places(rule: str, nodes: Ints, start: bool) -> Places:
    """The places of integrals with `nodes` (integrals,) nodes each; with `start` a = 0 is among them, even at weight 0."""
    tables = {}
    for n in np.unique(nodes).tolist():
        at, weight = nodes_and_weights(rule, n)
        end, at, weight = float(weight[at == 1].sum()), at[at < 1], weight[at < 1]
        if start and 0 not in at:
            at, weight = np.append(at, 0.0), np.append(weight, 0.0)
        tables[n] = at, weight, end
    mine = [tables[n] for n in nodes.tolist()]
    of = np.repeat(np.arange(len(nodes)), [len(at) for at, _, _ in mine])
    at, weight = (np.concatenate([np.empty(0), *(each[part] for each in mine)]) for part in (0, 1))
    return Places(of, at, weight, np.array([end for _, _, end in mine]))


def converged(total: Floats, start: Floats, end: Floats, eps: float = 0.0, tolerance: float = 1e-3) -> Bools:
    """Whether attributions of sum `total` account for F(w) - F(w') closely enough: |total - dF| <= tolerance (|dF| +
    max F / 100).

    F may be negative (a logit, a log probability): its size counts then. `eps` is the model's relative precision: where
    four of it are more than the share of max F (bfloat16, float16) they take its place, as more nodes do not lessen
    rounding.
    """
    change = end - start
    scale = np.maximum(np.abs(end), np.abs(start))
    result: Bools = np.abs(total - change) <= tolerance * np.abs(change) + max(tolerance / 100, 4 * eps) * scale
    return result


class Integrals:
    """The integrals so far, as arrays (paths, layers)."""

    def __init__(self, paths: int, layers: int) -> None:
        self.shape = (paths, layers)
        self.f_start, self.total = np.zeros(self.shape), np.zeros(self.shape)
        self.nodes, self.converged = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.bool_)

    def judge(
        self, path: Ints, layer: Ints, nodes: Ints, total: Floats, end: Floats, eps: float, tolerance: float
    ) -> None:
        """Store the sums of jobs (path, layer) with `nodes` nodes each, all (jobs,), and whether they account for the
        change of F up to `end`."""
        self.total[path, layer], self.nodes[path, layer] = total, nodes
        self.converged[path, layer] = converged(total, self.f_start[path, layer], end, eps, tolerance)
