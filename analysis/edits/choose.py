"""Which sets of neurons tables 1 and 2 edit at a View's thresholds, and which queries each edit is read on.

The run computes what of this is not stored; the table looks it up. Both ask here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
import polars as pl

from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.edits.sets import (
    KINDS,
    Ablation,
    Kind,
    Others,
    cross_language_sets,
    draw_alike,
    draw_irrelevant,
    half_templates,
    label_seed,
    random_others,
    size_matched,
)
from knscope.analysis.edits.suppression import Sources, Suppressions
from knscope.analysis.prompts.encode import Query
from knscope.analysis.stored.facts import FIELDS, StoredFacts, of_view, stored_facts
from knscope.analysis.stored.negative import Sign, negative_neurons
from knscope.analysis.stored.neuron_sets import Neurons, gather, pair_of
from knscope.analysis.types import Bools, Ints
from knscope.store.reader import Reader
from knscope.store.view import View

EQUAL_SIZE = ", equal size"
RANDOM = ("random, equal size", "Mono-KN random")
"""The rows of tables 1 and 2 that rows of their size are read against."""
ACROSS = "1 across"
"""Sets of one language, read on their own fact in another."""
NEGATIVE = "1 negative"
"""Sets of negative neurons: suppressing them is meant to raise p."""
SET = "set"
"""A set of one's own, edited in every fact."""
_IRRELEVANT = """
    SELECT fact, other, same_relation, coalesce(kind, CASE WHEN same_relation THEN 'same relation' ELSE 'other relation' END) AS kind
    FROM irrelevant WHERE model = $model ORDER BY ALL
"""
_ATTRIBUTED = "SELECT DISTINCT query FROM attribution WHERE model = $model AND method = $method"


@dataclass(frozen=True)
class WantedEdit:
    """One edited set of one fact. `lang` is the language read; `reads` the fact's own query, then other facts', of which
    `kinds` says the kind.

    `operations`: each way to suppress, then `enhance`, with the queries whose activations they put in.
    """

    group: str
    name: str
    lang: str
    fact: str
    neurons: tuple[int, ...]
    reads: tuple[Query, ...]
    kinds: tuple[Kind, ...] = ()
    irrelevant: Kind = KINDS[0]
    """The kind of facts it should leave alone: of another relation, where the store has several."""
    operations: Sources = field(default_factory=lambda: {"suppress": (), "enhance": ()}, compare=False)

    def beside(self, kind: Kind) -> WantedEdit:
        """Read on its own fact and on facts of one kind alone."""
        others = [query for query, one in zip(self.reads[1:], self.kinds, strict=True) if one == kind]
        return replace(self, reads=(*self.reads[:1], *others), kinds=(kind,) * len(others))


def irrelevant(reader: Reader, view: View, seed: int = 0, facts: StoredFacts | None = None) -> pl.DataFrame:
    """Other facts that edits of each fact of the View's model are read on: fact, other, same_relation, kind, and `new` for
    those not stored, irrelevant ones first.

    A fact that has some of a kind stored keeps them, whatever was added since: they are drawn once.
    """
    known = facts or stored_facts(reader, view.model)
    old = reader.sql(_IRRELEVANT, {"model": view.model})
    about = known.frame.group_by("fact", maintain_order=True).agg(
        pl.col("relation").first(), pl.col("answer_tokens"), (pl.col("known").mean() >= 0.5)
    )
    names = about["fact"].to_list()
    labels = names, about["relation"].to_list(), [known.subject[name] for name in names]
    tokens = [{token for tokens in row for token in tokens} for row in about["answer_tokens"].to_list()]
    answers: dict[str, dict[str, str]] = {name: {} for name in names}
    for fact, lang, answer in known.frame.select("fact", "lang", "object").unique(maintain_order=True).iter_rows():
        answers[fact].setdefault(lang, answer)
    flags = about["known"].to_list()
    drawn = [draw_irrelevant(*labels, tokens, flags, seed=seed)]
    drawn += [
        draw_alike(*labels, list(answers.values()), flags, kind, seed=seed)
        for kind in KINDS[1:]
        if kind != drawn[0].kind
    ]
    fresh = pl.concat([_other_rows(names, one) for one in drawn]).join(
        old, on=["fact", "kind"], how="anti", maintain_order="left"
    )
    found = pl.concat([old.with_columns(new=pl.lit(False)), fresh.with_columns(new=pl.lit(True))])
    return found.sort(pl.col("kind").cast(pl.Enum(KINDS)), maintain_order=True)


