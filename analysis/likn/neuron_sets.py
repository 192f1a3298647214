"""Neuron sets of many facts in several languages, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from knscope.analysis.types import Bools, Ints


@dataclass(frozen=True)
class NeuronSets:
    """N of F facts in K languages; a neuron is its flat index (layer's offset + neuron).

    `neurons` holds all sets end to end, fact by fact and within a fact language by language; the set of fact f in
    language k is `neurons[starts[f*K + k] : starts[f*K + k + 1]]`, best neuron first. `present` (F, K) tells an empty
    set from a fact that was never attributed in that language. `widths` (n_layers,) are the layers' sizes.
    """

    neurons: Ints
    starts: Ints
    present: Bools
    widths: Ints

    @property
    def n_facts(self) -> int:
        return int(self.present.shape[0])

    @property
    def n_langs(self) -> int:
        return int(self.present.shape[1])

    @classmethod
    def from_rows(
        cls, fact: npt.ArrayLike, lang: npt.ArrayLike, neuron: npt.ArrayLike, present: Bools, widths: npt.ArrayLike
    ) -> NeuronSets:
        """From one row a (fact, language, neuron), in any order of facts, the best neuron of each set first."""
        n_langs = present.shape[1]
        cell = np.asarray(fact, dtype=np.int64) * n_langs + np.asarray(lang, dtype=np.int64)
        order = np.argsort(cell, kind="stable")
        lengths = np.bincount(cell, minlength=present.size).astype(np.int64)
        neurons = np.asarray(neuron, dtype=np.int64)[order]
        return cls(neurons, np.concatenate([[0], np.cumsum(lengths)]), present, np.asarray(widths, dtype=np.int64))

    def get(self, fact: int, lang: int) -> Ints:
        cell = fact * self.n_langs + lang
        return self.neurons[self.starts[cell] : self.starts[cell + 1]]

    def select(self, facts: npt.ArrayLike | None = None, langs: Sequence[int] | None = None) -> NeuronSets:
        """The same sets for some facts (indices or mask) and languages, in the order asked for."""
        rows = np.arange(self.n_facts)[slice(None) if facts is None else np.asarray(facts)]
        columns = np.arange(self.n_langs) if langs is None else np.asarray(langs, dtype=np.int64)
        cells = (rows[:, None] * self.n_langs + columns).ravel()
        lengths = self.starts[cells + 1] - self.starts[cells]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        neurons = self.neurons[np.repeat(self.starts[cells], lengths) + within]
        return NeuronSets(neurons, starts, self.present[np.ix_(rows, columns)], self.widths)

    def sizes(self) -> Ints:
        """|N|, (F, K)."""
        return np.diff(self.starts).reshape(self.present.shape)

    def layer_sizes(self) -> Ints:
        """Neurons of each set in each layer, (F, K, n_layers)."""
        cell = np.repeat(np.arange(self.present.size), np.diff(self.starts))
        layer = np.searchsorted(np.cumsum(self.widths), self.neurons, side="right")
        counts = np.bincount(cell * len(self.widths) + layer, minlength=self.present.size * len(self.widths))
        return counts.reshape(*self.present.shape, len(self.widths)).astype(np.int64)

    def matrices(self) -> list[sparse.csr_array]:
        """One 0/1 matrix (F, neurons that occur) a language; columns are the same in all of them."""
        names, column = np.unique(self.neurons, return_inverse=True)
        row = np.repeat(np.arange(self.present.size), np.diff(self.starts))
        shape = (self.n_facts, max(len(names), 1))
        found = []
        for lang in range(self.n_langs):
            mine = row % self.n_langs == lang
            entries = (np.ones(int(mine.sum()), dtype=np.int32), (row[mine] // self.n_langs, column[mine]))
            found.append(sparse.csr_array(entries, shape=shape))
        return found

    def top(self, n: int) -> NeuronSets:
        """The first n neurons of every set."""
        lengths = np.diff(self.starts)
        within = np.arange(len(self.neurons)) - np.repeat(self.starts[:-1], lengths)
        starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, n))]).astype(np.int64)
        return NeuronSets(self.neurons[within < n], starts, self.present, self.widths)


def equal_size(sets: NeuronSets, ranked: NeuronSets) -> tuple[NeuronSets, int]:
    """The top n of every language, n the median |N| of the first one, so that unequal thresholds cannot decide.

    `sets` are the sets at the thresholds, `ranked` every stored neuron best first. Returns the sets and n.
    """
    sizes = sets.sizes()[:, 0][sets.present[:, 0]]
    n = int(np.median(sizes)) if len(sizes) else 0
    return ranked.top(n), n
