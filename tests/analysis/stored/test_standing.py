"""The two lines below a table: facts that are left out, and how good the integrals are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from knscope import store
from knscope.analysis.stored.standing import Integrals, integrals, left_out, said_below
from knscope.store import runs, schema
from knscope.store.reader import Reader
from knscope.store.shards import write_shard
from knscope.store.view import View

VIEW = View("m@1", "amig", ("en", "zh"))
QUERIES = [(fact, lang, template) for fact in "ab" for lang in ("en", "zh") for template in "xy"]
KNOWN = {("a", "en", "x"), ("a", "zh", "x"), ("a", "zh", "y"), ("b", "en", "x"), ("b", "en", "y")}
RESIDUALS = np.random.default_rng(0).random((len(QUERIES), 5)) ** 3


def whole(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """With a value in each of the columns that nobody reads here."""
    every = schema.tables()[name].schema
    made = []
    for field in every:
        if field.name not in frame.columns:
            kind = str(field.type)
            value: object = "" if kind == "string" else [] if kind.startswith("list") else True if kind == "bool" else 1
            made.append(pl.lit(value).alias(field.name))
    return frame.with_columns(made)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    place = store.create(tmp_path / "made.knstore")
    names = ["".join(query) for query in QUERIES]
    query = pl.DataFrame(QUERIES, schema=["fact", "lang", "template"], orient="row").with_columns(
        query=pl.Series(names), relation=pl.lit("R"), subject=pl.lit("s"), object=pl.lit("o")
    )
    prediction = pl.DataFrame(
        {"key": [f"p{name}" for name in names], "model": "m@1", "query": names, "known": [q in KNOWN for q in QUERIES]}
    )
    attribution = pl.DataFrame(
        {"key": [f"a{name}" for name in names], "model": "m@1", "method": "amig", "query": names}
    )
    path = pl.DataFrame(
        {
            "key": [f"a{name}" for name in names for _ in range(5)], "step": 0, "path": [*range(5)] * len(names), "layer": 0,
            "f_start": 0.5, "f_end": 0.25, "residual": RESIDUALS.ravel() * 0.255, "converged": RESIDUALS.ravel() < 0.1,
        },
        schema_overrides={"step": pl.Int16, "path": pl.Int16, "layer": pl.Int16},
    )  # fmt: skip
    tables = {
        "query": query,
        "prediction": prediction,
        "attribution": attribution.with_row_index("dense_row"),
        "path": path,
    }
    tables = {name: whole(name, frame) for name, frame in tables.items()}
    write_shard(place, runs.new_run(place, {}), tables, np.zeros((len(names), 4), np.float32))
    found = Reader(place)
    found.poll()
    assert not found.damaged
    return found


@pytest.mark.parametrize("known", [False, True])
def test_share_of_unconverged_paths_and_residuals_are_those_of_the_views_queries(reader: Reader, known: bool) -> None:
    """Residuals over |ΔF| + max F / 100, which is .255 here; only known queries count in a View of known ones."""
    mine = RESIDUALS[[query in KNOWN or not known for query in QUERIES]].ravel()
    found = integrals(reader, VIEW.with_(known=known))
    assert found is not None and found.paths == len(mine)
    assert found.unconverged == pytest.approx((mine >= 0.1).mean())
    assert (found.median, found.high) == pytest.approx((np.median(mine), np.quantile(mine, 0.9)))


def test_facts_left_out_are_counted_by_language_and_prompts_together(reader: Reader) -> None:
    assert left_out(reader, VIEW) == ""
    said = left_out(reader, VIEW.with_(known=True))
    assert "en 0 of 2, zh 1 of 2" in said and "3 prompts" in said and "--all" in said


def test_standing_is_empty_where_nothing_is_integrated_or_left_out(reader: Reader) -> None:
    assert said_below(reader, VIEW.with_(method="activation", known=True)) == ()


def test_a_share_that_is_not_0_is_never_printed_as_0() -> None:
    assert str(Integrals(30_000, 1e-4, 1e-4, 5e-4)).startswith("less than 0.1 %")
    assert (
        str(Integrals(450, 0.991, 0.021, 0.23)) == "99.1 % of 450 paths not converged; residual: median 0.02, 90 % 0.2"
    )