def _other_rows(names: Sequence[str], drawn: Others) -> pl.DataFrame:
    about = {"fact": [names[i] for i in drawn.fact], "other": [names[i] for i in drawn.other]}
    frame = pl.DataFrame(about, schema={"fact": pl.String, "other": pl.String})
    return frame.with_columns(same_relation=pl.lit(drawn.kind != KINDS[0]), kind=pl.lit(drawn.kind, pl.String))


def wanted(
    reader: Reader,
    view: View,
    seed: int = 0,
    suppress: Sequence[Ablation] = ("zero",),
    signs: Sequence[Sign] = ("positive",),
) -> list[WantedEdit]:
    """Every edit that tables 1 and 2 show for a View, and those of its negative neurons where `signs` names them.

    Table 1: N of each stored method, each method's top n with n the smallest |N| among them, and n random neurons that are
    in no N, from the layers of the first method's; Table 2: two languages
    (`pair_of`), both directions, facts with a common neuron only. Held out: the main rows of both with N from half of a
    fact's templates, read on a template of the other half and on irrelevant facts alone. Across: N of the View's method in one
    language, read on its own fact in the others. `suppress`: the ways to, beside doubling.
    """
    facts, asked = _facts_and_others(reader, view, seed)
    by_method = {method: gather(reader, view.with_(method=method)) for method in reader.methods(view.model)}
    if view.method not in by_method:
        return []
    found: list[WantedEdit] = []
    if "positive" in signs:
        found += _table_1(by_method, asked, seed)
        if len(view.langs) > 1:
            found += _table_2(by_method[view.method].of_langs(pair_of(view.langs)), asked, seed)
            found += _across(by_method[view.method], asked)
        found += _held_out(view, _halved(reader, view, list(by_method), facts, seed), asked, seed)
    if "negative" in signs:
        found += _negative(reader, view, by_method[view.method], asked, seed)
    return found if tuple(suppress) == ("zero",) else list(_suppressed(found, Suppressions(facts, seed), suppress))


def wanted_of_set(
    reader: Reader, view: View, name: str, neurons: NeuronSet, seed: int = 0, suppress: Sequence[Ablation] = ("zero",)
) -> list[WantedEdit]:
    """The same set edited in every fact of a View, of the facts that it says it is made for where the View names none, and beside
    it as many random neurons of the same layers.

    :raises UserError: neurons of another model, or that this one does not have
    """
    facts, asked = _facts_and_others(reader, view, seed)
    addresses = reader.addresses(view.model)
    flat = neurons.flat(addresses, view.model)
    made_for = tuple(fact for fact in neurons.about.get("facts", ()) if fact in facts.relation)
    rows = of_view(facts.frame, view.with_(facts=view.facts or made_for))
    found: list[WantedEdit] = []
    for fact, lang in rows.select("fact", "lang").unique().sort("fact", "lang").iter_rows():
        found += asked.edit(SET, name, lang, fact, flat)
        found += asked.edit(SET, RANDOM[0], lang, fact, random_others(flat, addresses.width, label_seed(seed, fact)))
    return found if tuple(suppress) == ("zero",) else list(_suppressed(found, Suppressions(facts, seed), suppress))


def _facts_and_others(reader: Reader, view: View, seed: int) -> tuple[StoredFacts, _Asked]:
    facts = stored_facts(reader, view.model)
    others: dict[str, list[tuple[str, Kind]]] = {}
    for fact, other, kind in irrelevant(reader, view, seed, facts).select("fact", "other", "kind").iter_rows():
        others.setdefault(fact, []).append((other, kind))
    several = len(set(facts.relation.values())) > 1
    return facts, _Asked(facts, others, KINDS[0] if several else KINDS[1])


def _suppressed(edits: Sequence[WantedEdit], ways: Suppressions, suppress: Sequence[Ablation]) -> Iterator[WantedEdit]:
    """The same edits in other ways; those that none of these can suppress are left out."""
    for edit in edits:
        operations = ways.operations(suppress, edit.fact, edit.lang, {query.fact for query in edit.reads})
        if len(operations) > 1:
            yield replace(edit, operations=operations)


