"""Eq. 6-10 written out in plain Python over dense scores and single ablations, as slow and as close to the text as they can be."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations
from typing import Any

from knscope.store.reader import Reader
from knscope.store.view import View
from tests.store.synthetic import address

Neuron = tuple[int, int]
Place = tuple[str, str]


@cache
def queries(reader: Reader, view: View) -> list[dict[str, Any]]:
    """Attributed queries the View looks at, with rel of every neuron from the dense array."""
    found = []
    known = {
        row[0] for row in reader.sql("SELECT query FROM prediction WHERE model = ? AND known", [view.model]).iter_rows()
    }
    text = "SELECT key, query, fact, relation, lang FROM attribution JOIN query USING (query) WHERE model = ? AND method = ?"
    for row in reader.sql(text, [view.model, view.method]).to_dicts():
        wanted = (
            row["lang"] in view.langs
            and (not view.relations or row["relation"] in view.relations)
            and (not view.facts or row["fact"] in view.facts)
            and (not view.queries or row["query"] in view.queries)
            and (not view.known or row["query"] in known)
        )
        if wanted:
            scores = [float(score) for score in reader.dense(row["key"])]
            best = max(scores)
            row["rel"] = {address(flat): s / best for flat, s in enumerate(scores)} if best > 0 else {}
            found.append(row)
    return found


@cache
def kn(reader: Reader, view: View) -> dict[Place, dict[Neuron, tuple[float, float]]]:
    """(fact, lang) -> neuron -> (highest rel, share of its queries): rel > τ in at least template_share of the queries."""
    by_place = defaultdict(list)
    for row in queries(reader, view):
        by_place[row["fact"], row["lang"]].append(row["rel"])
    result = {}
    for place, all_rel in by_place.items():
        members = {}
        for neuron in {n for rel in all_rel for n in rel}:
            hits = [rel[neuron] for rel in all_rel if neuron in rel and rel[neuron] > view.tau[place[1]]]
            if hits and len(hits) / len(all_rel) >= view.template_share - 1e-9:
                members[neuron] = (max(hits), len(hits) / len(all_rel))
        result[place] = members
    return result


def likn(reader: Reader, view: View) -> dict[str, dict[Neuron, tuple[float, float]]]:
    """fact -> neurons in N of every language -> (lowest, highest rel over languages)."""
    sets = kn(reader, view)
    result: dict[str, dict[Neuron, tuple[float, float]]] = {}
    for fact in {fact for fact, _ in sets}:
        of_langs = [sets.get((fact, lang), {}) for lang in view.langs]
        common = set.intersection(*(set(one) for one in of_langs)) if len(of_langs) >= 2 else set()
        if common:
            result[fact] = {n: (min(one[n][0] for one in of_langs), max(one[n][0] for one in of_langs)) for n in common}
    return result


def layer_hist(reader: Reader, view: View, layers: int) -> dict[tuple[str, int], tuple[int, float]]:
    """(kind, layer) -> (neurons, mean over facts of the fact's share)."""
    groups: dict[str, list[set[Neuron]]] = defaultdict(list)
    for (_, lang), members in kn(reader, view).items():
        groups[lang].append(set(members))
    groups["LIKN"] = [set(members) for members in likn(reader, view).values()]
    result = {}
    for kind, sets in groups.items():
        sets = [one for one in sets if one]
        for layer in range(layers) if sets else ():
            counts = [sum(neuron[0] == layer for neuron in one) for one in sets]
            result[kind, layer] = (
                sum(counts),
                sum(c / len(one) for c, one in zip(counts, sets, strict=True)) / len(sets),
            )
    return result


def overlap(reader: Reader, view: View) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(lang, lang), and (LIKN, LIKN) for all: neurons shared, facts with neurons in both (in all), facts that share some."""
    sets: dict[str, dict[str, set[Neuron]]] = defaultdict(dict)
    for (fact, lang), members in kn(reader, view).items():
        if members:
            sets[lang][fact] = set(members)
    langs = [lang for lang in view.langs if sets[lang]]
    result = {}
    for at, a in enumerate(langs):
        for b in langs[at:]:
            common = [sets[a][fact] & sets[b][fact] for fact in sets[a].keys() & sets[b].keys()]
            if common:
                result[a, b] = (sum(map(len, common)), len(common), sum(map(bool, common)))
    shared = likn(reader, view)
    everywhere = set.intersection(*(set(sets[lang]) for lang in view.langs))
    result["LIKN", "LIKN"] = (sum(map(len, shared.values())), len(everywhere), len(shared))
    return result


def logit(p: float) -> float:
    """NaN where p, which a model computes in float32, is too near 0 or 1."""
    return math.log(p / (1 - p)) if 1e-30 <= p <= 1 - 1e-5 else math.nan


def drop(view: View, before: float, after: float) -> float:
    """NaN, which no threshold passes, where p before is 0."""
    if view.drop == "absolute":
        return before - after
    return (before - after) / before if before > 0 else math.nan


@cache
def scans(reader: Reader, view: View) -> list[dict[str, Any]]:
    """Scans of the View with their eligible pairs: both members in N, or, of a control, standing for two that are and not in N."""
    sets = kn(reader, view.with_(queries=()))
    text = "SELECT key, query, fact, lang, role, p FROM scan JOIN query USING (query) WHERE model = ? AND method = ?"
    rows = [r for r in reader.sql(text, [view.model, view.method]).to_dicts() if (r["fact"], r["lang"]) in sets]
    neurons = defaultdict(dict)
    for key, position, layer, neuron in reader.sql("SELECT key, position, layer, neuron FROM scan_neuron").iter_rows():
        neurons[key][position] = (layer, neuron)
    inside = {
        (r["fact"], r["lang"]): [at for at, n in neurons[r["key"]].items() if n in sets[r["fact"], r["lang"]]]
        for r in rows
        if r["role"] == "kn"
    }
    for row in rows:
        at = sorted(inside[row["fact"], row["lang"]])
        row["members"] = [neurons[row["key"]][position] for position in at]
        if row["role"] != "kn":
            row["members"] = [neuron for neuron in row["members"] if neuron not in sets[row["fact"], row["lang"]]]
        row["pairs"] = list(combinations(row["members"], 2))
    return [row for row in rows if not view.queries or row["query"] in view.queries]


@cache
def dkn(reader: Reader, view: View) -> dict[tuple[str, str, str, Neuron, Neuron], dict[str, Any]]:
    """(role, fact, lang, a, b) -> interaction, strict, expressed, of the pairs that are degenerate by the paper's rule."""
    after = {}
    for key, la, na, lb, nb, p, kept in reader.sql(
        "SELECT key, layer_a, neuron_a, layer_b, neuron_b, p, argmax_kept FROM ablation"
    ).iter_rows():
        after[key, frozenset([(la, na)] if lb is None else [(la, na), (lb, nb)])] = (p, kept)
    found = {}
    for row in scans(reader, view):
        p = row["p"]
        for a, b in row["pairs"]:
            (p_a, kept_a), (p_b, kept_b), (p_ab, kept_ab) = (
                after[row["key"], frozenset(s)] for s in ([a], [b], [a, b])
            )
            single = all(drop(view, p, one) <= view.t_low for one in (p_a, p_b))
            if single and drop(view, p, p_ab) > view.t_high:
                interaction = logit(p_ab) - logit(p_a) - logit(p_b) + logit(p)
                found[row["role"], row["fact"], row["lang"], a, b] = {
                    "interaction": interaction,
                    "strict": interaction < -view.delta,
                    "expressed": kept_a and kept_b and not kept_ab,
                }
    return found


def dkn_rate(reader: Reader, view: View) -> dict[tuple[str, str], tuple[int, ...]]:
    """(role, lang) -> facts, pairs, paper, strict, expressed, facts_with."""
    facts, pairs = Counter(), Counter()
    for row in scans(reader, view):
        facts[row["role"], row["lang"]] += len(row["members"]) >= 2
        pairs[row["role"], row["lang"]] += len(row["pairs"])
    degenerate = dkn(reader, view)
    result = {}
    for place in pairs:
        mine = {key: value for key, value in degenerate.items() if (key[0], key[2]) == place}
        counts = (len(mine), sum(v["strict"] for v in mine.values()), sum(v["expressed"] for v in mine.values()))
        result[place] = (facts[place], pairs[place], *counts, len({key[1] for key in mine}))
    return result


def dkn_layers(reader: Reader, view: View) -> dict[int, tuple[int, float]]:
    """layer -> (members of degenerate pairs of knowledge neurons, mean over facts of the fact's share)."""
    members: dict[str, set[Neuron]] = defaultdict(set)
    for role, fact, _, a, b in dkn(reader, view):
        if role == "kn":
            members[fact] |= {a, b}
    layers = {layer for one in members.values() for layer, _ in one}
    counts = {layer: [sum(n[0] == layer for n in one) for one in members.values()] for layer in layers}
    sizes = [len(one) for one in members.values()]
    return {
        layer: (sum(each), sum(n / size for n, size in zip(each, sizes, strict=True)) / len(sizes))
        for layer, each in counts.items()
    }


def dkn_service(reader: Reader, view: View, pairs: View) -> dict[tuple[str, str, Neuron, Neuron], tuple[int, int, str]]:
    """Pairs of `pairs` -> other facts of `view` that a alone serves, that b alone serves, and what that makes of the pair."""
    sets = kn(reader, view)
    found = {}
    for role, fact, lang, a, b in dkn(reader, pairs):
        if role == "kn":
            of_a, of_b = (
                {f for (f, where), n in sets.items() if where == lang and one in n} - {fact} for one in (a, b)
            )
            alone = (len(of_a - of_b), len(of_b - of_a))
            found[fact, lang, a, b] = (
                *alone,
                "degenerate" if all(alone) else "redundant" if not any(alone) else "one-sided",
            )
    return found
