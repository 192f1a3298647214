"""Negative neurons: sets of the lowest scores, and what suppressing them does."""

from __future__ import annotations

import numpy as np
import pytest

from knscope import store
from knscope.analysis.attribution import table as kn_table
from knscope.analysis.edits import choose as edits_choose
from knscope.analysis.edits import lookup as edits_lookup
from knscope.analysis.edits import table as edits_table
from knscope.analysis.edits.lookup import Judging
from knscope.analysis.stored.negative import negative_neurons
from knscope.store.view import View
from tests.analysis.planted_store import PlantedStore
from tests.store import synthetic

ROWS = "SELECT key, fact, lang FROM attribution JOIN query USING (query) WHERE method = 'amig'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    planted = PlantedStore(tmp_path_factory.mktemp("planted") / "planted.knstore", facts=6)
    planted.attribute()
    planted.edit(signs=("negative",))
    return planted


@pytest.fixture(scope="module")
def synthetic_store(tmp_path_factory):
    size = synthetic.Size(facts=6, models=synthetic.MODELS[:1], methods=("amig",), langs=("en", "zh"))
    return synthetic.build(tmp_path_factory.mktemp("made") / "made.knstore", size)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_negative_sets_are_those_of_the_lowest_scores(synthetic_store, share):
    with store.open(synthetic_store) as reader:
        view = (
            View(synthetic.MODELS[0], "amig", ("en", "zh"), template_share=share)
            .with_tau("en", 0.5)
            .with_tau("zh", 0.4)
        )
        above = {}
        for key, fact, lang in reader.sql(ROWS).iter_rows():
            scores = [float(value) for value in reader.dense(key)]
            lowest = min(scores)
            hold = {n for n, s in enumerate(scores) if lowest < 0 and s < 0 and s / lowest > view.tau[lang]}
            above.setdefault((fact, lang), []).append(hold)
        expected = {
            (fact, lang, *synthetic.address(n))
            for (fact, lang), sets in above.items()
            for n in set.union(*sets)
            if sum(n in one for one in sets) / len(sets) >= share
        }
        rows = negative_neurons(reader, view)
        assert set(rows.select("fact", "lang", "layer", "neuron").iter_rows()) == expected
        assert len(expected) == rows.height > 10
        table = kn_table.build(reader, view, "negative")
        assert (table.name, table.frame.height) == ("kn_negative", rows.height)


def test_suppressing_negative_neurons_is_judged_by_how_far_p_rises(made):
    with made.reader() as reader:
        judging = Judging(sign="negative")
        frame = edits_table.build(reader, made.view, draws=200, judging=judging).frame
        assert set(frame["table"]) == {"1 negative"} and frame["missing"].sum() == 0
        edits = edits_choose.wanted(reader, made.view, signs=("negative",))
        lookup = edits_lookup.Lookup.of(reader, made.label, edits, judging)
        for lang in made.view.langs:
            mine = [edit.beside(edit.irrelevant) for edit in edits if (edit.name, edit.lang) == ("amig", lang)]
            literal = []
            for direction, sign in ((0, 1.0), (1, -1.0)):
                for edit in mine:
                    moved = [np.log(one.after / one.before) for one in lookup.readings(edit, direction)]
                    literal.append(sign * moved[0] - np.mean(np.abs(moved[1:])))
            row = frame.filter(lang=lang, edited="amig").row(0, named=True)
            assert row["d"] == pytest.approx(np.mean(literal), abs=1e-12)
            assert row["neurons"] == frame.filter(lang=lang, edited="random, equal size")["neurons"][0]
        shown = edits_table.build(reader, made.view, draws=20)
        assert "not computed yet" in shown.notes[0], "those of positive neurons are others"
