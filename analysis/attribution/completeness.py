"""Completeness: what the attributions along a path sum up to is the change of F they account for, or the path gets more
nodes."""

from __future__ import annotations

import numpy as np

from knscope.analysis.attribution.quadrature import converged
from knscope.analysis.types import Floats, Ints


class Integrals:
    """What is known of each (path, layer) so far, as arrays (paths, layers)."""

    def __init__(self, paths: int, layers: int) -> None:
        self.shape = (paths, layers)
        self.f_start, self.total = np.zeros(self.shape), np.zeros(self.shape)
        self.nodes, self.converged = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.bool_)

    def judge(
        self, path: Ints, layer: Ints, nodes: Ints, total: Floats, end: Floats, eps: float, tolerance: float
    ) -> None:
        """Take in what jobs (path, layer) of `nodes` nodes each sum up to, all (jobs,), where F ends at `end`."""
        self.total[path, layer], self.nodes[path, layer] = total, nodes
        self.converged[path, layer] = converged(total, self.f_start[path, layer], end, eps, tolerance)
