"""Edits by the kind of facts they are read on: who is drawn, what the figures say, whose first answers change."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import lookup as edits_lookup
from knscope.analysis.edits import others as edits_others
from knscope.analysis.edits import table as edits_table
from knscope.analysis.edits.sets import KINDS, draw_alike


def test_facts_of_the_same_relation_are_drawn_by_their_answers_in_every_language():
    n = 60
    relation = [f"r{i % 2}" for i in range(n)]
    subject = [f"s{i // 3}" for i in range(n)]
    answer = [{"en": f"e{i % 5}", "zh": f"z{i % 5 if i % 4 else i}"} for i in range(n)]
    known = [i % 3 != 0 for i in range(n)]
    labels = [f"f{i}" for i in range(n)], relation, subject
    for kind, all_agree in (("same answer", True), ("same relation", False)):
        drawn = draw_alike(*labels, answer, known, kind, seed=3)
        assert drawn.kind == kind
        for i in range(n):
            eligible = {
                j
                for j in range(n)
                if relation[j] == relation[i]
                and subject[j] != subject[i]
                and all((answer[i][lang] == answer[j][lang]) == all_agree for lang in ("en", "zh"))
            }
            mine = drawn.other[drawn.fact == i].tolist()
            assert set(mine) <= eligible and len(mine) == len(set(mine)) == min(3, len(eligible))
            alike = sum(known[j] == known[i] for j in eligible)
            assert sum(known[j] == known[i] for j in mine) == min(3, alike), "of the same known flag first"


def test_other_facts_are_of_three_kinds_irrelevant_ones_first(full, reader):
    relation = edits_choose.stored_facts(reader, full.label).relation
    for edit in edits_choose.wanted(reader, full.view):
        assert list(edit.kinds) == sorted(edit.kinds, key=KINDS.index)
        for query, kind in zip(edit.reads[1:], edit.kinds, strict=True):
            assert (relation[query.fact] != relation[edit.fact]) == (kind == "other relation")
        counts = {kind: edit.kinds.count(kind) for kind in set(edit.kinds)}
        if edit.group == edits_choose.ACROSS:
            assert counts == {} and edit.reads[0].lang == edit.lang
        elif edit.group.endswith("held-out"):
            assert counts == {"other relation": 5}
        else:
            assert counts == {"other relation": 5, "same relation": 3}, "no two planted facts have one answer"


def test_d_by_kind_is_the_mean_over_facts_of_their_change_less_that_of_facts_of_the_kind(full, reader):
    frame = edits_others.build(reader, full.view, draws=200).frame
    rows = reader.sql('SELECT "set", query, operation, p_before, p_after FROM edit')
    change = {
        (a, q, op): np.log(max(after, 1e-12) / max(before, 1e-12)) for a, q, op, before, after in rows.iter_rows()
    }
    edits = [e for e in edits_choose.wanted(reader, full.view) if (e.group, e.name, e.lang) == ("1", "amig", "en")]
    names = edits_lookup.set_ids(reader, full.label, edits)
    for kind in ("other relation", "same relation"):
        literal = []
        for operation, sign in (("suppress", -1.0), ("enhance", 1.0)):
            for edit in edits:
                moved = [change[names[edit.neurons], query.id, operation] for query in edit.beside(kind).reads]
                literal.append(sign * moved[0] - np.mean(np.abs(moved[1:])))
        row = frame.row(by_predicate=_at("1", "en", "amig", kind), named=True)
        assert row["d"] == pytest.approx(np.mean(literal), rel=1e-9)
        assert row["readings"] == sum(len(edit.beside(kind).reads) - 1 for edit in edits)
    assert frame.filter(read="same answer").is_empty()


def test_lost_and_gained_first_answers_are_counted_from_ranks(full, reader):
    frame = edits_others.build(reader, full.view, draws=20).frame
    rows = reader.sql('SELECT "set", query, operation, rank_before, rank_after FROM edit')
    ranks = {(a, q, op): (before, after) for a, q, op, before, after in rows.iter_rows()}
    wanted = edits_choose.wanted(reader, full.view)
    names = edits_lookup.set_ids(reader, full.label, wanted)
    for group, name, read in (
        ("1", "amig", "the fact"),
        ("1 held-out", "amig", "the fact"),
        ("1 across", "N of zh", "the fact"),
        ("1", "amig", "same relation"),
    ):
        edits = [e for e in wanted if (e.group, e.name, e.lang) == (group, name, "en")]
        row = frame.row(by_predicate=_at(group, "en", name, read), named=True)
        for operation, suffix in (("suppress", ""), ("enhance", "_up")):
            found = []
            for edit in edits:
                reads = edit.reads[:1] if read == "the fact" else edit.beside(read).reads[1:]
                found += [ranks[names[edit.neurons], query.id, operation] for query in reads]
            assert row[f"lost{suffix}"] == sum(before == 1 and after != 1 for before, after in found)
            assert row[f"gained{suffix}"] == sum(before != 1 and after == 1 for before, after in found)
        assert row["first"] == sum(before == 1 for before, _ in found)
        assert (row["facts"], row["subjects"]) == (24, 12)
    assert frame.row(by_predicate=_at("1", "en", "amig", "the fact"), named=True)["lost"] > 20


def test_what_older_stores_lack_is_counted_and_takes_nothing_from_table_1(full, reader, monkeypatch):
    before = edits_table.build(reader, full.view, draws=50)
    wanted = edits_choose.wanted(reader, full.view)
    names = edits_lookup.set_ids(reader, full.label, wanted)
    plain = [edit.beside("other relation") for edit in wanted if edit.group != edits_choose.ACROSS]
    asked = {(names[e.neurons], query.id, operation) for e in plain for query in e.reads for operation in e.operations}
    kept = {key: value for key, value in edits_lookup.stored(reader, full.label, False).items() if key in asked}
    monkeypatch.setattr(edits_lookup, "stored", lambda *_: kept)
    after = edits_table.build(reader, full.view, draws=50)
    assert "not computed yet" in after.notes[0]
    same = [name for name in before.frame.columns if name != "verdict"]
    assert after.frame.select(same).equals(before.frame.select(same))
    assert set(after.frame["verdict"].drop_nulls()) <= {"undecided", "generic"}
    assert set(edits_others.build(reader, full.view, draws=20).frame["read"]) == {"the fact", "other relation"}


@pytest.mark.parametrize(
    ("above", "word"),
    [
        ((True, True, True), "own"),
        ((True, True, False), "of the answer"),
        ((True, True, None), "undecided"),
        ((True, False, None), "relation"),
        ((False, None, None), "generic"),
        ((False, True, True), "generic"),
        ((True, None, True), "undecided"),
        ((None, True, True), "own"),
        ((None, False, True), "undecided"),
    ],
)
def test_the_word_for_an_edit_says_which_facts_it_moves_less_than_its_own(above, word):
    assert edits_table.verdict(dict(zip(KINDS, above, strict=True))) == word


def test_planted_neurons_move_their_fact_more_than_others_of_the_relation_and_a_hub_does_not(full, reader):
    frame = edits_table.build(reader, full.view, draws=300).frame
    words = {(r["table"], r["lang"], r["edited"]): r["verdict"] for r in frame.iter_rows(named=True)}
    for lang in ("en", "zh"):
        assert words["1", lang, "amig, equal size"] == "undecided", "above other answers; no fact has the same one"
    others = edits_others.build(reader, full.view, draws=300).frame
    row = others.row(by_predicate=_at("1", "en", "amig, equal size", "same relation"), named=True)
    assert row["vs_random_low"] > 0


def _at(table, lang, edited, read):
    columns = ("table", "lang", "edited", "read")
    return pl.all_horizontal(
        *(pl.col(name) == value for name, value in zip(columns, (table, lang, edited, read), strict=True))
    )
