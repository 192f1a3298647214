"""What the languages share (eq. 8): coverage, uniform chance, and the controls that decide, mismatched facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from knscope.analysis.likn.chance import benjamini_hochberg
from knscope.analysis.likn.mismatch import FactKeys, Overlap, Verdict, overlap, share_tokens
from knscope.analysis.likn.neuron_sets import NeuronSets, equal_size
from knscope.analysis.statistics.bootstrap import mean_interval
from knscope.analysis.statistics.columns import RULE, span, span_columns, told_in_text
from knscope.analysis.statistics.table import Table
from knscope.analysis.stored.neuron_sets import Neurons, gather
from knscope.analysis.types import Ints
from knscope.store.reader import Reader
from knscope.store.view import View

NOTES = (
    "L: neurons in N of every language; size: mean |N| by language; coverage: facts with a non-empty L; observed: mean |L|",
    "chance: |L| of sets drawn at random within layers. Mismatched facts decide: the other languages' sets are taken from a fact of "
    "the same relation with another answer (a), of another relation (b), of the same relation with the same answer in every language and "
    "another subject (c); c_facts: facts that have such a partner",
    "vs_a, vs_c: interval (95 %) of observed - a and of observed - c over subjects, of the facts that have such a partner. ~: fewer than "
    "10 subjects, rough; too few: fewer than 5. p_a, p_b, p_c: against re-paired facts; a dash where no fact has 4 partners",
    "verdict, by these intervals alone: own (above a and c), of the answer (above a, not c), undecided (above a, and no interval for c), "
    "relation (above b, not a), generic (above chance), chance, empty. Only own may be called language-independent neurons of a fact. "
    "own: facts that are so by themselves (p ≤ 0.05 against a and c), uncorrected",
    "top n: the same with the n neurons of highest mean rel of each language, n the median |N| of the first one",
)
FACT_NOTES = (
    "a, b, c: mean shared with mismatched facts: same relation and other answer; other relation; same relation and answer, other subject. "
    "p: (1 + mismatched that share at least as much) / (1 + mismatched); q: Benjamini-Hochberg over facts, descriptive. The claim about "
    "all facts is the interval of likn",
    "verdict: own (above a and c), of the answer (above a, not c), relation (above b), generic (above chance), chance, empty, undecided "
    "(too few facts of a, or of c, to compare with)",
)


Row = dict[str, object]
"""One line of the table: a choice of facts and set sizes. None where nothing can be said."""


def build(reader: Reader, view: View, seed: int = 0, between: Callable[[], None] = lambda: None) -> Table:
    """Split by shared answer tokens, by relation, and for each pair of languages; each at the thresholds and at equal set size.

    `between` is called before each line: whoever has better things to do with the processor may wait in it.
    """
    rows: list[Row] = []
    if len(view.langs) > 1:
        neurons = gather(reader, view)
        rows = table_rows(neurons, seed, between) + pair_rows(neurons, seed, between)
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    notes = (
        (*NOTES, RULE) if rows else ("one language only: there is nothing to share; choose two or more with --langs",)
    )
    title = f"neurons shared by {' + '.join(view.langs)}: {view.model}, {view.method}"
    return Table("likn", title, frame, notes, told_in_text(_SCHEMA))


def table_rows(neurons: Neurons, seed: int = 0, between: Callable[[], None] = lambda: None) -> list[Row]:
    """What `build` shows of all languages together, from sets in memory."""
    if not neurons.facts:
        return []
    all_present = neurons.sets.present.all(axis=1)
    equal, size = equal_size(neurons.sets, neurons.ranked)
    everyone = np.ones(len(neurons.facts), dtype=np.bool_)
    cognate = np.array([_cognate(row) for row in neurons.tokens], dtype=np.bool_)
    parts: list[tuple[str, np.ndarray]] = []
    if (cognate & all_present).any() and (~cognate & all_present).any():
        parts += [("shared answer token", cognate), ("no shared token", ~cognate)]
    relation = np.array(neurons.relations)
    names = dict.fromkeys(neurons.relations)
    if len(names) > 1:
        parts += [(f"relation {name}", relation == name) for name in names]
    choices = [("at the thresholds", neurons.sets, everyone), (f"top {size} of each", equal, everyone)]
    choices += [(name, neurons.sets, chosen) for name, chosen in parts]
    choices += [(f"top {size}, {name}", equal, chosen) for name, chosen in parts]
    rows = []
    for name, sets, chosen in choices:
        between()
        rows.append(one_row(name, neurons.langs, sets, neurons.keys, chosen, seed))
    return rows


def facts(reader: Reader, view: View, seed: int = 0) -> Table:
    """One row a fact attributed in all languages: what they share of it, against chance and against mismatched facts."""
    neurons = gather(reader, view)
    found = overlap(neurons.sets, neurons.keys, seed=seed) if len(view.langs) > 1 and neurons.facts else None
    columns: dict[str, Sequence[object]] = dict.fromkeys(_FACT_SCHEMA, ())
    if found is not None:
        uniform = found.uniform
        controls = {"a": found.same_relation, "b": found.other_relation, "c": found.same_answer}
        columns = {
            "fact": [neurons.facts[i] for i in found.facts],
            "relation": [neurons.relations[i] for i in found.facts],
            "shared token": [_cognate(neurons.tokens[i]) for i in found.facts],
            "size": [" ".join(map(str, row)) for row in found.sizes.tolist()],
            "observed": uniform.observed.tolist(),
            "chance": uniform.expected.tolist(),
            "p_chance": uniform.p.tolist(),
            "q_chance": found.q_uniform.tolist(),
            **{f"{name} {what}": getattr(one, what) for name, one in controls.items() for what in ("mean", "p")},
            "c partners": found.same_answer.partners.tolist(),
            "a q": adjusted(found.same_relation.p),
            "verdict": found.verdicts,
        }
    title = f"neurons shared by {' + '.join(view.langs)}, by fact: {view.model}, {view.method}"
    return Table("likn_facts", title, pl.DataFrame(columns, schema=_FACT_SCHEMA, strict=False), FACT_NOTES)


def adjusted(p: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg over the facts that have a p; None for the others."""
    known = [value for value in p if value is not None]
    found = iter(benjamini_hochberg(known).tolist())
    return [None if value is None else next(found) for value in p]


