"""Tables 1-3 on the hand-wired model: what is wanted, what is looked up, and what the figures say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from knscope.analysis.dkn import table as dkn_table
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import lookup as edits_lookup
from knscope.analysis.edits import table as edits_table
from knscope.analysis.edits.lookup import Judging
from knscope.analysis.edits.sets import set_id
from knscope.analysis.factcheck import choose as factcheck_choose
from knscope.analysis.factcheck import table as factcheck_table
from knscope.analysis.factcheck.judge import frequent_neurons
from knscope.analysis.layers import enrichment as layers_enrichment
from knscope.analysis.likn import table as likn_table
from knscope.analysis.likn.mismatch import FactKeys
from knscope.analysis.prompts.open_prompt import question
from knscope.analysis.runs import rows
from knscope.analysis.runs.keys import prediction_key
from knscope.analysis.stored.facts import stored_facts, subject_of
from knscope.analysis.stored.neuron_sets import Neurons, gather
from knscope.store import UserError
from knscope.store.address import Addresses
from tests.analysis import planted
from tests.analysis.made_sets import sets_of_lists
from tests.analysis.planted_store import PlantedStore


def test_facts_that_share_a_name_in_any_language_are_about_one_subject(full, reader):
    subject = subject_of(reader)
    assert subject["cap-3"] == subject["lan-3"]
    assert subject["cap-3"] != subject["cap-4"]
    assert len(set(subject.values())) == 12


def test_main_queries_are_the_scanned_ones(full, reader):
    main = stored_facts(reader, full.label).main
    assert len(main) == 48
    assert all("<unk>" not in query.template for query in main.values())


def test_main_queries_of_claims_are_chosen_without_the_test_part(full, reader, monkeypatch):
    facts = stored_facts(reader, full.label)
    test = {fact for fact, part in factcheck_choose.parts(reader, full.label).items() if part == "test"}
    odd = pl.col("template").str.contains("<unk>", literal=True)
    one_other = min(set(facts.frame["fact"]) - test)
    known = pl.when(odd).then(pl.col("fact") == one_other).otherwise(pl.col("fact").is_in(test))
    leaning = replace(facts, frame=facts.frame.with_columns(known=known, scanned=pl.lit(False)))
    relation = facts.relation
    alike = {place for place in leaning.main if relation[place[0]] == relation[one_other]}
    assert len({fact for fact, _ in alike} & test) > 1, "more facts of the test part than of the others"
    assert all("<unk>" not in leaning.main[place].template for place in alike)
    monkeypatch.setattr(factcheck_choose, "stored_facts", lambda *_: leaning)
    claims = [one for one in factcheck_choose.wanted(reader, full.view) if one.query.relation == relation[one_other]]
    assert claims and all("<unk>" in claim.query.template for claim in claims)


def test_a_claim_on_a_query_that_is_no_longer_main_is_not_judged(full, reader, monkeypatch):
    assert not any("not computed" in note for note in factcheck_table.build(reader, full.view).notes)
    facts = stored_facts(reader, full.label)
    claimed = {claim.main for claim in factcheck_choose.wanted(reader, full.view)}
    others = ~pl.col("query").is_in(claimed)
    moved = replace(facts, frame=facts.frame.with_columns(known=others))
    monkeypatch.setattr(factcheck_choose, "stored_facts", lambda *_: moved)
    table = factcheck_table.build(reader, full.view)
    assert table.frame.is_empty() and any("not computed" in note for note in table.notes)


def test_irrelevant_facts_once_stored_stay(full, reader):
    aside = edits_choose.irrelevant(reader, full.view, seed=99)
    assert not aside["new"].any()
    assert set(Counter(aside.select("fact", "kind").iter_rows()).values()) == {5, 3}


def test_wanted_edits_hold_the_planted_neurons_under_their_names(full, reader):
    wanted = {(w.group, w.name, w.lang, w.fact): w for w in edits_choose.wanted(reader, full.view)}
    own, hub = full.built.own["lan", 5], full.built.hub
    mono = {lang: full.built.mono[("lan", 5), lang] for lang in planted.LANGS}
    shared = {own, hub, full.built.relation["lan"]}
    assert set(wanted["1", "amig", "en", "lan-5"].neurons) == shared | {mono["en"]}
    assert set(wanted["2", "LIKN", "zh", "lan-5"].neurons) == shared
    assert set(wanted["2", "Mono-KN", "zh", "lan-5"].neurons) == shared | {mono["en"]}
    seq = Counter(wanted["2", "Seq-KN", "zh", "lan-5"].neurons)
    assert seq == Counter({**dict.fromkeys(shared, 2), mono["en"]: 1, mono["zh"]: 1})
    mismatched = set(wanted["2", "mismatched", "zh", "lan-5"].neurons)
    assert own not in mismatched
    assert len(wanted["1", "amig, equal size", "en", "lan-5"].neurons) == len(
        wanted["1", "bkn, equal size", "en", "lan-5"].neurons
    )
    for one in wanted.values():
        assert one.reads[0].fact == one.fact
        assert {query.lang for query in one.reads} == {one.lang}
        others = {"1": 8, "2": 8, "1 across": 0}
        assert len(one.reads) == 1 + others.get(one.group, 5)
    held = wanted["1 held-out", "amig", "en", "lan-5"]
    assert set(held.neurons) >= {own}


def test_random_rows_have_the_size_and_layers_of_the_first_methods_row_and_no_knowledge_neuron(full, reader):
    wanted = {(w.group, w.name, w.lang, w.fact): w for w in edits_choose.wanted(reader, full.view)}
    random = [w for (_, name, _, _), w in wanted.items() if name == "random, equal size"]
    assert len(random) == 48
    for one in random:
        like = wanted["1", "amig, equal size", one.lang, one.fact]
        layers = [sorted(n // planted.WIDTH for n in w.neurons) for w in (one, like)]
        assert layers[0] == layers[1]
        for method in ("amig", "bkn"):
            assert not set(one.neurons) & set(wanted["1", method, one.lang, one.fact].neurons)


def test_d_is_read_against_the_random_row_of_the_same_size(full, reader):
    frame = edits_table.build(reader, full.view, draws=200).frame
    rows = {(r["table"], r["lang"], r["edited"]): r for r in frame.iter_rows(named=True)}
    for lang in planted.LANGS:
        for table, name, random in (("1", "amig, equal size", "random, equal size"), ("2", "LIKN", "Mono-KN random")):
            row, null = rows[table, lang, name], rows[table, lang, random]
            assert (row["neurons"], row["subjects"]) == (null["neurons"], 12)
            assert row["vs_random"] == pytest.approx(row["d"] - null["d"])
            assert null["vs_random"] is None
        assert rows["1", lang, "amig, equal size"]["vs_random_low"] > 0
        assert rows["2", lang, "Mono-KN"]["vs_random"] is None, "of another size"


def test_random_rows_of_which_nothing_is_stored_take_no_facts_from_the_others(full, reader, monkeypatch):
    stored = edits_lookup.stored(reader, full.label, False)
    wanted = edits_choose.wanted(reader, full.view)
    names = edits_lookup.set_ids(reader, full.label, wanted)
    random = {names[edit.neurons] for edit in wanted if edit.name == "random, equal size"}
    kept = {key: value for key, value in stored.items() if key[0] not in random}
    monkeypatch.setattr(edits_lookup, "stored", lambda *_: kept)
    frame = edits_table.build(reader, full.view, draws=20).frame.filter(table="1", lang="en")
    rows = {row["edited"]: row for row in frame.iter_rows(named=True)}
    assert rows["amig"]["facts"] == 24 and rows["amig"]["vs_random"] is None


def test_edits_of_a_facts_own_neurons_are_specific_and_those_of_a_mismatched_fact_are_not(full, reader):
    table = edits_table.build(reader, full.view, draws=300)
    rows = {(r["table"], r["lang"], r["edited"]): r for r in table.frame.iter_rows(named=True)}
    for lang in planted.LANGS:
        likn, other = rows["2", lang, "LIKN"], rows["2", lang, "mismatched"]
        assert likn["missing"] == 0
        assert likn["facts"] == 24
        assert likn["d"] > other["d"] + 0.1
        assert other["vs_first"].startswith("-")
        assert rows["1", lang, "amig"]["paper"] in ("4.035 / 5.603", "10.285 / 7.859")
        assert rows["1 held-out", lang, "amig"]["facts"] == 24
    assert not any("not computed" in note for note in table.notes)


def test_languages_of_which_no_edit_is_read_are_named(full, reader):
    edits, _, lookup = edits_lookup.looked_up(reader, full.view, 0, Judging())
    assert lookup.lacking(edits) == []
    english = {query.id for edit in edits if edit.lang == "en" for query in edit.reads}
    half = replace(lookup, stored={key: one for key, one in lookup.stored.items() if key[1] in english})
    assert half.lacking(edits) == ["edits in zh are not computed yet"]


def test_a_changed_threshold_finds_unchanged_sets_and_counts_the_others(full, reader):
    view = full.view.with_tau("en", 0.9)
    table = edits_table.build(reader, view, draws=50)
    wanted = edits_choose.wanted(reader, view)
    name = {e.neurons: set_id(*full.sites().split(np.array(e.neurons, dtype=np.int64))) for e in wanted}
    asked = {(name[e.neurons], query.id, operation) for e in wanted for query in e.reads for operation in e.operations}
    stored = set(reader.sql('SELECT "set", query, operation FROM edit').iter_rows())
    assert table.notes[0].startswith(f"{len(asked - stored):,} of the readings")
    assert sum(len(e.reads) * len(e.operations) for e in wanted) > len(asked), "several rows speak of one reading"
    assert "not computed yet" in table.notes[0]
    rows = {(r["table"], r["lang"], r["edited"]): r for r in table.frame.iter_rows(named=True)}
    assert rows["1", "zh", "amig"]["missing"] == 0


def test_claims_are_dealt_within_parts_and_read_scanned_and_random_neurons(full, reader):
    wanted = factcheck_choose.wanted(reader, full.view)
    part = factcheck_choose.parts(reader, full.label)
    assert {len(w.neurons) % 2 for w in wanted} == {0}
    for correct in (True, False):
        assert Counter(w.query.lang for w in wanted if w.correct is correct)["en"] == 24
    own = {w.query.fact: w.query.object for w in wanted if w.correct and w.query.lang == "en"}
    for w in wanted:
        assert w.part == part[w.query.fact]
        if not w.correct and w.query.lang == "en":
            giver = next(f for f, o in own.items() if o == w.query.object)
            assert giver != w.query.fact
            assert part[giver] == w.part


def test_a_typed_question_deals_no_claim_of_others_anew(tmp_path):
    made = PlantedStore(tmp_path / "asked.knstore")
    made.attribute()
    with made.reader() as before:
        wanted = factcheck_choose.wanted(before, made.view)
    like = made.queries[0]
    batch = rows.Batch()
    for number in range(9):  # so many subjects would move the borders between the parts
        typed = question({"template": like.template, "subject": f"s{number}", "object": like.object, "lang": "en"})
        batch.add("query", rows.query_row(typed))
        (found,) = made.engine.predict([made.encode(like)])
        key = prediction_key(made.label, typed.id)
        batch.add(
            "prediction", rows.prediction_row(key, made.label, made.encode(like), found, ["?"]) | {"query": typed.id}
        )
    made.commit(batch)
    with made.reader() as after:
        assert len(stored_facts(after, made.label).relation) == len({query.fact for query in made.queries}) + 9
        assert factcheck_choose.wanted(after, made.view) == wanted


def test_the_models_own_answer_judges_planted_claims_perfectly_and_always_true_does_not(full, reader):
    table = factcheck_table.build(reader, full.view)
    rows = {(r["lang"], r["judge"]): r for r in table.frame.iter_rows(named=True)}
    for lang in planted.LANGS:
        assert rows[lang, "argmax"]["accuracy"] == 1.0
        assert rows[lang, "probability"]["auroc"] == 1.0
        assert rows[lang, "always true"]["f1"] == pytest.approx(2 / 3)
        assert rows[lang, "object frequency"]["auroc"] == pytest.approx(0.5)
        assert rows[lang, "argmax"]["claims"] % 2 == 0
    assert (rows["en", "argmax"]["paper"], rows["en", "argmax"]["paper_accuracy"]) == ("0.362 / 0.021", "0.609 / 0.505")
    assert rows["zh", "DKN, attribution"]["paper"] == "0.654 / 0.669"
    printed = factcheck_table.printed().frame
    assert printed.height == 12
    assert (~printed["possible"]).sum() == 8
    assert not any("not computed" in note for note in table.notes)


def test_tables_of_a_store_without_edits_or_claims_say_what_is_missing(tmp_path):
    made = PlantedStore(tmp_path / "bare.knstore", facts=2)
    made.attribute()
    with made.reader() as opened:
        table = edits_table.build(opened, made.view, draws=20)
        assert set(table.frame["facts"]) == {0}
        assert "not computed yet" in table.notes[0]
        assert factcheck_table.build(opened, made.view).frame.is_empty()
        single = made.view.with_(langs=("en",))
        assert set(edits_table.build(opened, single, draws=20).frame["table"]) <= {"1", "1 held-out"}


@pytest.mark.parametrize(("scans", "why"), [(True, "wants more facts a relation"), (False, "no pairs are ablated yet")])
def test_table_3_without_a_claim_says_why(tmp_path, scans, why):
    made = PlantedStore(tmp_path / "few.knstore", facts=1)
    made.attribute()
    view = made.view if scans else made.view.with_(method="bkn")
    with made.reader() as opened:
        table = factcheck_table.build(opened, view)
        assert table.frame.is_empty()
        assert why in table.notes[0]


def test_no_table_prints_a_number_that_is_none(full, reader):
    for table in (edits_table.build(reader, full.view, draws=50), factcheck_table.build(reader, full.view)):
        for column in table.frame.iter_columns():
            if column.dtype.is_float():
                assert np.isfinite(column.drop_nulls().to_numpy()).all()


def test_a_row_of_the_table_fact_by_fact_holds_what_was_read_before_and_after(full, reader):
    found = edits_table.facts_of(reader, full.view, "1", "en", "amig")
    row = next(r for r in found.iter_rows(named=True) if r["fact"] == "lan-5")
    stored = reader.sql(
        'SELECT e.operation, e.p_before, e.p_after FROM edit e JOIN query q USING (query) JOIN edited_set s USING ("set", model) '
        "WHERE q.fact = 'lan-5' AND q.lang = 'en' AND s.n = ?",
        [row["neurons"]],
    )
    after = {
        op: {(round(b, 9), round(a, 9)) for o, b, a in stored.iter_rows() if o == op} for op in stored["operation"]
    }
    assert (round(row["p"], 9), round(row["p_suppressed"], 9)) in after["suppress"]
    assert (round(row["p"], 9), round(row["p_enhanced"], 9)) in after["enhance"]
    assert row["p_suppressed"] < row["p"] and row["aside"] >= 0
    assert (
        found.height
        == edits_table.build(reader, full.view, draws=50).frame.filter(table="1", lang="en", edited="amig")["facts"][0]
    )


def test_the_area_under_every_rows_curve_is_its_auroc(full, reader):
    curves = factcheck_table.curves(reader, full.view)
    rows = factcheck_table.build(reader, full.view).frame
    assert set(curves) == set(rows.select("lang", "judge").iter_rows())
    for lang, judge, auroc in rows.select("lang", "judge", "auroc").iter_rows():
        curve = curves[lang, judge]
        assert auroc is None or np.trapezoid(curve.right, curve.wrong) == pytest.approx(auroc, abs=1e-12)


def test_held_out_rows_stand_beside_the_main_rows_of_both_tables(full, reader):
    table = edits_table.build(reader, full.view, draws=20)
    named = {(row["table"], row["edited"]) for row in table.frame.iter_rows(named=True)}
    assert {name for group, name in named if group == "1 held-out"} == {"amig", "bkn"}
    assert {name for group, name in named if group == "2 held-out"} == {"LIKN", "Mono-KN", "Seq-KN", "Union"}
    for one in edits_choose.wanted(reader, full.view):
        if one.group.endswith("held-out"):
            assert "<unk>" in one.reads[0].template or one.reads[0].template != one.reads[1].template


@pytest.mark.parametrize("delta", ["absolute", "relative", "ratio"])
@pytest.mark.parametrize("exclude", ["none", "known", "caps"])
def test_changes_can_be_read_in_every_way_of_the_literature(full, reader, delta, exclude):
    table = edits_table.build(reader, full.view, draws=20, judging=Judging(delta, exclude))
    assert table.notes[0].startswith(f"changes: {delta}")
    for column in table.frame.iter_columns():
        if column.dtype.is_float():
            assert np.isfinite(column.drop_nulls().to_numpy()).all()


def test_a_way_to_read_changes_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="absolute, relative, ratio"):
        Judging("percent")


def test_t_may_be_a_share_of_the_facts(full, reader):
    most, facts = (factcheck_table.build(reader, full.view, share_of=name).frame for name in ("most", "facts"))
    size = {"most": most, "facts": facts}
    neurons = {name: frame.filter(judge="DKN, attribution")["neurons"].to_list() for name, frame in size.items()}
    assert sum(filter(None, neurons["facts"])) <= sum(filter(None, neurons["most"]))
    with pytest.raises(UserError, match="most, facts"):
        factcheck_table.build(reader, full.view, share_of="half")


def test_planted_pairs_are_degenerate_or_redundant_under_exactly_these_names(full, reader):
    table = dkn_table.pairs(reader, full.view)
    found = {(row["fact"], row["lang"]): row for row in table.frame.iter_rows(named=True)}
    facts = {f"{relation}-{subject}": (relation, subject) for relation, subject in full.built.pairs}
    assert set(found) == {(name, lang) for name in facts for lang in planted.LANGS}
    for (name, _), row in found.items():
        kind = "degenerate" if facts[name] in planted.DEGENERATE else "redundant"
        assert row["kind"] == kind
        members = {row[f"layer_{end}"] * planted.WIDTH + row[f"neuron_{end}"] for end in "ab"}
        assert members == set(full.built.pairs[facts[name]])
    counts = dkn_table.build(reader, full.view).frame.filter(lang="all", neurons="knowledge neurons").row(0, named=True)
    assert (counts["paper"], counts["degenerate"], counts["redundant"]) == (4, 2, 2)


def test_facts_are_named_by_what_their_languages_share(full, reader):
    table = likn_table.facts(reader, full.view)
    assert table.frame.height == 24
    for row in table.frame.iter_rows(named=True):
        assert row["observed"] >= 2
        assert row["a p"] <= row["a q"] + 1e-12
        assert row["verdict"] in ("own", "undecided")
    one = likn_table.facts(reader, full.view.with_(langs=("en",)))
    assert one.frame.is_empty()


def test_subsets_of_n_are_enriched_only_where_they_are(full, reader):
    frame = layers_enrichment.build(reader, full.view, draws=50).frame
    for kind in ("en", "zh", "LIKN", "DKN en"):
        rows = frame.filter(kind=kind)
        assert rows["share"].sum() == pytest.approx(1.0)
        assert rows["pooled"].sum() == pytest.approx(1.0)
    assert frame.filter(kind="LIKN")["expected"].sum() == pytest.approx(1.0)
    degenerate = frame.filter(kind="DKN en", layer=0).row(0, named=True)
    assert degenerate["share"] == 1.0
    assert degenerate["enrichment"] > 1.0


def test_enrichment_is_observed_over_expected_of_a_random_subset():
    counts = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    expected = np.array([[1.0, 1.0], [0.25, 0.75], [0.0, 0.0]])
    rows = list(
        layers_enrichment.layer_rows(
            layers_enrichment.Kind("LIKN", counts, expected, ["a", "b", "c"]), [0, 1], draws=50
        )
    )
    assert [row["n"] for row in rows] == [2, 1]
    assert [row["share"] for row in rows] == [0.5, 0.5]
    assert rows[0]["enrichment"] == pytest.approx(2 / 1.25)
    assert rows[1]["enrichment"] == pytest.approx(1 / 1.75)
    nobody = layers_enrichment.Kind("LIKN", np.zeros((2, 2)), np.zeros((2, 2)), ["a", "b"])
    assert list(layers_enrichment.layer_rows(nobody, [0, 1], draws=5)) == []


def test_every_pair_of_three_languages_has_a_row_of_its_own():
    rng = np.random.default_rng(0)
    rows = [[rng.choice(40, 6, replace=False) for _ in range(3)] for _ in range(8)]
    sets = sets_of_lists(rows, [40])
    keys = FactKeys(np.arange(8) % 2, np.arange(8), np.repeat(np.arange(8)[:, None], 3, axis=1))
    facts = tuple(f"f{i}" for i in range(8))
    three = Neurons(facts, ("en", "zh", "fr"), ("r1", "r2") * 4, sets, sets, keys, ((("x",), ("y",), ("z",)),) * 8)
    assert {row["langs"] for row in likn_table.table_rows(three)} == {"en+zh+fr"}
    found = likn_table.pair_rows(three)
    pairs = {row["langs"]: row for row in found[:3]}
    assert set(pairs) == {"en+zh", "en+fr", "zh+fr"}
    assert [row["sets"] for row in found[3:]] == [f"top 6, {row['sets']}" for row in found[:3]]
    literal = np.mean([len(set(row[0]) & set(row[2])) for row in rows])
    assert pairs["en+fr"]["observed"] == pytest.approx(literal)


def test_every_figure_is_repeated_at_equal_size():
    rng = np.random.default_rng(1)
    ranked = sets_of_lists([[rng.permutation(40) for _ in range(2)] for _ in range(8)], [40])
    sizes = [[5, 9], [3, 12], [4, 7], [6, 8], [5, 10], [5, 6], [2, 9], [7, 11]]
    cut = [[ranked.get(f, k)[: sizes[f][k]] for k in range(2)] for f in range(8)]
    keys = FactKeys(np.arange(8) % 2, np.arange(8), np.repeat(np.arange(8)[:, None], 2, axis=1))
    tokens = tuple(((("x",), ("x",)) if f < 4 else (("x",), ("y",))) for f in range(8))
    sets = sets_of_lists(cut, [40])
    both = Neurons(tuple("abcdefgh"), ("en", "zh"), ("r1", "r2") * 4, sets, ranked, keys, tokens)
    rows = {row["sets"]: row for row in likn_table.table_rows(both)}
    parts = ["shared answer token", "no shared token", "relation r1", "relation r2"]
    assert list(rows) == ["at the thresholds", "top 5 of each", *parts, *(f"top 5, {name}" for name in parts)]
    for name, chosen in (("top 5 of each", range(8)), ("top 5, relation r2", (1, 3, 5, 7))):
        top = [len(set(ranked.get(f, 0)[:5].tolist()) & set(ranked.get(f, 1)[:5].tolist())) for f in chosen]
        assert rows[name]["observed"] == pytest.approx(np.mean(top)) and rows[name]["size"] == "5.0 5.0"


def test_what_is_drawn_for_a_fact_does_not_depend_on_what_else_is_looked_at(reader, full):
    every = {(e.group, e.name, e.lang, e.fact): e.neurons for e in edits_choose.wanted(reader, full.view)}
    alone = edits_choose.wanted(reader, full.view.with_(relations=("lan",)))
    drawn = [e for e in alone if e.name in ("Mono-KN random", "mismatched")]
    assert drawn and all(every[e.group, e.name, e.lang, e.fact] == e.neurons for e in drawn)


def test_sets_of_equal_size_are_held_against_one_of_that_size(reader, full):
    rows = {
        (r["lang"], r["edited"]): r
        for r in edits_table.build(reader, full.view, draws=50).frame.iter_rows(named=True)
        if r["table"] == "1"
    }
    for lang in full.view.langs:
        assert rows[lang, "amig"]["vs_first"] is None and rows[lang, "amig, equal size"]["vs_first"] is None
        own = rows[lang, "bkn, equal size"]
        assert own["neurons"] == rows[lang, "amig, equal size"]["neurons"]
        assert own["d"] == pytest.approx(rows[lang, "amig, equal size"]["d"])
        assert own["vs_first"] == "all alike", "the same sets"


def test_subjects_of_the_overlap_are_those_of_every_other_table(reader, full):
    neurons = gather(reader, full.view)
    subject = subject_of(reader)
    same = [[subject[a] == subject[b] for b in neurons.facts] for a in neurons.facts]
    assert (neurons.keys.subject[:, None] == neurons.keys.subject).tolist() == same
    one = gather(reader, full.view.with_(facts=(neurons.facts[3],)))
    assert one.facts == (neurons.facts[3],)
    query = stored_facts(reader, full.label).main["cap-2", "zh"].id
    of_query = gather(reader, full.view.with_(queries=(query,)))
    assert of_query.facts == ("cap-2",) and of_query.sets.present.tolist() == [[False, True]]


def test_claims_of_relations_that_are_not_looked_at_are_not_judged(reader, full):
    [whole], [one] = (
        factcheck_table._asked(reader, full.view.with_(langs=("en",), relations=chosen), 0)[0]
        for chosen in ((), ("lan",))
    )
    assert set(whole.claims["relation"]) == {"cap", "lan"} and set(one.claims["relation"]) == {"lan"}
    assert one.claims.height == whole.claims.filter(relation="lan").height


def test_random_neurons_of_the_same_layers_are_of_the_same_layers():
    addresses = Addresses.of([(0, 0, 10), (1, 10, 10), (2, 20, 10)])
    found = factcheck_table._same_layers([11, 12, 25], [*range(10), 15, 16, 17, 28, 29], addresses, [0])
    assert len(set(found)) == 3 and addresses.split(sorted(found))[0].tolist() == [1, 1, 2]
    assert factcheck_table._same_layers([11, 12], [13], addresses, [0]) == [13], "as far as there are"


def test_a_share_is_not_reached_by_being_equal():
    assert frequent_neurons([63, 64, 90], 0.7).tolist() == [False, True, True]


@pytest.mark.parametrize("share", [0.7, 0.0])
def test_the_macro_says_of_every_claim_what_the_table_judges_by(full, reader, share):
    view = full.view.with_(dkn_share=share)
    rows = {(r["fact"], r["lang"], r["object"]): r for r in reader.factcheck(view).iter_rows(named=True)}
    judged = 0
    for one in factcheck_table._asked(reader, view, 0)[0]:
        _, contenders, members = factcheck_table._contenders(one)
        scores = contenders["DKN, attribution"].scores
        sizes = dict(zip(sorted(set(one.claims["relation"])), map(len, members["DKN"].values()), strict=True))
        for claim, score in zip(one.claims.iter_rows(named=True), scores, strict=True):
            row = rows[claim["fact"], claim["lang"], claim["object"]]
            assert row["part"] == claim["part"]
            assert row["neurons"] == sizes[claim["relation"]]
            assert row["attribution"] == pytest.approx(score, rel=1e-12, nan_ok=True) or np.isnan(score)
            assert row["judged_true"] == (None if np.isnan(score) else bool(score > view.lam))
            judged += row["attribution"] is not None
    assert judged > 20
    assert {r["judged_true"] for r in reader.factcheck(view.with_(lam=1e9)).iter_rows(named=True)} <= {False, None}


def test_edits_of_a_single_subject_have_no_figures_and_say_why(tmp_path):
    made = PlantedStore(tmp_path / "one.knstore", facts=1)
    made.attribute()
    made.edit()
    with made.reader() as opened:
        table = edits_table.build(opened, made.view, draws=20)
        assert "no irrelevant fact to compare with" in table.notes[0]
        assert table.frame["facts"].min() > 0 and table.frame["d"].null_count() == table.frame.height
        other = edits_table.build(opened, made.view, draws=20, judging=Judging(suppress="resample"))
        assert other.frame.is_empty() and "another relation" in other.notes[0]
