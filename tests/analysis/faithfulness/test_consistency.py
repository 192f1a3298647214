"""How much of a fact's N stays over templates and languages, on a made-up store."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from knscope.analysis.stability import consistency
from knscope.analysis.stored.facts import subject_of
from tests.analysis.planted_store import PlantedStore


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = PlantedStore(tmp_path_factory.mktemp("planted") / "planted.knstore", facts=5)
    store.attribute()
    return store


def literal_wordings(sets, subject):
    """What other facts share of a fact's neurons: in the same words, and in other words."""
    found = {True: [], False: []}
    for facts in sets.values():
        for fact, mine in facts.items():
            for same, means in found.items():
                shares = []
                for other, theirs in facts.items():
                    if subject[other] != subject[fact]:
                        pairs = [(a, b) for t, a in mine.items() for u, b in theirs.items() if (t == u) == same]
                        shares.append(sum(len(a & b) for a, b in pairs) / sum(len(a) for a, _ in pairs))
                means.append(np.mean(shares))
    return np.mean(found[True]), np.mean(found[False])


def literal_sets(reader, view):
    """Neurons above τ by relation, language, fact and template, from the dense scores."""
    found = defaultdict(dict)
    rows = reader.sql(
        "SELECT key, fact, relation, lang, template FROM attribution JOIN query USING (query) WHERE method = 'amig'"
    )
    for key, fact, relation, lang, template in rows.iter_rows():
        scores = np.asarray(reader.dense(key), dtype=np.float64)
        above = set(np.flatnonzero(scores / scores.max() > view.tau[lang]).tolist())
        found[relation, lang].setdefault(fact, {})[template] = above
    return found


@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_consistency_equals_python_sets(made, tau):
    with made.reader() as reader:
        view = made.view.with_tau("en", tau).with_tau("zh", tau)
        frame, notes = (table := consistency.build(reader, view, draws=50)).frame, table.notes
        subject, sets = subject_of(reader), literal_sets(reader, view)
        same, reworded = literal_wordings(sets, subject)
        assert f"with other facts' templates: {same:.2f} in the same words, {reworded:.2f} in other words" == notes[1]
        assert same > reworded + 0.01
        for row in frame.iter_rows(named=True):
            stays, others, sizes = [], defaultdict(list), []
            for lang in view.langs:
                facts = sets[row["relation"], lang]
                mine = list(facts[row["fact"]].values())
                total = sum(map(len, mine))
                sizes.append(total / len(mine))
                pairs = [len(a & b) for i, a in enumerate(mine) for j, b in enumerate(mine) if i != j]
                stays.append(sum(pairs) / (total * (len(mine) - 1)))
                for other, templates in facts.items():
                    if subject[other] != subject[row["fact"]]:
                        theirs = list(templates.values())
                        shared = [len(a & b) for a in mine for b in theirs]
                        others[other].append(sum(shared) / (total * len(theirs)))
            means = [np.mean(one) for one in others.values()]
            assert row["size"] == pytest.approx(np.mean(sizes))
            assert row["stays"] == pytest.approx(np.mean(stays))
            assert row["others"] == pytest.approx(np.mean(means))
            assert row["above"] == pytest.approx(np.mean([one < np.mean(stays) for one in means]))
            assert row["consistency"] == ("consistent" if np.mean(stays) >= 0.5 else "inconsistent")
            n = [set.union(*sets[row["relation"], lang][row["fact"]].values()) for lang in view.langs]
            assert row["languages"] == pytest.approx(2 * len(n[0] & n[1]) / (len(n[0]) + len(n[1]))), (
                "share 0.5 of two templates"
            )


def test_planted_facts_stay_and_share_less_with_other_facts(made):
    with made.reader() as reader:
        table = consistency.build(reader, made.view, draws=50)
    assert (table.frame["stays"] > table.frame["others"]).all()
    assert table.notes[0].startswith("10 facts about 5 subjects")


def test_consistency_of_one_template_is_unknown(made):
    with made.reader() as reader:
        one = reader.sql("SELECT query FROM query WHERE template NOT LIKE '%<unk>%'")["query"].to_list()
        table = consistency.build(reader, made.view.with_(queries=tuple(one)), draws=50)
    assert table.frame["stays"].is_null().all() and table.frame["consistency"].is_null().all()
    assert table.notes[0].startswith("no fact has two templates")


def test_consistency_word_says_whether_half_of_n_stays():
    stays = pl.Series("stays", [0.5, 0.49, None])
    assert stays.to_frame().select(consistency.word(pl.col("stays"))).to_series().to_list() == [
        "consistent",
        "inconsistent",
        None,
    ]
