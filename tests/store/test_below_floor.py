"""τ below the floor: rows added from the dense scores, the same answer on both sides of the seam, refused where only rows are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knscope import store
from knscope.store.errors import UserError
from knscope.store.reader import Reader
from knscope.store.sandbox import Sandbox
from knscope.store.view import View
from tests.store import literal, synthetic

BASE = View(synthetic.MODELS[0], "amig", ("en", "zh"))


def below(tau: float, **changes: object) -> View:
    return BASE.with_(taus=(("en", tau), ("zh", 0.2)), **changes)


@pytest.fixture
def fresh(made: Path) -> Iterator[Reader]:
    with store.open(made) as opened:
        yield opened


def sets(reader: Reader, view: View) -> dict[literal.Place, dict]:
    got: dict[literal.Place, dict] = {}
    for fact, _, lang, layer, neuron, rel, share in reader.kn(view).iter_rows():
        got.setdefault((fact, lang), {})[layer, neuron] = (rel, share)
    return got


@pytest.mark.parametrize("tau", [0.04, 0.01, 0.0])
def test_sets_below_the_floor_equal_those_of_the_dense_scores(fresh: Reader, tau: float) -> None:
    view = below(tau)
    assert sets(fresh, view) == {place: members for place, members in literal.kn(fresh, view).items() if members}


def test_lowering_tau_in_steps_equals_lowering_it_at_once(fresh: Reader, made: Path) -> None:
    for tau in (0.03, 0.02, 0.01):
        fresh.kn(below(tau))
    with store.open(made) as other:
        assert sets(fresh, below(0.01)) == sets(other, below(0.01))


def test_extending_below_the_floor_changes_nothing_above_it(fresh: Reader) -> None:
    view = below(0.3)

    def answers() -> tuple[object, ...]:
        layers = [(*row[:-1], round(row[-1], 12)) for row in fresh.layer_hist(view).rows()]  # sums in no fixed order
        return sets(fresh, view), layers, fresh.dkn_rate(view).rows()

    before = answers()
    fresh.kn(below(0.0))
    assert answers() == before


def test_extended_rows_hold_each_neuron_once(fresh: Reader) -> None:
    for tau in (0.04, 0.01, 0.03, 0.01):
        fresh.kn(below(tau))
    twice = fresh.sql("SELECT aq, layer, neuron FROM score_row GROUP BY ALL HAVING count(*) > 1")
    assert twice.is_empty()


def test_attribution_rows_state_the_floor_they_reach(fresh: Reader) -> None:
    fresh.kn(below(0.01))
    floors = dict(
        fresh.sql(
            "SELECT p.lang, max(a.floor) FROM attribution_row a JOIN place p USING (place) WHERE model = ? AND method = ? GROUP BY ALL",
            [BASE.model, BASE.method],
        ).iter_rows()
    )
    assert floors == {"en": 0.01, "zh": 0.05, "fr": 0.05}


def test_degenerate_pairs_and_query_table_count_neurons_below_the_floor(fresh: Reader) -> None:
    view = below(0.01)
    expected = literal.dkn(fresh, view)
    got = {
        (r["role"], r["fact"], r["lang"], (r["layer_a"], r["neuron_a"]), (r["layer_b"], r["neuron_b"]))
        for r in fresh.dkn(view).to_dicts()
    }
    assert got == set(expected)
    counted = dict(fresh.queries(view).select("query", "n_kn").drop_nulls().iter_rows())
    wanted = {
        row["query"]: sum(rel > view.tau[row["lang"]] for rel in row["rel"].values())
        for row in literal.queries(fresh, view)
    }
    assert counted == wanted


def test_extension_reports_progress_and_resumes_after_cancelling(
    fresh: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knscope.store.extension.QUERIES_AT_ONCE", 10)
    view, told = below(0.01), []
    assert not fresh.extend(view, lambda done, total: told.append((done, total)), lambda: len(told) >= 2)
    assert [done for done, _ in told] == [10, 20]
    assert told[0][1] > 20
    assert fresh.extend(view)
    assert sets(fresh, view) == {place: members for place, members in literal.kn(fresh, view).items() if members}
    assert fresh.extend(view, lambda *_: pytest.fail("nothing was missing"))


def test_extension_of_one_fact_reads_one_fact(fresh: Reader) -> None:
    told: list[int] = []
    fresh.extend(below(0.01, facts=("fact-00001",)), lambda done, total: told.append(total))
    assert told == [2]


def test_sql_below_the_floor_is_refused_and_names_the_floor(fresh: Reader) -> None:
    with Sandbox(fresh) as sandbox:
        for name in ("kn", "likn", "layer_hist", "dkn", "dkn_rate", "queries"):
            with pytest.raises(UserError, match=r"0\.01 is below 0\.05, the floor"):
                sandbox.run(fresh.macro_sql(name, below(0.01)))


def test_extension_adds_results_that_arrive_later(tmp_path: Path) -> None:
    size = synthetic.Size(facts=20, models=synthetic.MODELS[:1], methods=("amig",))
    path = synthetic.build(tmp_path / "a.knstore", size)
    with store.open(path) as reader:
        reader.kn(below(0.01))
        from knscope.store import runs
        from knscope.store.shards import write_shard

        run = runs.new_run(path, {})
        write_shard(path, run, *synthetic.made_frames(size, range(20, 24)))
        assert reader.poll()
        view = below(0.01)
        assert sets(reader, view) == {place: m for place, m in literal.kn(reader, view).items() if m}