def pair_rows(neurons: Neurons, seed: int = 0, between: Callable[[], None] = lambda: None) -> list[Row]:
    """Every two of three or more languages, at the thresholds (what the overlap matrix is made of) and at equal size."""
    if len(neurons.langs) < 3:
        return []
    pairs = [neurons.of_langs(pair) for pair in combinations(neurons.langs, 2)]
    everyone = np.ones(len(neurons.facts), dtype=np.bool_)
    rows, equally = [], []
    for two in pairs:
        between()
        name = " + ".join(two.langs)
        rows.append(one_row(name, two.langs, two.sets, two.keys, everyone, seed))
        between()
        equal, size = equal_size(two.sets, two.ranked)
        equally.append(one_row(f"top {size}, {name}", two.langs, equal, two.keys, everyone, seed))
    return rows + equally


def one_row(name: str, langs: Sequence[str], sets: NeuronSets, keys: FactKeys, chosen: np.ndarray, seed: int) -> Row:
    """The overlap of the chosen facts (F,) as a line."""
    places = np.flatnonzero(chosen)
    found = overlap(sets.select(places), keys.select(places), seed=seed)
    a, b, c = found.same_relation, found.other_relation, found.same_answer
    sizes = found.sizes.mean(axis=0) if len(found.facts) else np.zeros(len(langs))
    subject = keys.select(places).select(found.facts).subject
    return {
        "sets": name,
        "langs": "+".join(langs),
        "facts": len(found.facts),
        "subjects": len(np.unique(subject)),
        "size": " ".join(f"{size:.1f}" for size in sizes),
        "coverage": found.coverage,
        "observed": found.observed,
        "chance": found.expected,
        "a": a.average,
        "b": b.average,
        "c": c.average,
        "c_facts": c.facts,
        **span("vs_a", a.interval),
        **span("vs_c", c.interval),
        "p_a": a.p_overall,
        "p_b": b.p_overall,
        "p_c": c.p_overall,
        "verdict": verdict(found, subject, seed) if len(found.facts) else None,
        "own": sum(one == "own" for one in found.verdicts),
    }


def verdict(found: Overlap, subject: Ints, seed: int = 0) -> Verdict:
    """The word for a choice of facts: what the intervals of observed - control are above. `subject` (F,) of its facts."""
    if not found.observed:
        return "empty"
    chance = mean_interval(found.uniform.observed - found.uniform.expected, subject, seed=seed)
    if chance.low is not None and chance.low <= 0:
        return "chance"
    if found.same_relation.above is None:
        return "undecided"
    if not found.same_relation.above:
        above = found.other_relation.above
        return "undecided" if above is None else "relation" if above else "generic"
    if found.same_answer.above is None:
        return "undecided"
    return "own" if found.same_answer.above else "of the answer"


def _cognate(tokens: Sequence[tuple[str, ...] | None]) -> bool:
    return share_tokens([part for part in tokens if part is not None])


_SCHEMA = {
    "sets": pl.String,
    "langs": pl.String,
    "facts": pl.Int64,
    "subjects": pl.Int64,
    "size": pl.String,
    **dict.fromkeys(("coverage", "observed", "chance", "a", "b", "c"), pl.Float64),
    "c_facts": pl.Int64,
    **span_columns("vs_a"),
    **span_columns("vs_c"),
    **dict.fromkeys(("p_a", "p_b", "p_c"), pl.Float64),
    "verdict": pl.String,
    "own": pl.Int64,
}
_FACT_SCHEMA = {
    "fact": pl.String,
    "relation": pl.String,
    "shared token": pl.Boolean,
    "size": pl.String,
    "observed": pl.Int64,
    **dict.fromkeys(("chance", "p_chance", "q_chance"), pl.Float64),
    **dict.fromkeys(("a mean", "a p", "b mean", "b p", "c mean", "c p"), pl.Float64),
    "c partners": pl.Int64,
    "a q": pl.Float64,
    "verdict": pl.String,
}
