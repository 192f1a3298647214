"""What panes are shown, from arrays, against the macros: the same rows for any thresholds and any restriction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store import held, held_pairs, pairs, runs
from knscope.store.reader import Reader
from knscope.store.shards import write_shard
from knscope.store.view import View
from tests.store import synthetic
from tests.store.test_macros import BASE, drawn_view

QUESTIONS = ("queries", "layer_hist", "overlap", "dkn_rate", "dkn_layers", "dkn_service")
SORTED = {"overlap": ["lang_a", "lang_b"], "dkn_service": ["query", "layer_a", "neuron_a", "layer_b", "neuron_b"]}


def ordered(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows whose order is not promised, in one order; queries of one fact and language may come in any."""
    return frame.sort(SORTED[name]) if name in SORTED else frame.sort("query") if name == "queries" else frame


def same(reader: Reader, view: View) -> Counter[str]:
    """Assert that both ways answer alike; the questions that had rows."""
    answered: Counter[str] = Counter()
    for name in QUESTIONS:
        expected, got = (ordered(getattr(which, name)(view), name) for which in (reader, reader.live))
        assert_frame_equal(got, expected, check_exact=False, rel_tol=1e-12, abs_tol=1e-15)
        answered[name] += expected.height > 0
    return answered


def test_macros_and_arrays_agree_over_random_views(reader: Reader) -> None:
    rng = np.random.default_rng(5)
    queries = reader.sql("SELECT query FROM query ORDER BY query")["query"].to_list()
    answered: Counter[str] = Counter()
    for seed in range(16):
        view = drawn_view(seed)
        if rng.random() < 0.3:
            view = view.with_(queries=tuple(rng.choice(queries, 40, replace=False).tolist()))
        answered += same(reader, view)
    assert min(answered[name] for name in QUESTIONS) > 4, answered


def test_pairs_of_a_narrow_view_serve_the_facts_of_the_wide_one(reader: Reader) -> None:
    view = BASE.with_(taus=tuple((lang, 0.1) for lang in BASE.langs), t_low=0.3, t_high=0.2)
    pairs_of = reader.dkn_service(view)
    fact = pairs_of["fact"][0]
    for narrow in (replace(view, facts=(fact,)), replace(view, queries=(pairs_of["query"][0],))):
        expected, got = reader.dkn_service(view, narrow), reader.live.dkn_service(view, narrow)
        assert expected.height
        assert_frame_equal(ordered(got, "dkn_service"), ordered(expected, "dkn_service"))


def test_macros_and_arrays_agree_below_the_floor(made: Path) -> None:
    with store.open(made) as reader:
        assert same(reader, BASE)
        low = BASE.with_(taus=tuple((lang, 0.01) for lang in BASE.langs))
        before = reader.live.overlap(BASE)["shared"].sum()
        assert reader.live.overlap(low)["shared"].sum() > before
        assert same(reader, low) and same(reader, BASE)


def test_arrays_take_in_results_that_arrive(tmp_path: Path) -> None:
    """Rows added to those held give what holding all at once gives."""
    folder, size = tmp_path / "g.knstore", synthetic.Size()
    store.create(folder)
    run, sizes = runs.new_run(folder, {}), []
    view = View(BASE.model, BASE.method, ("en",), taus=(("en", 0.1),))
    with store.open(folder) as reader:
        for first in (20, 0, 10):
            write_shard(folder, run, *synthetic.made_frames(size, range(first, first + 10)))
            reader.poll()
            assert same(reader, view) and same(reader, BASE)
            sizes.append(reader.live.queries(view)["n_kn"].sum())
        assert 0 < sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("module", "name"), [(held, "LARGEST"), (held, "_LANGS"), (held_pairs, "LARGEST_PAIRS"), (pairs, "LARGEST_MATRIX")]
)
def test_macros_answer_where_arrays_would_be_too_large(
    made: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    asked: list[str] = []
    real: Callable[..., str] = Reader.macro_sql

    def watched(self: Reader, macro: str, *args: object) -> str:
        asked.append(macro)
        return real(self, macro, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "macro_sql", watched)
    with store.open(made) as reader:
        reader.live.dkn_service(BASE)
        assert asked == []
        monkeypatch.setattr(module, name, 2)
        with store.open(made) as other:
            found = other.live.dkn_service(BASE)
        assert asked == ["dkn_service"]
        assert_frame_equal(ordered(found, "dkn_service"), ordered(reader.live.dkn_service(BASE), "dkn_service"))
