"""The macro of eq. 11's raw rows: stored edits are found by the set that a View's thresholds give, and read on the right facts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from knscope import store
from knscope.store import runs
from knscope.store.shards import write_shard
from knscope.store.view import View
from tests.store import synthetic

VIEW = View(synthetic.MODELS[0], "amig", ("en", "zh"))


def name_of(neurons: set[tuple[int, int]]) -> str:
    return hashlib.md5(",".join(f"{layer}:{neuron}" for layer, neuron in sorted(neurons)).encode()).hexdigest()


def test_stored_edits_are_found_by_their_sets_and_read_on_the_fact_and_on_irrelevant_ones(tmp_path: Path) -> None:
    size = synthetic.Size(facts=4, models=synthetic.MODELS[:1], methods=("amig",), langs=("en", "zh"))
    path = synthetic.build(tmp_path / "a.knstore", size)
    with store.open(path) as reader:
        sets: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
        for fact, _, lang, layer, neuron, *_ in reader.kn(VIEW).iter_rows():
            sets.setdefault(("kn", fact, lang), set()).add((layer, neuron))
        for fact, _, layer, neuron, *_ in reader.likn(VIEW).iter_rows():
            sets.setdefault(("likn", fact, "LIKN"), set()).add((layer, neuron))
        queries = dict(reader.queries(VIEW).select("query", "fact").iter_rows())
        model = VIEW.model
        names = {name_of(neurons) for neurons in sets.values()} | {"another set"}
        same = {"model": model, "operation": "suppress", "p_before": 0.5, "p_after": 0.2}
        edits = [{"key": name + query, "set": name, "query": query, **same} for name in names for query in queries]
        irrelevant = [
            {"model": model, "fact": "fact-00000", "other": "fact-00002", "same_relation": False, "kind": None}
        ]
        frames = {name: synthetic.frame(name, rows) for name, rows in (("edit", edits), ("irrelevant", irrelevant))}
        write_shard(path, runs.new_run(path, {}), frames)
        reader.poll()
        got = {
            (r["edited"], r["fact"], r["lang"], r["set"], r["query"], r["relevant"])
            for r in reader.edits(VIEW).to_dicts()
        }
        expected = {
            (edited, fact, lang, name_of(neurons), query, read == fact)
            for (edited, fact, lang), neurons in sets.items()
            for query, read in queries.items()
            if read == fact or (fact, read) == ("fact-00000", "fact-00002")
        }
        assert got == expected
        assert {edited for edited, *_ in got} == {"kn", "likn"}
        assert reader.edits(VIEW)["change"].to_list() == pytest.approx([-0.3] * len(got))
        other = reader.edits(VIEW.with_tau("en", 0.9).with_tau("zh", 0.9))
        assert other.height < len(got)
