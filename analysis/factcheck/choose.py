"""Which claims table 3 judges, and which neurons are read on each, at no particular threshold.

The run computes what of this is not stored; the table looks it up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from knscope.analysis.factcheck.claims import claim_neurons, derange, split_subjects
from knscope.analysis.prompts.encode import Query
from knscope.analysis.prompts.open_prompt import ASKED
from knscope.analysis.stored.facts import StoredFacts, join_subjects, stored_facts
from knscope.store.reader import Reader
from knscope.store.runs import read_runs
from knscope.store.view import View

_SCANNED = """
    SELECT DISTINCT q.relation, q.lang, n.layer, n.neuron
    FROM scan c JOIN query q USING (query) JOIN scan_neuron n USING (key)
    WHERE c.model = $model AND c.method = $method AND c.role = 'kn' ORDER BY ALL
"""


@dataclass(frozen=True)
class WantedClaim:
    """A fact's main query with the claimed object in place of its own. The test part has no say in which one is main.

    `main` is the id of the fact's own main query; `neurons` (flat) are those scanned in the relation and language, and as
    many random ones of the same layers.
    """

    query: Query
    main: str
    correct: bool
    part: str
    neurons: tuple[int, ...]


def seed_of(reader: Reader) -> int:
    """The seed by which the newest run that read claims split the subjects and dealt wrong objects; 0 where none did."""
    asked = [record.config for record in read_runs(reader.path) if "factcheck" in (record.config.get("what") or ())]
    seed = asked[-1].get("seed", 0) if asked else 0
    return seed if type(seed) is int else 0


def parts(reader: Reader, model: str, seed: int = 0) -> dict[str, str]:
    """The part of each fact of the data: that of its subject, over all relations and languages."""
    return _parts(stored_facts(reader, model), seed)


def _parts(facts: StoredFacts, seed: int) -> dict[str, str]:
    """A typed question counts for nothing here: it must not deal the claims of others anew."""
    subject = {fact: facts.subject[fact] for fact, relation in facts.relation.items() if relation != ASKED}
    by_subject = split_subjects(subject.values(), seed)
    return {fact: by_subject[label] for fact, label in subject.items()}


def scanned_neurons(reader: Reader, view: View) -> dict[tuple[str, str], list[int]]:
    """Flat neurons whose ablations are stored, by relation and language: all that 𝒟 can hold at any threshold."""
    found: dict[tuple[str, str], list[int]] = {}
    rows = reader.sql(_SCANNED, {"model": view.model, "method": view.method})
    placed = reader.addresses(view.model).with_flat(rows)
    for relation, lang, flat in placed.select("relation", "lang", "flat").iter_rows():
        found.setdefault((relation, lang), []).append(flat)
    return found


def wanted(reader: Reader, view: View, seed: int = 0) -> list[WantedClaim]:
    """Right and wrong claims of every fact with a main query in the View's languages, where neurons were scanned."""
    facts = stored_facts(reader, view.model)
    part = _parts(facts, seed)
    widths = reader.addresses(view.model).width
    scanned = scanned_neurons(reader, view)
    groups: dict[tuple[str, str, str], list[Query]] = {}
    main = facts.main_without({fact for fact, name in part.items() if name == "test"})
    for (fact, lang), query in sorted(main.items()):
        if fact in part and (query.relation, lang) in scanned and lang in view.langs:
            groups.setdefault((query.relation, lang, part[fact]), []).append(query)
    right = right_answers(main, facts.subject)
    found = []
    for (relation, lang, name), queries in groups.items():
        watched, others = claim_neurons(scanned[relation, lang], widths, seed)
        neurons = tuple(np.concatenate([watched, others]).tolist())
        answers = [right[relation, lang, facts.subject[query.fact]] for query in queries]
        wrong = derange([query.object for query in queries], answers, seed)
        for query, other in zip(queries, wrong, strict=True):
            if other is None:
                continue
            found.append(WantedClaim(query, query.id, True, name, neurons))
            found.append(WantedClaim(replace(query, object=other), query.id, False, name, neurons))
    return found


def judged(claims: Iterable[WantedClaim]) -> list[WantedClaim]:
    """The claims whose readings decide something: those of the middle and the last part, in languages that have any of the last.

    Neurons are chosen on the first part by its pairs, whatever its claims are.
    """
    needed = [claim for claim in claims if claim.part != "neurons"]
    langs = {claim.query.lang for claim in needed if claim.part == "test"}
    return [claim for claim in needed if claim.query.lang in langs]


def expected(queries: Iterable[Query], seed: int = 0) -> int:
    """About how many claims are read of these facts, before any neuron is known: two of each that is judged, where another fact of its
    relation, language and part has an object for its wrong one."""
    asked = {(query.fact, query.lang): query for query in queries}
    subject = join_subjects((query.fact, query.lang, query.subject) for query in asked.values())
    part = split_subjects(subject.values(), seed)
    groups = Counter((query.relation, query.lang, part[subject[query.fact]]) for query in asked.values())
    several = {group: facts for group, facts in groups.items() if facts > 1}
    judged = {lang for _, lang, name in several if name == "test"}
    return sum(2 * facts for (_, lang, name), facts in several.items() if name != "neurons" and lang in judged)


def unjudged(places: Iterable[tuple[str, str]]) -> str:
    """What to say before claims are computed of languages where none is judged; empty where each has one.

    :param places: language and part of each fact (or claim)
    """
    found: dict[str, set[str]] = {}
    for lang, part in places:
        found.setdefault(lang, set()).add(part)
    without = sorted(lang for lang, there in found.items() if "test" not in there)
    if not without:
        return ""
    return (
        f"no claims are read in {', '.join(without)}: fact checking judges a fifth of the subjects, and none of these languages "
        "is among them; more facts, or another seed, would change that"
    )


def right_answers(
    main: Mapping[tuple[str, str], Query], subject: Mapping[str, str]
) -> dict[tuple[str, str, str], set[str]]:
    """Every right object of a (relation, language, subject): those stored as facts, and their alternatives."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for (fact, lang), query in main.items():
        found.setdefault((query.relation, lang, subject[fact]), set()).update((query.object, *query.alternatives))
    return found