@dataclass(frozen=True)
class _Asked:
    facts: StoredFacts
    others: Mapping[str, Sequence[tuple[str, Kind]]]
    irrelevant: Kind

    def edit(
        self, group: str, name: str, lang: str, fact: str, neurons: Ints, own: Query | None = None
    ) -> Iterator[WantedEdit]:
        """The edit read on the fact's main query, unless another one is named, then on other facts'; none where there is no query."""
        main = own or self.facts.main.get((fact, lang))
        if main is None:
            return
        aside = [(self.facts.main.get((other, lang)), kind) for other, kind in self.others.get(fact, ())]
        there = [(query, kind) for query, kind in aside if query is not None]
        reads, kinds = (main, *(query for query, _ in there)), tuple(kind for _, kind in there)
        edit = WantedEdit(group, name, lang, fact, tuple(neurons.tolist()), reads, kinds, self.irrelevant)
        yield edit.beside(self.irrelevant) if group.endswith("held-out") else edit


def ordered_set(neurons: Neurons, fact: int, lang: int) -> Ints:
    """N at the View's thresholds, best first."""
    ranked = neurons.ranked.get(fact, lang)
    return ranked[np.isin(ranked, neurons.sets.get(fact, lang))]


def _table_1(by_method: Mapping[str, Neurons], asked: _Asked, seed: int) -> Iterator[WantedEdit]:
    places = {method: {fact: i for i, fact in enumerate(one.facts)} for method, one in by_method.items()}
    first = next(iter(by_method.values()))
    for k, lang in enumerate(first.langs):
        for fact in first.facts:
            if not all(fact in place for place in places.values()):
                continue
            sets = {method: ordered_set(one, places[method][fact], k) for method, one in by_method.items()}
            if min(len(one) for one in sets.values()) == 0:
                continue
            top = size_matched(sets, {method: len(one) for method, one in sets.items()})
            for method, neurons in sets.items():
                yield from asked.edit("1", method, lang, fact, neurons)
            if len(sets) > 1:
                for method, neurons in top.items():
                    yield from asked.edit("1", f"{method}{EQUAL_SIZE}", lang, fact, neurons)
            others = random_others(
                next(iter(top.values())), first.sets.widths, label_seed(seed, fact), np.concatenate([*sets.values()])
            )
            yield from asked.edit("1", RANDOM[0], lang, fact, others)


def _negative(reader: Reader, view: View, positive: Neurons, asked: _Asked, seed: int) -> Iterator[WantedEdit]:
    """N⁻ of the View's method, and as many random neurons of the same layers that are in neither set."""
    place = {fact: i for i, fact in enumerate(positive.facts)}
    addresses = reader.addresses(view.model)
    rows = negative_neurons(reader, view)
    for (fact, lang), some in rows.group_by("fact", "lang", maintain_order=True):
        fact, lang = str(fact), str(lang)
        if fact in place:
            flat = addresses.flat(some["layer"].to_numpy(), some["neuron"].to_numpy())
            yield from asked.edit(NEGATIVE, view.method, lang, fact, flat)
            own = positive.sets.get(place[fact], view.langs.index(lang))
            others = random_others(flat, positive.sets.widths, label_seed(seed, fact), own)
            yield from asked.edit(NEGATIVE, RANDOM[0], lang, fact, others)


def _across(neurons: Neurons, asked: _Asked) -> Iterator[WantedEdit]:
    """N of one language read on the fact in another."""
    for a, b in permutations(range(len(neurons.langs)), 2):
        for i, fact in enumerate(neurons.facts):
            chosen, read = ordered_set(neurons, i, a), asked.facts.main.get((fact, neurons.langs[b]))
            if len(chosen) and read is not None:
                yield WantedEdit(ACROSS, f"N of {neurons.langs[a]}", read.lang, fact, tuple(chosen.tolist()), (read,))


@dataclass(frozen=True)
class _HeldOut:
    """N of half of a fact's templates, and a query on the other half to read it on, by fact and language."""

    sets: Mapping[str, Mapping[tuple[str, str], Ints]]
    read: Mapping[tuple[str, str], Query]


