"""Scores of 16 bits a neuron: the same sets from τ = 0.01 on, a stated error below, the same bytes when written again, damage named."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from knscope import store
from knscope.store import compaction, runs, shards, sixteen
from knscope.store.dense import MANY_NEURONS
from knscope.store.errors import UserError
from knscope.store.view import View
from tests.store import synthetic

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
SIZE = synthetic.Size(facts=4)


def literal_rel(scores: np.ndarray) -> list[float]:
    """A positive score over the highest, a negative one over the lowest, in double precision."""
    highest, lowest = (max((float(s) * sign for s in scores), default=0.0) for sign in (1, -1))
    return [float(s) / (highest if s > 0 else lowest) if s else 0.0 for s in scores]


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.float32, st.integers(0, 60), elements=FINITE))
def test_scores_from_a_hundredth_on_are_kept_and_smaller_ones_rounded_to_a_256th(scores: np.ndarray) -> None:
    content = sixteen.encode(scores)
    read = sixteen.decode(content)
    assert sixteen.encode(read) == content
    assert sixteen.neurons(content[: sixteen.HEAD_BYTES]) == len(scores)
    tiny = 2.0**-133  # where float32 has fewer than 8 bits left
    for score, got, rel in zip(scores.tolist(), read.tolist(), literal_rel(scores), strict=True):
        if abs(rel) >= 0.01:
            assert got == score
        else:
            assert abs(got - score) <= max(abs(score) * 2**-8, tiny)
            assert got * score >= 0


@pytest.mark.parametrize("tau", [0.01, 0.0123, 0.03, 0.3])
def test_no_threshold_from_a_hundredth_on_finds_other_neurons(tau: float) -> None:
    generator = np.random.default_rng(0)
    scores = (generator.standard_normal(20_000) * np.exp(2.5 * generator.standard_normal(20_000))).astype(np.float32)
    highest, lowest = float(scores.max()), float(scores.min())
    near = np.nextafter(np.float32(tau * highest), np.float32([-math.inf, math.inf]))
    scores[:4] = *near, np.float32(tau * highest), np.float32(tau * lowest)
    read = sixteen.decode(sixteen.encode(scores))
    for end in (highest, lowest):
        assert (read.astype(np.float64) / end > tau).tolist() == (scores.astype(np.float64) / end > tau).tolist()
    rounded = (scores.view(np.uint32) & 0xFFFF0000 | 0x8000).view(np.float32).astype(np.float64)
    assert (rounded / highest > tau).tolist() != (scores.astype(np.float64) / highest > tau).tolist()
    assert len(sixteen.encode(scores)) < scores.nbytes / 2


def made(path: Path, form: str) -> Path:
    place = store.create(path)
    run = runs.new_run(place, {})
    for fact in range(SIZE.facts):
        frames, dense = synthetic.made_frames(SIZE, range(fact, fact + 1))
        if form == "none":
            rows = frames["attribution"]
            frames["attribution"] = rows.with_columns(dense_row=pl.lit(None, pl.Int32))
        shards.write_shard(place, run, frames, None if form == "none" else dense, form=form)  # type: ignore[arg-type]
    return place


VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))
LOW = VIEW.with_(taus=(("en", 0.01), ("zh", 0.013)))


def test_tables_are_the_same_from_either_form_before_and_after_compaction(tmp_path: Path) -> None:
    places = {form: made(tmp_path / form, form) for form in ("float32", "float16")}
    found = {}
    for form, place in places.items():
        with store.open(place) as reader:
            found[form] = [reader.kn(view).rows() for view in (VIEW, LOW)]
            key = min(reader.keys("attribution"))
            before = reader.dense(key)
        compaction.compact(place)
        assert not any(shards.verify(place).values())
        with store.open(place) as reader:
            assert [reader.kn(view).rows() for view in (VIEW, LOW)] == found[form]
            assert (reader.dense(key) == before).all()
    assert found["float32"] == found["float16"] and found["float16"][1]
    assert list(places["float16"].rglob("dense.bin")) and not list(places["float16"].rglob("dense.npy"))


@pytest.mark.parametrize(("neurons", "file"), [(MANY_NEURONS - 1, "dense.npy"), (MANY_NEURONS, "dense.bin")])
def test_auto_stores_scores_of_many_neurons_in_16_bits(tmp_path: Path, neurons: int, file: str) -> None:
    place = store.create(tmp_path / "auto")
    shards.write_shard(place, runs.new_run(place, {}), {}, np.ones((1, neurons), np.float32), form="auto")
    assert [path.name for path in place.rglob("dense.*")] == [file]


def test_without_dense_scores_rows_from_the_floor_up_are_there_and_the_rest_is_refused(tmp_path: Path) -> None:
    place = made(tmp_path / "none", "none")
    for _ in range(2):
        with store.open(place) as reader:
            assert reader.kn(VIEW).height
            with pytest.raises(UserError, match=r"only those from the floor up are stored.*--dense none.*a new store"):
                reader.kn(LOW)
            with pytest.raises(UserError, match="new store with --dense float16"):
                reader.dense(min(reader.keys("attribution")))
        compaction.compact(place)


DAMAGE = {
    "fewer neurons": lambda row: struct.pack_into("<I", row, 0, 3),
    "many neurons": lambda row: struct.pack_into("<I", row, 0, 1 << 31),
    "a long packed part": lambda row: struct.pack_into("<I", row, 4, 1 << 31),
    "other limits": lambda row: struct.pack_into("<HH", row, 8, 0, 0),
    "a packed part of zeros": lambda row: row.__setitem__(slice(12, 20), bytes(8)),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("summed", [False, True])
def test_damaged_rows_are_named(tmp_path: Path, name: str, summed: bool) -> None:
    place = made(tmp_path / "store", "float16")
    hurt = next(iter(shards.list_shards(place)))
    manifest = json.loads((hurt / "manifest.json").read_text())
    content = bytearray((hurt / "dense.bin").read_bytes())
    row = content[: manifest["dense_ends"][0]]
    DAMAGE[name](row)
    content[: len(row)] = row
    (hurt / "dense.bin").write_bytes(content)
    if summed:
        manifest["dense_sums"][0] = zlib.crc32(row)
        (hurt / "manifest.json").write_text(json.dumps(manifest))
    key = pl.read_parquet(hurt / "attribution.parquet").sort("dense_row")["key"][0]
    with store.open(place) as reader, pytest.raises(UserError, match=r"dense.bin: row 0.*run the analysis again"):
        reader.dense(key)


@pytest.mark.parametrize("ends", ["12", [3, 2], [-1], ["x"], [10**12], [True]])
def test_ends_that_are_none_are_named(tmp_path: Path, ends: object) -> None:
    place = made(tmp_path / "store", "float16")
    hurt = next(iter(shards.list_shards(place)))
    manifest = json.loads((hurt / "manifest.json").read_text())
    (hurt / "manifest.json").write_text(json.dumps(manifest | {"dense_ends": ends}))
    with store.open(place) as reader:
        assert str(hurt) in reader.damaged
