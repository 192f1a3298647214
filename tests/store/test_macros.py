"""The macros say what eq. 6-10 say."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import store
from store.errors import UserError
from store.reader import Reader
from store.view import View
from tests.store import literal
from tests.store.made import LANGS, LAYERS, METHOD, MODEL, Made, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("store") / "made.knstore")


@pytest.fixture(scope="module")
def reader(made: Made):  # noqa: ANN201
    with store.open(made.path) as opened:
        yield opened


VIEWS = {
    "defaults": View(MODEL, METHOD, LANGS),
    "low thresholds": View(MODEL, METHOD, LANGS, taus=tuple((lang, 0.06) for lang in LANGS), t_low=0.4, t_high=0.5),
    "every template": View(MODEL, METHOD, ("en", "zh"), taus=(("en", 0.1), ("zh", 0.4)), template_share=1.0),
    "any template": View(MODEL, METHOD, ("fr", "en"), template_share=0.0),
    "known only": View(MODEL, METHOD, LANGS, known=True),
    "one relation": View(MODEL, METHOD, LANGS, relations=("P1",), taus=tuple((lang, 0.1) for lang in LANGS)),
    "two facts, absolute drops": View(MODEL, METHOD, LANGS, facts=("f1", "f2"), drop="absolute", t_low=0.1, t_high=0.2),
}
views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())


@views
def test_knowledge_neurons_are_those_above_tau_on_enough_templates(reader: Reader, made: Made, view: View) -> None:
    found: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for fact, _, lang, layer, neuron, _, _ in reader.kn(view).iter_rows():
        found[fact, lang].add((layer, neuron))
    assert dict(found) == {place: neurons for place, neurons in literal.kn(made, view).items() if neurons}
    assert found


@views
def test_language_independent_neurons_are_the_intersection_over_all_languages(
    reader: Reader, made: Made, view: View
) -> None:
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for fact, _, layer, neuron, _, _ in reader.likn(view).iter_rows():
        found[fact].add((layer, neuron))
    assert dict(found) == {fact: neurons for fact, neurons in literal.likn(made, view).items() if neurons}


def test_one_language_alone_shares_nothing(reader: Reader) -> None:
    assert reader.likn(View(MODEL, METHOD, ("en",))).is_empty()


@views
def test_the_layer_histogram_counts_the_same_neurons(reader: Reader, made: Made, view: View) -> None:
    sets, shared = literal.kn(made, view), literal.likn(made, view)
    by_kind: dict[str, list[set[tuple[int, int]]]] = {
        lang: [neurons for (_, other), neurons in sets.items() if other == lang and neurons] for lang in view.langs
    }
    by_kind["LIKN"] = [neurons for neurons in shared.values() if neurons]
    hist = {(kind, layer): (n, share) for kind, layer, n, share in reader.layer_hist(view).iter_rows()}
    for kind, facts in by_kind.items():
        for layer in range(LAYERS) if facts else ():
            per_fact = [sum(place == layer for place, _ in neurons) for neurons in facts]
            n, share = hist[kind, layer]
            assert n == sum(per_fact)
            assert share == pytest.approx(
                sum(m / len(neurons) for m, neurons in zip(per_fact, facts, strict=True)) / len(facts)
            )


@views
def test_degenerate_pairs_and_their_rates_are_those_of_the_definition(reader: Reader, made: Made, view: View) -> None:
    eligible = literal.dkn(made, view)
    expected = {(one["role"], one["fact"], one["lang"], frozenset((one["a"], one["b"]))): one for one in eligible if one["paper"]}
    frame = reader.dkn(view)
    found = {
        (row["role"], row["fact"], row["lang"],
         frozenset(((row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"])))): row
        for row in frame.iter_rows(named=True)
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for key, row in found.items():
        one = expected[key]
        assert sorted((row["drop_a"], row["drop_b"])) == pytest.approx(sorted(one["drops"][:2]))
        assert row["drop_ab"] == pytest.approx(one["drops"][2])
        assert row["interaction"] == pytest.approx(one["interaction"])
        assert (row["strict"], row["expressed"]) == (one["strict"], one["expressed"])
    for row in reader.dkn_rate(view).iter_rows(named=True):
        mine = [one for one in eligible if (one["role"], one["lang"]) == (row["role"], row["lang"])]
        assert row["pairs"] == len(mine)
        assert row["paper"] == sum(one["paper"] for one in mine)
        assert row["strict"] == sum(one["strict"] for one in mine)


def test_low_thresholds_find_degenerate_pairs_at_all(made: Made) -> None:
    assert any(one["paper"] for one in literal.dkn(made, VIEWS["low thresholds"]))


def test_a_view_of_what_is_not_stored_is_an_error_that_lists_what_is(reader: Reader) -> None:
    for view, said in (
        (View("other", METHOD, LANGS), MODEL),
        (View(MODEL, "bkn", LANGS), METHOD),
        (View(MODEL, METHOD, ("en", "xx")), "en, fr, zh"),
    ):
        with pytest.raises(UserError, match=said):
            reader.kn(view)


def test_a_pane_can_show_the_very_sql_it_ran(reader: Reader) -> None:
    view = VIEWS["low thresholds"]
    for name in ("queries", "kn", "likn", "layer_hist", "dkn", "dkn_rate"):
        assert reader.sql(reader.macro_sql(name, view)).height == getattr(reader, name)(view).height


def test_every_column_is_explained(reader: Reader) -> None:
    bare = reader.sql(
        "SELECT table_name || '.' || column_name AS name FROM duckdb_columns() "
        "WHERE comment IS NULL AND table_name IN ('model', 'query', 'prediction', 'attribution', 'scan', 'edit', 'claim')"
    )
    plain = {"query", "model", "key", "method", "fact", "relation", "lang", "subject", "rank_before", "rank_after", "rank", "p", "p_root",
             "p_before", "p_after", "p_root_before", "p_root_after", "answer_tokens", "p_wrong_before", "p_wrong_after", "comment"}  # fmt: skip
    assert {name.split(".")[1] for name in bare["name"].to_list()} <= plain


def test_a_second_copy_of_a_result_counts_once(tmp_path: Path) -> None:
    first = make(tmp_path / "a.knstore", facts=3, seed=1)
    from store import shards
    from tests.store.made import frames

    with store.open(first.path) as reader:
        before = reader.kn(VIEWS["defaults"]).sort("fact", "lang", "layer", "neuron")
        shards.write_shard(first.path, first.run, frames(first.rows))
        assert reader.poll()
        assert reader.kn(VIEWS["defaults"]).sort("fact", "lang", "layer", "neuron").equals(before)
        assert reader.sql("SELECT count(*) AS n FROM pair").item() == len(
            [row for row in first.rows["ablation"] if row["layer_b"] is not None]
        )
