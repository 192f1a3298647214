"""Eq. 6-10 word by word, in plain Python over the rows a store was made from."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

from store.view import View
from tests.store.made import LAYERS, Made

Place = tuple[str, str]
Neuron = tuple[int, int]


def queries(made: Made, view: View) -> dict[str, dict[str, Any]]:
    """Queries the View looks at."""
    known = {row["query"]: row["known"] for row in made.rows["prediction"]}
    return {
        row["query"]: row
        for row in made.rows["query"]
        if row["lang"] in view.langs
        and (not view.relations or row["relation"] in view.relations)
        and (not view.facts or row["fact"] in view.facts)
        and (not view.known or known[row["query"]])
    }


def kn(made: Made, view: View) -> dict[Place, set[Neuron]]:
    """Eq. 6-7 with the share over templates."""
    chosen = queries(made, view)
    asked: dict[Place, int] = defaultdict(int)
    hits: dict[Place, dict[Neuron, int]] = defaultdict(lambda: defaultdict(int))
    for row in made.rows["attribution"]:
        if row["query"] not in chosen:
            continue
        query = chosen[row["query"]]
        place = (query["fact"], query["lang"])
        asked[place] += 1
        scores = made.dense[row["key"]]
        best = float(scores.max())
        for flat, score in enumerate(scores):
            if float(score) / best > view.tau[query["lang"]]:
                hits[place][divmod(flat, len(scores) // LAYERS)] += 1
    return {
        place: {neuron for neuron, n in hits[place].items() if n >= view.template_share * count} for place, count in asked.items()
    }


def likn(made: Made, view: View) -> dict[str, set[Neuron]]:
    """Eq. 8: facts attributed in all languages of the View."""
    sets = kn(made, view)
    facts = {fact for fact, _ in sets}
    return {
        fact: set.intersection(*(sets[fact, lang] for lang in view.langs))
        for fact in facts
        if all((fact, lang) in sets for lang in view.langs)
    }


def log_odds(p: float) -> float:
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p) - math.log(1 - p)


def dkn(made: Made, view: View) -> list[dict[str, Any]]:
    """Eq. 9-10: every eligible pair, with its drops and verdicts."""
    sets, chosen = kn(made, view), queries(made, view)
    scans = {row["key"]: row for row in made.rows["scan"] if row["query"] in chosen}
    neurons: dict[str, list[Neuron]] = defaultdict(list)
    for row in made.rows["scan_neuron"]:
        neurons[row["key"]].append((row["layer"], row["neuron"]))
    ablated = {
        (row["key"], (row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"])): row for row in made.rows["ablation"]
    }
    found = []
    for key, scan in scans.items():
        query = chosen[scan["query"]]
        stands_for = neurons[key.removesuffix(scan['role']).removesuffix('-') + "-kn"]
        inside = [i for i, neuron in enumerate(stands_for) if neuron in sets[query["fact"], query["lang"]]]
        for i, j in itertools.combinations(inside, 2):
            a, b = neurons[key][i], neurons[key][j]
            one, two, both = ablated[key, a, (None, None)], ablated[key, b, (None, None)], ablated[key, a, b]
            scale = scan["p"] if view.drop == "relative" else 1.0
            drops = [(scan["p"] - row["p"]) / scale for row in (one, two, both)]
            interaction = log_odds(both["p"]) - log_odds(one["p"]) - log_odds(two["p"]) + log_odds(scan["p"])
            paper = drops[0] <= view.t_low and drops[1] <= view.t_low and drops[2] > view.t_high
            found.append(
                {"role": scan["role"], "fact": query["fact"], "lang": query["lang"], "a": a, "b": b, "drops": drops,
                 "interaction": interaction, "paper": paper, "strict": paper and interaction < -view.delta,
                 "expressed": one["argmax_kept"] and two["argmax_kept"] and not both["argmax_kept"]}
            )  # fmt: skip
    return found
