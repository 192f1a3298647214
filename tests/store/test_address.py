"""Flat neurons and their layers."""

import numpy as np
import polars as pl

from knscope.store.address import Addresses


def test_split_and_flat_are_inverse_and_follow_the_offsets() -> None:
    addresses = Addresses.of([(2, 7, 3), (0, 0, 5), (1, 5, 2)])
    layer, neuron = addresses.split(np.arange(addresses.n_neurons))
    assert layer.tolist() == [0] * 5 + [1] * 2 + [2] * 3
    assert neuron.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 2]
    assert addresses.flat(layer, neuron).tolist() == list(range(10))
    rows = pl.DataFrame({"layer": [2, 0], "neuron": [1, 4]})
    assert addresses.with_flat(rows)["flat"].to_list() == [8, 4]
    assert addresses.with_flat(rows.clear()).columns == ["layer", "neuron", "flat"]
    assert Addresses.of([]).with_flat(rows.clear()).height == Addresses.of([]).n_neurons == 0
