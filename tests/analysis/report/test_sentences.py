"""One plain sentence a table, from its own figures."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from knscope.analysis.report import sentences


def _likn(**changes: Any) -> pl.DataFrame:
    row = {"observed": 1.375, "a": 0.96, "c": None, "verdict": "relation", "vs_a": "~-0.25…1.93"}
    return pl.DataFrame([{**row, **changes}])


def test_likn_sentence_says_what_is_shared_beside_its_controls() -> None:
    assert sentences.of_likn(_likn(), ("en", "fr")) == (
        "English and French share 1.38 neurons a fact: they belong to the relation, not to the fact; a fact shares "
        "0.96 with others of the same relation (difference ~−0.25 … 1.93)."
    )
    own = sentences.of_likn(_likn(c=1.2, verdict="own", vs_a="too few"), ("en", "de", "zh-hans"))
    assert own.startswith("English, German and Chinese share 1.38 neurons a fact: they are the fact's own;")
    assert own.endswith("0.96 with others of the same relation, 1.20 with others of the same answer.")
    assert "share 0.00" in sentences.of_likn(_likn(observed=0.0, verdict="empty"), ("en", "xx", "fr", "de"))
    assert sentences.of_likn(_likn(observed=None), ("en", "xx")) == "No fact has neurons in English and xx."
    assert sentences.of_likn(_likn().clear(), ("en", "fr")) == ""


def test_layers_sentence_names_the_fullest_layer_of_each_language() -> None:
    rows = [("en", 0, 0.2), ("en", 29, 0.8), ("LIKN", 0, 0.9), ("LIKN", 29, None), ("DKN en", 0, 1.0)]
    frame = pl.DataFrame(rows, schema=("kind", "layer", "share"), orient="row")
    said = "The layer with the most of a fact's neurons: English 29 (80%), those of all languages 0 (90%)."
    assert sentences.of_table("enrichment", frame, ("en",)) == said
    assert sentences.of_layers(frame.filter(kind="DKN en")) == ""


@pytest.mark.parametrize("verdict", sorted(sentences._SHARED))
def test_every_verdict_has_words(verdict: str) -> None:
    assert sentences._SHARED[verdict] in sentences.of_likn(_likn(verdict=verdict), ("en", "fr"))


def test_pairs_sentence_puts_controls_beside_the_rate() -> None:
    rates = pl.DataFrame({"role": ["kn", "layer_control"], "pairs": [200, 100], "paper": [20, 5], "strict": [10, 0]})
    assert sentences.of_pairs(rates, "strict") == (
        "10 of 200 pairs (5.0%) back each other up by the strict rule; so do 0.0% of other pairs in the same layers."
    )
    few = sentences.of_pairs(rates.with_columns(pairs=50_000, strict=pl.Series([92, 6])), "strict")
    assert "(0.2%)" in few and "so do 0.01% of" in few, "a few of many are not none"
    assert sentences.of_pairs(rates.clear(), "paper").startswith("No fact")


def test_checks_sentence_compares_neurons_with_the_probability() -> None:
    rows = [
        {"lang": "en", "judge": "probability", "auroc": 0.81, "auroc_interval": "0.7…0.9", "vs_probability": None},
        {
            "lang": "en",
            "judge": "DKN, activation",
            "auroc": 0.62,
            "auroc_interval": "0.5…0.7",
            "vs_probability": "-0.30…-0.08",
        },
        {"lang": "zh", "judge": "argmax", "auroc": 1.0, "auroc_interval": "too few", "vs_probability": None},
    ]
    assert sentences.of_checks(pl.DataFrame(rows)) == (
        "The best judge is probability in English (AUROC 0.81); DKN, activation in English: 0.62, "
        "worse than the probability."
    )
    for interval, said in (
        ("0.1…0.2", "better than"),
        ("~-0.1…0.2", "no better than"),
        ("too few", "no interval against"),
    ):
        rows[1]["vs_probability"] = interval
        assert said in sentences.of_checks(pl.DataFrame(rows))
    assert sentences.of_checks(pl.DataFrame(rows[2:])) == "Too few claims to tell the judges apart."


def test_edits_and_neurons_sentences_name_the_first_row() -> None:
    row = {
        "edited": "N",
        "lang": "en",
        "d": -0.4,
        "verdict": "generic",
        "vs_random": "-0.2…0.1",
        "vs_random_interval": "-0.2…0.1",
    }
    assert sentences.of_edits(pl.DataFrame([row])) == (
        "Editing the neurons of N moves their fact in English by −0.40 in log p more than other facts: facts of any kind move as much "
        "(difference −0.2 … 0.1)."
    )
    listed = pl.DataFrame({"layer": [17, 3], "neuron": [345, 2], "facts": [23, 1], "all_langs": [1, 0]})
    assert sentences.of_serving(listed, ("en", "fr")) == (
        "Of 2 neurons 17:345 serves the most facts, 23 facts; 1 serve a fact in both English and French."
    )
    assert (
        sentences.of_neurons(40, 3, ("en", "fr")) == "3 of this fact's 40 neurons are found in both English and French."
    )
    five = ("en", "fr", "de", "zh", "es")
    assert (
        sentences.of_neurons(7, 0, five, ("en",))
        == "This fact has 7 neurons in English and none in the other 4 languages."
    )
    assert sentences.of_neurons(1, 0, ("en", "fr"), ("fr",)) == "This fact has 1 neuron in French and none in English."


def test_larger_sets_are_counted_by_size_beside_controls_that_have_any() -> None:
    rows = [
        {"size": size, "sets": found, "ablated": 5, "missing": 2}
        for size, counts in ((3, (12, 0, 5)), (4, (1, 0, 0)))
        for found in counts
    ]
    said = sentences.of_sets(pl.DataFrame(rows))
    assert said == (
        "Degenerate sets of more than two neurons: 12 sets of 3 (controls 0 and 5), 1 set of 4; 12 sets are not computed yet."
    )
    nothing = pl.DataFrame(rows).with_columns(ablated=pl.lit(0))
    assert sentences.of_sets(nothing) == "Of larger sets nothing is computed yet: R starts a run, with what: sets."


def test_flips_count_first_answers_lost_and_gained() -> None:
    ranks = {"rank": [1, 1, 1, 2, 9, None], "rank_suppressed": [1, 2, 7, 1, 9, 1], "rank_enhanced": [1, 1, 1, 1, 2, 1]}
    assert sentences.of_flips(pl.DataFrame(ranks)) == (
        "Suppressed, 2 of 3 answers that came first no longer do. Enhanced, 1 of 2 others come first."
    )
    assert sentences.of_flips(pl.DataFrame(ranks).clear()) == ""
