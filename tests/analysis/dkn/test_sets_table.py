"""Degenerate sets of a store, against all sets ablated one by one."""

from __future__ import annotations

from itertools import combinations

import pytest

from knscope.analysis.dkn import sets_table
from knscope.analysis.dkn.larger import larger
from knscope.analysis.edits.measure import make_edit, read_edits
from knscope.store import UserError
from tests.analysis import planted
from tests.analysis.planted_store import PlantedStore


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = PlantedStore(tmp_path_factory.mktemp("planted") / "planted.knstore", facts=7, triple=True)
    store.attribute()
    return store


def view_of(store):
    """At thresholds at which the three neurons, each of which brings little by itself, are in N."""
    return store.view.with_tau("en", 0.05).with_tau("zh", 0.05)


def test_the_table_counts_the_sets_that_a_literal_search_finds(made):
    with made.reader() as reader:
        before = sets_table.build(reader, view_of(made), 4)
        assert before.frame.filter(neurons="knowledge neurons")["ablated"].to_list() == [0, 0]
        assert before.frame["rate"].null_count() == before.frame["rate_interval"].null_count() == before.frame.height
        assert "not computed yet" in before.notes[0]
    made.ablate_sets(view_of(made), 4)
    with made.reader() as reader:
        table = sets_table.build(reader, view_of(made), 4)
        assert not any("not computed yet" in note for note in table.notes)
        candidates, found = {3: 0, 4: 0}, {3: set(), 4: set()}
        for one in larger(reader, view_of(made), 4):
            query = next(q for q in made.queries if q.id == one.query)
            parts = [s for k in range(1, 5) for s in combinations(range(len(one.neurons)), k)]
            edits = [make_edit("suppress", one.neurons[list(members)]) for members in parts]
            read = read_edits(made.engine, made.encode(query), edits)
            drop = {m: (read.p_before - p) / read.p_before for m, p in zip(parts, read.p_after, strict=True)}
            for members in parts:
                if len(members) > 2:
                    low = all(drop[s] <= 0.2 for k in range(1, len(members)) for s in combinations(members, k))
                    candidates[len(members)] += low and len(members) == 3
                    if low and drop[members] > 0.25:
                        found[len(members)].add((query.fact, query.lang, one.flat(members)))
        assert found[3] == {("cap-5", lang, tuple(sorted(made.built.triple))) for lang in planted.LANGS}
        rows = {row["size"]: row for row in table.frame.filter(neurons="knowledge neurons").iter_rows(named=True)}
        assert rows[3]["candidates"] == candidates[3]
        assert [rows[size]["sets"] for size in (3, 4)] == [2, len(found[4])]
        assert rows[3]["strict"] == 2 and rows[3]["missed"] == 0


@pytest.mark.parametrize("size", [2, 7])
def test_other_sizes_are_refused(made, size):
    with made.reader() as reader, pytest.raises(UserError, match="from 3 to 6"):
        sets_table.build(reader, view_of(made), size)