def _halved(reader: Reader, view: View, methods: Sequence[str], facts: StoredFacts, seed: int) -> _HeldOut:
    """The sets of every method; a fact attributed on a single template holds nothing out."""
    common = _on_common_templates(reader, view, methods, facts)
    fit: list[str] = []
    read: dict[tuple[str, str], Query] = {}
    for (fact, lang), rows in common.group_by("fact", "lang", maintain_order=True):
        first, rest = half_templates(rows["template"].to_list(), seed)
        if rest:
            fit += rows.filter(pl.col("template").is_in(first))["query"].to_list()
            row = rows.filter(pl.col("template") == rest[0]).row(0, named=True)
            read[str(fact), str(lang)] = Query(*(row[name] for name in FIELDS))
    addresses = reader.addresses(view.model)
    sets: dict[str, dict[tuple[str, str], Ints]] = {method: {} for method in methods}
    for method in methods if fit else ():
        kn = reader.kn(view.with_(method=method, queries=tuple(fit)))
        flat = addresses.with_flat(kn).sort("rel", "flat", descending=[True, False])
        for fact, lang, neurons in flat.group_by("fact", "lang").agg("flat").iter_rows():
            sets[method][fact, lang] = np.array(neurons, dtype=np.int64)
    return _HeldOut(sets, read)


def _on_common_templates(reader: Reader, view: View, methods: Sequence[str], facts: StoredFacts) -> pl.DataFrame:
    """Attributed queries of the View's languages, those that every method has which has the fact: were each to halve its own
    templates, what is held out of one method would be what another one chose by."""
    mine = facts.frame.filter(pl.col("lang").is_in(view.langs))
    found = [
        mine.join(
            reader.sql(_ATTRIBUTED, {"model": view.model, "method": method}), on="query", how="semi"
        ).with_columns(method=pl.lit(method))
        for method in methods
    ]
    with_fact = pl.col("method").n_unique().over("fact", "lang")
    with_query = pl.col("method").n_unique().over("query")
    both = pl.concat(found).filter(with_query == with_fact)
    return both.unique("query").drop("method").sort("fact", "lang", "template", "query")


def _held_out(view: View, halves: _HeldOut, asked: _Asked, seed: int) -> Iterator[WantedEdit]:
    """The rows of tables 1 and 2 with N from one half of the templates, read on a template of the other half."""
    for fact, lang in sorted(halves.read):
        if all((fact, lang) in sets for sets in halves.sets.values()):
            for method, held in halves.sets.items():
                yield from asked.edit("1 held-out", method, lang, fact, held[fact, lang], halves.read[fact, lang])
    own = halves.sets[view.method]
    for a, b in permutations(pair_of(view.langs)) if len(view.langs) > 1 else ():
        for fact in sorted({fact for fact, lang in own if lang == a}):
            if (fact, b) not in own or (fact, b) not in halves.read or not np.isin(own[fact, a], own[fact, b]).any():
                continue
            rows = cross_language_sets(own[fact, a], own[fact, b], [], label_seed(seed, fact))
            for name in ("LIKN", "Mono-KN", "Seq-KN", "Union"):
                yield from asked.edit("2 held-out", name, b, fact, rows[name], halves.read[fact, b])


def _table_2(neurons: Neurons, asked: _Asked, seed: int) -> list[WantedEdit]:
    same_relation = neurons.keys.eligible().other_answer
    found: list[WantedEdit] = []
    for a, b in permutations(range(2)):
        lang = neurons.langs[b]
        mine = [ordered_set(neurons, i, a) for i in range(len(neurons.facts))]
        theirs = [ordered_set(neurons, i, b) for i in range(len(neurons.facts))]
        shared = [one[np.isin(one, other)] for one, other in zip(mine, theirs, strict=True)]
        sizes = np.array([len(one) for one in shared])
        for i in np.flatnonzero(sizes).tolist():
            fact = neurons.facts[i]
            partner = _mismatched(i, sizes, same_relation[i], label_seed(seed, fact))
            if partner is None:
                continue
            rows = cross_language_sets(mine[i], theirs[i], shared[partner], label_seed(seed, fact))
            for name, one in rows.items():
                found += asked.edit("2", name, lang, fact, one)
    return found


def _mismatched(i: int, sizes: Ints, eligible: Bools, seed: Sequence[int]) -> int | None:
    """A fact of the same relation with another answer, drawn among those that share as much, else the most."""
    candidates = np.flatnonzero(eligible & (sizes > 0))
    if len(candidates) == 0:
        return None
    reach = np.minimum(sizes[candidates], sizes[i])
    best = candidates[reach == reach.max()]
    return int(np.random.default_rng(seed).choice(best))
