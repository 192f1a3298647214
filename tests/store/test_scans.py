"""A fact that was scanned more than once: one scan counts, the same one whatever the order they came in."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knscope import store
from knscope.store import compaction, runs, shards, snapshot
from knscope.store.main_query import template_order
from knscope.store.reader import Reader
from knscope.store.view import FLOOR, View
from tests.store import made
from tests.store.test_live import same

MODEL, WIDTH = "one@00000001", 10
VIEW = View(MODEL, "amig", ("en",), taus=(("en", 0.5),), template_share=1.0)
Rows = dict[str, list[dict[str, Any]]]


def fact_rows(scores: dict[str, dict[int, float]], known: Sequence[str] = ()) -> tuple[Rows, np.ndarray]:
    """One fact with a query a template, all attributed."""
    rows: Rows = {name: [] for name in ("query", "prediction", "attribution", "score")}
    rows["model"] = [{"model": MODEL, "name": "one", "n_layers": 2, "n_neurons": 2 * WIDTH}]
    rows["site"] = [
        {"model": MODEL, "stack": "", "layer": layer, "width": WIDTH, "offset": layer * WIDTH, "module": "m", "call": 0}
        for layer in range(2)
    ]
    dense = np.zeros((len(scores), 2 * WIDTH), np.float32)
    for number, (query, given) in enumerate(scores.items()):
        about = {"fact": "f", "relation": "P", "lang": "en", "template": query, "subject": "s", "object": "o"}
        rows["query"].append({"query": query, **about})
        answer = {"p": 0.9, "p_root": 0.9, "rank": 1, "known": query in known}
        rows["prediction"].append({"key": f"p{query}", "model": MODEL, "query": query, **answer})
        dense[number, list(given)] = list(given.values())
        best = float(dense[number].max())
        kept = {"max_score": best, "floor": FLOOR, "max_residual": 0.0, "dense_row": number}
        rows["attribution"].append({"key": f"a{query}", "model": MODEL, "method": "amig", "query": query, **kept})
        for flat in np.flatnonzero(dense[number] / best >= FLOOR):
            score = float(dense[number, flat])
            place = {"layer": int(flat) // WIDTH, "neuron": int(flat) % WIDTH}
            rows["score"].append({"key": f"a{query}", **place, "score": score, "rel": score / best})
    return rows, dense


def scan_rows(
    key: str, query: str, role: str, neurons: Sequence[int], backing: Sequence[set[int]] = (), after: float = 0.85,
    model: str = MODEL, width: int = WIDTH,
) -> Rows:  # fmt: skip
    """Each alone leaves `after`, pairs of `backing` leave 0.1 and the others 0.8."""
    about = {"model": model, "method": "amig", "query": query, "role": role, "operation": "zero"}
    rows: Rows = {"scan": [{"key": key, **about, "n": len(neurons), "p": 0.9}], "scan_neuron": [], "ablation": []}
    for position, flat in enumerate(neurons):
        place = {"layer": flat // width, "neuron": flat % width}
        rows["scan_neuron"].append({"key": key, "position": position, **place})
        alone = {"layer_a": flat // width, "neuron_a": flat % width, "p": after, "argmax_kept": True}
        rows["ablation"].append({"key": key, **alone})
    for a, b in itertools.combinations(neurons, 2):
        ends = {"layer_a": a // width, "neuron_a": a % width, "layer_b": b // width, "neuron_b": b % width}
        p = 0.1 if {a, b} in backing else 0.8
        rows["ablation"].append({"key": key, **ends, "p": p, "argmax_kept": True})
    return rows


def joined(parts: Sequence[Rows]) -> Rows:
    return {name: [row for part in parts for row in part.get(name, [])] for part in parts for name in part}


def written(path: Path, facts: tuple[Rows, np.ndarray], scans: Sequence[Rows]) -> Path:
    """The attributions, then every scan in a shard of its own, one run each."""
    store.create(path)
    shards.write_shard(path, runs.new_run(path, {}), made.frames(facts[0]), facts[1])
    for scan in scans:
        shards.write_shard(path, runs.new_run(path, {}), made.frames(scan))
    return path


def counted(reader: Reader) -> set[str]:
    return set(reader.sql("SELECT key FROM scan_row JOIN counted_scan USING (scan_no)")["key"])


TWO = {"t1": {0: 1, 1: 0.8, 2: 0.6, 3: 0.4}, "t2": {0: 1, 1: 0.8, 3: 0.4}}
EARLY = scan_rows("early", "t1", "kn", [0, 1, 2], [{0, 1}])
LATE = scan_rows("late", "t1", "kn", [3, 0, 1], [{0, 1}, {0, 3}, {1, 3}])


def test_fact_scanned_twice_counts_once_with_the_positions_of_its_scan(tmp_path: Path) -> None:
    facts = fact_rows(TWO)
    with store.open(written(tmp_path / "s.knstore", facts, [EARLY, LATE])) as reader:
        assert sorted(reader.kn(VIEW)["neuron"]) == [0, 1]
        assert reader.dkn_rate(VIEW).select("facts", "pairs", "paper").rows() == [(1, 1, 1)]
        assert reader.dkn(VIEW).select("neuron_a", "neuron_b").rows() == [(0, 1)]
        assert reader.dkn(VIEW).height == reader.dkn_service(VIEW).height == 1
        assert same(reader, VIEW)
        assert counted(reader) == {"late"}


def ways(path: Path) -> Iterator[Reader]:
    """The store as it is, from a snapshot of all of it, and compacted."""
    with store.open(path) as reader:
        yield reader
    snapshot.publish(path)
    with store.open(path) as reader:
        yield reader
    compaction.compact(path)
    (path / snapshot.SNAPSHOT).unlink()
    with store.open(path) as reader:
        yield reader


def test_counted_scan_does_not_depend_on_order_snapshots_or_compaction(tmp_path: Path) -> None:
    facts = fact_rows(TWO)
    controls = [scan_rows(f"c{n}", "t1", "layer_control", [n, n + 1, n + 2]) for n in (7, 12, 5)]
    scans = [EARLY, LATE, *controls]
    found = []
    for number, order in enumerate((scans, scans[::-1], [*scans[2:], *scans[:2]])):
        path = written(tmp_path / f"{number}.knstore", facts, order[:2])
        with store.open(path) as watching:
            snapshot.publish(path)
            run = runs.new_run(path, {})
            for scan in order[2:]:
                shards.write_shard(path, run, made.frames(scan))
                watching.poll()
            readers = [counted(watching), *(counted(reader) for reader in ways(path))]
        found += readers
    assert all(one == found[0] for one in found), found
    assert len(found[0]) == 2 and "late" in found[0]


def test_attributions_that_come_after_the_scans_decide_which_of_them_counts(tmp_path: Path) -> None:
    rows, dense = fact_rows(TWO)
    first = {"t1": {**TWO["t1"], 2: 0.6, 3: 0.4}}
    path = written(tmp_path / "s.knstore", fact_rows(first), [EARLY, LATE])
    with store.open(path) as reader:
        assert counted(reader) == {"early"}
        shards.write_shard(path, runs.new_run(path, {}), made.frames(rows), dense)
        reader.poll()
        assert counted(reader) == {"late"}
        assert same(reader, VIEW)
        reader.extend(VIEW.with_(taus=(("en", 0.01),)))
        assert counted(reader) == {"late"}


def test_counted_scan_has_the_template_on_which_most_facts_are_known(tmp_path: Path) -> None:
    scans = [scan_rows(f"on {query}", query, "kn", [0, 1, 3], [{0, 1}]) for query in ("t1", "t2")]
    scans += [scan_rows(f"beside {query}", query, "layer_control", [7, 8, 9]) for query in ("t1", "t2")]
    for known in ("t1", "t2"):
        path = written(tmp_path / f"{known}.knstore", fact_rows(TWO, [known]), scans)
        with store.open(path) as reader:
            assert counted(reader) == {f"on {known}", f"beside {known}"}
            assert reader.dkn_rate(VIEW)["facts"].to_list() == [1, 1]
            assert same(reader, VIEW)


def test_counted_scan_on_a_tie_follows_the_order_of_templates_in_the_data(tmp_path: Path) -> None:
    scans = [scan_rows(f"on {query}", query, "kn", [0, 1, 3], [{0, 1}]) for query in ("t1", "t2")]
    path = written(tmp_path / "s.knstore", fact_rows(TWO), scans)
    order = template_order(("P", "en", template) for template in ("t2", "t1"))
    with store.open(path) as reader:
        assert counted(reader) == {"on t1"}, "a store that knows no order takes the first by text"
        assert same(reader, VIEW)
        shards.write_shard(path, runs.new_run(path, {}), {"template_order": order})
        reader.poll()
        assert counted(reader) == {"on t2"}
        assert same(reader, VIEW)
    assert [counted(reader) for reader in ways(path)] == [{"on t2"}] * 3


@pytest.mark.parametrize(
    ("role", "right", "wrong"),
    [
        ("layer_control", scan_rows("right", "t1", "x", [5, 15, 6]), scan_rows("wrong", "t1", "x", [5, 6, 15])),
        ("layer_control", scan_rows("right", "t1", "x", [5, 15, 6]), scan_rows("a", "t1", "x", [5, 15, 4])),
        ("drop_control", scan_rows("right", "t1", "x", [5, 6, 7]), scan_rows("wrong", "t1", "x", [2, 6, 7])),
        ("drop_control", scan_rows("right", "t1", "x", [5, 6, 7], (), 0.84), scan_rows("a", "t1", "x", [7, 8, 9], (), 0.7)),
    ],
    ids=["same layers", "below the floor", "outside N", "same drops"],
)  # fmt: skip
def test_control_scan_goes_with_the_counted_scan(tmp_path: Path, role: str, right: Rows, wrong: Rows) -> None:
    scores = {"t1": {0: 1, 11: 0.8, 2: 0.4, 3: 0.3, 4: 0.1}}
    both = joined([right, wrong])
    both["scan"] = [{**row, "role": role} for row in both["scan"]]
    path = written(tmp_path / "s.knstore", fact_rows(scores), [scan_rows("kn", "t1", "kn", [0, 11, 3]), both])
    with store.open(path) as reader:
        assert counted(reader) == {"kn", "right"}


def test_control_pair_with_a_member_in_n_is_not_counted(tmp_path: Path) -> None:
    scores = {"t1": {0: 1, 1: 0.8, 2: 0.7, 5: 0.4, 6: 0.1}}
    backing = [{5, 6}, {6, 7}]
    scans = [scan_rows("kn", "t1", "kn", [0, 1, 2]), scan_rows("c", "t1", "drop_control", [5, 6, 7], backing)]
    with store.open(written(tmp_path / "s.knstore", fact_rows(scores), scans)) as reader:
        for tau, pairs, found in ((0.5, 3, 2), (0.3, 1, 1), (0.07, 0, 0)):
            view = VIEW.with_(taus=(("en", tau),))
            rates = {row["role"]: row for row in reader.dkn_rate(view).to_dicts()}
            assert rates["kn"]["pairs"] == 3 and rates["kn"]["paper"] == 0
            assert (rates["drop_control"]["pairs"], rates["drop_control"]["paper"]) == (pairs, found)
            assert same(reader, view)


def literal_choice(reader: Reader) -> dict[tuple[str, str], str]:
    """(fact, language) -> the scan of knowledge neurons whose rel, summed as the macro says it, is highest."""
    rel: dict[tuple[str, str], np.ndarray] = {}
    for key, fact, lang in reader.sql("SELECT key, fact, lang FROM attribution JOIN query USING (query)").iter_rows():
        scores = reader.dense(key).astype(np.float64)
        share = scores / scores.max()
        rel[fact, lang] = rel.get((fact, lang), 0.0) + np.where(share >= FLOOR, share, 0.0)
    found: dict[tuple[str, str], tuple[float, str]] = {}
    text = (
        "SELECT key, fact, lang, list(layer * 40 + neuron) FROM scan JOIN query USING (query) "
        "JOIN scan_neuron USING (key) WHERE role = 'kn' GROUP BY ALL"
    )
    for key, fact, lang, neurons in reader.sql(text).iter_rows():
        total = float(rel[fact, lang][neurons].sum())
        found[fact, lang] = max(found.get((fact, lang), (0.0, "")), (total, key))
    return {place: key for place, (_, key) in found.items()}


def test_macros_and_arrays_agree_where_every_fact_was_scanned_several_times(made_store: Path, tmp_path: Path) -> None:
    path = shutil.copytree(made_store, tmp_path / "m.knstore")
    rng = np.random.default_rng(3)
    with store.open(path) as reader:
        queries = reader.sql("SELECT query FROM scan WHERE role = 'kn' ORDER BY query")["query"].to_list()
        size = made.LAYERS * made.WIDTH
        for turn in range(2):
            parts = []
            for query in queries:
                ranked = np.argsort(-reader.dense(f"a-{made.MODEL}-{query}"))[: 2 * made.SCANNED]
                for role in ("kn", "layer_control", "drop_control"):
                    some = rng.choice(ranked if role == "kn" else size, made.SCANNED, replace=False).tolist()
                    pairs = [set(pair) for pair in itertools.combinations(some, 2) if rng.random() < 0.3]
                    key = f"{turn} {query} {role}"
                    parts.append(scan_rows(key, query, role, some, pairs, model=made.MODEL, width=made.WIDTH))
            shards.write_shard(path, runs.new_run(path, {}), made.frames(joined(parts)))
        reader.poll()
        chosen = literal_choice(reader)
        assert set(chosen.values()) == {key for key in counted(reader) if "control" not in key}
        assert len({key.split()[0][:2] for key in chosen.values()}) == 3, "each of the three wins somewhere"
        view = View(made.MODEL, "amig", made.LANGS)
        for tau, share in ((0.05, 0.5), (0.1, 1.0), (0.3, 0.5)):
            one = view.with_(taus=tuple((lang, tau) for lang in made.LANGS), template_share=share, t_low=0.3)
            assert min(same(reader, one).values()) >= 1


@pytest.fixture
def made_store(tmp_path: Path) -> Path:
    return made.make(tmp_path / "made.knstore").path
