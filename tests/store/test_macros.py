"""The macros against eq. 6-10 written out in Python (literal.py), over stores and thresholds drawn at random."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from knscope import store
from knscope.store.reader import Reader
from knscope.store.view import View
from tests.store import literal, synthetic

BASE = View(synthetic.MODELS[0], "amig", synthetic.LANGS)


def drawn_view(seed: int) -> View:
    """Any thresholds, any restriction."""
    rng = np.random.default_rng(seed)
    langs = tuple(rng.permutation(synthetic.LANGS)[: rng.integers(1, 4)].tolist())
    facts = tuple(f"fact-{n:05}" for n in rng.choice(30, 12, replace=False)) if rng.random() < 0.3 else ()
    return View(
        str(rng.choice(synthetic.MODELS)), "amig", langs,
        taus=tuple((lang, float(rng.choice([0.05, 0.1, 0.2, 0.3, 0.5, rng.uniform(0.05, 0.9)]))) for lang in langs),
        relations=tuple(rng.choice(synthetic.RELATIONS, rng.integers(0, 3), replace=False).tolist()), facts=facts,
        known=bool(rng.random() < 0.3), template_share=float(rng.choice([0, 0.4, 0.5, 0.6, 1])), t_low=float(rng.uniform(0, 0.4)),
        t_high=float(rng.uniform(0, 0.5)), delta=float(rng.uniform(0, 1)), drop=str(rng.choice(["relative", "absolute"])),
    )  # fmt: skip


VIEWS = [BASE, *(drawn_view(seed) for seed in range(5))]
every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{'-'.join(view.langs)}:{view.taus[0][1]:.2f}")


@every_view
def test_knowledge_neurons_are_those_of_equations_6_and_7(reader: Reader, view: View) -> None:
    got: dict[literal.Place, dict] = {}
    for fact, _, lang, layer, neuron, rel, share in reader.kn(view).iter_rows():
        got.setdefault((fact, lang), {})[layer, neuron] = (rel, share)
    assert got == {place: members for place, members in literal.kn(reader, view).items() if members}


@every_view
def test_language_independent_neurons_are_the_intersection_of_equation_8(reader: Reader, view: View) -> None:
    got: dict[str, dict] = {}
    for fact, _, layer, neuron, rel, rel_max in reader.likn(view).iter_rows():
        got.setdefault(fact, {})[layer, neuron] = (rel, rel_max)
    assert got == literal.likn(reader, view)


@every_view
def test_layer_hist_has_pooled_counts_and_the_mean_share_over_facts(reader: Reader, view: View) -> None:
    got = {(kind, layer): (n, share) for kind, layer, n, share in reader.layer_hist(view).iter_rows()}
    expected = literal.layer_hist(reader, view, len(synthetic.WIDTHS))
    assert got.keys() == expected.keys()
    for place, (n, share) in expected.items():
        assert got[place][0] == n
        assert got[place][1] == pytest.approx(share, abs=1e-12)


@every_view
def test_degenerate_pairs_are_those_of_equations_9_and_10_in_every_role(reader: Reader, view: View) -> None:
    got = {}
    for row in reader.dkn(view).to_dicts():
        a, b = (row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"])
        got[row["role"], row["fact"], row["lang"], a, b] = row
    expected = literal.dkn(reader, view)
    assert got.keys() == expected.keys()
    for key, values in expected.items():
        assert got[key]["paper"] is True
        assert (got[key]["strict"], got[key]["expressed"]) == (values["strict"], values["expressed"])
        found = math.nan if got[key]["interaction"] is None else got[key]["interaction"]
        assert found == pytest.approx(values["interaction"], abs=1e-9, nan_ok=True)


@every_view
def test_overlap_counts_languages_two_by_two_and_all_together(reader: Reader, view: View) -> None:
    got = {tuple(row[:2]): tuple(row[2:]) for row in reader.overlap(view).iter_rows()}
    assert got == literal.overlap(reader, view)


@every_view
def test_layers_of_degenerate_pairs_count_a_member_once_a_fact(reader: Reader, view: View) -> None:
    got = {layer: (n, pytest.approx(share, abs=1e-12)) for layer, n, share in reader.dkn_layers(view).iter_rows()}
    assert got == literal.dkn_layers(reader, view)


@every_view
def test_a_pair_is_degenerate_where_each_neuron_serves_other_facts_alone(reader: Reader, view: View) -> None:
    some = reader.dkn(view)["fact"].unique().sort()[::2].to_list()
    for pairs in (view, view.with_(facts=tuple(some)) if some else view):
        got = {}
        for row in reader.dkn_service(view, pairs).to_dicts():
            a, b = (row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"])
            got[row["fact"], row["lang"], a, b] = (row["a_only"], row["b_only"], row["serves"])
        assert got == literal.dkn_service(reader, view, pairs)


@every_view
def test_rates_count_eligible_pairs_and_controls_stand_in_by_position(reader: Reader, view: View) -> None:
    got = {tuple(row[:2]): tuple(row[2:]) for row in reader.dkn_rate(view).iter_rows()}
    expected = {place: counts for place, counts in literal.dkn_rate(reader, view).items() if counts[:2] != (0, 0)}
    assert {place: counts for place, counts in got.items() if counts[:2] != (0, 0)} == expected


def test_neuron_at_the_threshold_is_outside_n(reader: Reader) -> None:
    best = float(reader.sql("SELECT max(rel) FROM score WHERE rel < 1").item())
    view = BASE.with_(langs=("en",), template_share=0.0)
    above = reader.kn(view.with_tau("en", float(np.nextafter(best, 0))))
    at = reader.kn(view.with_tau("en", best))
    assert above["rel"].min() >= best or best not in above["rel"]
    assert at.filter(at["rel"] <= best).is_empty()


def test_single_language_has_no_overlap(reader: Reader) -> None:
    assert reader.likn(BASE.with_(langs=("en",))).is_empty()


def test_a_fact_missing_in_a_language_shares_nothing(reader: Reader) -> None:
    assert "fact-00005" not in reader.likn(BASE)["fact"].to_list()
    assert "fact-00005" in reader.likn(BASE.with_(langs=("en", "zh")))["fact"].to_list()


def test_a_query_without_positive_scores_counts_but_holds_no_neuron(reader: Reader) -> None:
    view = BASE.with_(facts=("fact-00004",))
    assert set(reader.kn(view)["share"]) == {0.5}
    assert reader.kn(view.with_(template_share=0.6)).is_empty()


def test_a_probability_of_zero_before_has_no_relative_drop(reader: Reader) -> None:
    view = BASE.with_(facts=("fact-00003",), langs=("en",))
    assert reader.dkn(view).is_empty()
    assert reader.dkn_rate(view)["pairs"].min() > 0


def test_a_pair_too_near_certainty_has_no_interaction_and_is_not_strict(reader: Reader) -> None:
    view = BASE.with_(facts=("fact-00006",), langs=("zh",), taus=(("zh", 0.05),), t_low=0.4, t_high=0.2, delta=0.0)
    for got in (reader.dkn(view).filter(role="kn"), reader.dkn_service(view), reader.live.dkn_service(view)):
        assert got.height > 2 and set(got["p"]) == {1.0}
        assert got["interaction"].null_count() == got.height
        assert not got["strict"].any() and got["strict"].null_count() == 0
    rates = reader.dkn_rate(view).filter(role="kn").to_dicts()[0]
    assert (rates["paper"], rates["strict"]) == (got.height, 0)


@pytest.mark.parametrize("base", [12, 17, 24])
def test_additive_effects_are_never_strict_within_float32_rounding(reader: Reader, base: float) -> None:
    """Without that, 1 - p is off by so much that they seem to interact."""
    logits = np.array([base, base - 5.5, base - 5.5, base - 11.0])
    exact = 1 / (1 + np.exp(-logits))
    p = [float(np.float32(value)) for value in exact]
    text = "SELECT log_odds($4) - log_odds($2) - log_odds($3) + log_odds($1) AS interaction"
    found = reader.sql(text, p)["interaction"].item()
    assert found is None
    clear = [float(value) for value in 1 / (1 + np.exp(11 - logits + base - 12))]
    assert reader.sql(text, clear)["interaction"].item() == pytest.approx(0.0, abs=1e-6)


def test_log_odds_are_exact_within_float32(reader: Reader) -> None:
    for p in (1e-30, 1e-20, 1e-12, 0.5, 1 - 2e-5):
        assert reader.sql("SELECT log_odds($1) AS l", [p])["l"].item() == pytest.approx(math.log(p) - math.log1p(-p))
    for p in (0.0, 1e-31, 1 - 9e-6, 1.0):
        assert reader.sql("SELECT log_odds($1) AS l", [p])["l"].item() is None


def test_stays_is_the_mean_share_over_ordered_pairs_of_templates(reader: Reader) -> None:
    for view in (
        BASE,
        BASE.with_(langs=("en",), known=True),
        BASE.with_(taus=tuple((lang, 0.6) for lang in BASE.langs)),
    ):
        above: dict[literal.Place, list[set[literal.Neuron]]] = {}
        for row in literal.queries(reader, view):
            hold = {n for n, rel in row["rel"].items() if rel > view.tau[row["lang"]]}
            above.setdefault((row["fact"], row["lang"]), []).append(hold)
        several = 0
        for fact, lang, stays, n_kn in reader.queries(view).select("fact", "lang", "stays", "n_kn").iter_rows():
            sets = above.get((fact, lang), []) if n_kn is not None else []
            shared = [len(a & b) for i, a in enumerate(sets) for j, b in enumerate(sets) if i != j]
            sizes = sum(len(a) for a in sets) * (len(sets) - 1)
            several += bool(sizes)
            assert stays == (pytest.approx(sum(shared) / sizes) if sizes else None)
        assert several > 10


def test_restricting_a_view_to_queries_restricts_every_table(reader: Reader) -> None:
    chosen = tuple(reader.queries(BASE).filter(lang="en")["query"].head(4))
    view = BASE.with_(queries=chosen)
    assert set(reader.queries(view)["query"]) == set(chosen)
    assert set(reader.kn(view)["lang"]) == {"en"}
    assert set(reader.dkn(view)["query"]) <= set(chosen)


def test_query_table_counts_neurons_above_tau_and_leaves_unattributed_rows_empty(tmp_path: Path) -> None:
    path = synthetic.build(
        tmp_path / "one.knstore", synthetic.Size(facts=4, models=synthetic.MODELS[:1], methods=("amig",))
    )
    with store.open(path) as reader:
        rows = reader.queries(BASE)
        expected = {
            row["query"]: sum(rel > BASE.tau[row["lang"]] for rel in row["rel"].values())
            for row in literal.queries(reader, BASE)
        }
        assert dict(rows.select("query", "n_kn").iter_rows()) == expected
        assert rows["residual"].null_count() == 0
        assert rows.columns[:10] == [
            "query",
            "fact",
            "relation",
            "lang",
            "template",
            "subject",
            "object",
            "p",
            "p_root",
            "rank",
        ]


def test_the_sql_a_pane_shows_gives_what_the_pane_shows(reader: Reader) -> None:
    for name in ("queries", "kn", "likn", "layer_hist", "overlap", "dkn", "dkn_rate", "dkn_layers", "dkn_service"):
        shown = reader.sql(reader.macro_sql(name, BASE))
        asked = getattr(reader, name)(BASE)
        # Sums run over threads in no fixed order, so means may differ in their last bit.
        order = [name for name, kind in shown.schema.items() if not kind.is_float()]
        assert_frame_equal(shown.sort(order), asked.sort(order), rel_tol=1e-12)
