"""The facts a run works on, read from its data and sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from knscope.analysis.api.neuron_set import NeuronSet
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import needs_others
from knscope.analysis.engine.sources import is_decoder
from knscope.analysis.neurons import notes
from knscope.analysis.prompts.encode import Query
from knscope.analysis.runs.config import RunConfig, parse_part
from knscope.store import open as open_store
from knscope.store.errors import UserError
from knscope.store.layout import expanded
from knscope.store.reader import Reader
from knscope.store.runs import read_runs

Templates = tuple[tuple[str, str, str], ...]
"""Relation, language and template of each."""
QUERY_COLUMNS = ("fact", "relation", "lang", "template", "subject", "object")


def query_rows(frame: pl.DataFrame, prefix: str = "") -> list[Query]:
    """The facts frame as rows, the facts of all relations taken in turn, so that an early look sees some of
    everything.
    """
    names = ("fact_id", *QUERY_COLUMNS[1:])
    turn: dict[str, dict[str, int]] = {}
    others = frame["alternatives"].to_list() if "alternatives" in frame.columns else [()] * frame.height
    rows = []
    for cells, alternatives in zip(frame.select(names).iter_rows(), others, strict=True):
        fact, relation, lang, template, subject, answer = (str(value) for value in cells)
        rows.append(Query(fact, relation, lang, template, subject, answer, prefix, tuple(alternatives or ())))
    for row in rows:
        facts = turn.setdefault(row.relation, {})
        facts.setdefault(row.fact, len(facts))
    return sorted(dict.fromkeys(rows), key=lambda row: turn[row.relation][row.fact])


@dataclass(frozen=True)
class Facts:
    """The rows a run works on, and the hash of the data they came from."""

    rows: tuple[Query, ...]
    dataset: str
    hash: str
    templates: Templates = ()
    """Those of all the data, in their order."""


def known_rows(rows: Sequence[Query], known: Collection[str], every: bool) -> list[Query]:
    """The `known` ones (by id) among queries, of facts that have one in `every` language there is, or in any."""
    langs = {row.lang for row in rows}
    speaks: dict[str, set[str]] = {}
    for row in rows:
        if row.id in known:
            speaks.setdefault(row.fact, set()).add(row.lang)
    return [row for row in rows if row.id in known and (not every or speaks[row.fact] == langs)]


def load_facts(config: RunConfig) -> Facts:
    """Read and sample the data a run names; the same call gives the same rows in the same order.

    :raises UserError: when the data cannot be read or nothing is left of it
    """
    if config.data == "demo" and config.templates == "all" and not config.columns:
        name, digest, frame, templates = _demo_facts(config)
        every = frame
    else:
        from knscope.analysis import datasets
        from knscope.analysis.datasets.sampling import ends_in_answer

        dataset = datasets.load(config.data, langs=config.langs, relations=config.relations, columns=config.columns)
        name, digest, every = dataset.name, dataset.hash, dataset.frame
        frame = every
        templates = _templates(frame)
        if config.facts is not None and all(is_decoder(model.source) for model in config.models):
            # drawn facts should be ones the models can use; without a draw the others are counted as unusable
            frame = frame.filter(ends_in_answer())
        frame = datasets.sample(frame, facts=config.facts, seed=config.seed, templates=config.templates)
    shown = _examples(every, frame, config) if config.shots else {}
    if config.fact_ids:
        frame = frame.filter(pl.col("fact_id").is_in(config.fact_ids))
    if frame.is_empty():
        raise UserError(
            f"{config.data}: no fact is left after --langs, --relations and --facts; "
            f"see what there is: knscope data check {config.data}"
        )
    rows = query_rows(frame, config.prefix)
    if shown:
        examples = {fact for facts in shown.values() for fact in facts}
        solved = _solved(every.filter(pl.col("fact_id").is_in(examples)), shown)
        asked = (row for row in rows if row.fact not in examples)
        rows = [
            replace(row, prefix=row.prefix + solved.get((row.relation, row.lang, row.template), "")) for row in asked
        ]
    return Facts(tuple(_part(rows, config)), name, digest, templates)


def other_facts(config: RunConfig) -> tuple[Query, ...]:
    """All rows of the data that a run names, whichever of them it asks: what `mean` and `resample` draw from. Raises as `load_facts`."""
    every = replace(config, facts=None, templates="all", langs=(), relations=(), fact_ids=(), known="", part="")
    return load_facts(every).rows


def _part(rows: Sequence[Query], config: RunConfig) -> Sequence[Query]:
    """The rows of the facts in one part of all, which holds about as many of each relation as the others.

    :raises UserError: there are fewer facts than parts
    """
    if not (part := parse_part(config.part)):
        return rows
    number, of = part
    by_relation = sorted(rows, key=lambda row: row.relation)
    facts = set(list(dict.fromkeys(row.fact for row in by_relation))[number - 1 :: of])
    if not facts:
        raise UserError(f"--part {config.part}: {config.data} has fewer facts than {of}; take fewer parts")
    return [row for row in rows if row.fact in facts]


def _examples(every: pl.DataFrame, asked: pl.DataFrame, config: RunConfig) -> dict[str, list[str]]:
    """By relation the facts that are shown solved: drawn by the seed, if possible of those that are not asked.

    :raises UserError: a relation has too few facts
    """
    sampled = set(asked["fact_id"])
    found: dict[str, list[str]] = {}
    for (relation,), part in every.group_by("relation", maintain_order=True):
        if relation not in set(asked["relation"]):
            continue
        facts = part.unique("subject", maintain_order=True)["fact_id"].unique(maintain_order=True).to_list()
        free = [fact for fact in facts if fact not in config.fact_ids]
        order = sorted(
            free, key=lambda fact: (fact in sampled, hashlib.sha256(f"{config.seed}:{fact}".encode()).digest())
        )
        found[str(relation)] = order[: config.shots]
        left = sampled & set(part["fact_id"]) - set(found[str(relation)])
        if len(found[str(relation)]) < config.shots or not left:
            raise UserError(
                f"--shots {config.shots}: relation {relation} has {len(facts):,} facts, too few to show some and ask others"
            )
    return found


def _solved(examples: pl.DataFrame, shown: Mapping[str, Sequence[str]]) -> dict[tuple[str, str, str], str]:
    """By relation, language and template the text of its examples, a line each, in the order in which they were drawn."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    names = ("relation", "lang", "template", "fact_id", "subject", "object")
    for relation, lang, template, fact, subject, answer in examples.select(names).iter_rows():
        line = template.replace("[X]", subject).replace("[Y]", answer) + "\n"
        lines.setdefault((relation, lang, template), {})[fact] = line
    return {place: "".join(of[fact] for fact in shown[place[0]] if fact in of) for place, of in lines.items()}


def _templates(frame: pl.DataFrame) -> Templates:
    return tuple(frame.select("relation", "lang", "template").unique(maintain_order=True).iter_rows())


def _demo_facts(config: RunConfig) -> tuple[str, str, pl.DataFrame, Templates]:
    """The bundled facts, each on the templates that training held out for it."""
    from knscope.analysis.demo.facts import FACTS_CSV, load_facts
    from knscope.analysis.demo.split import demo_sample

    frame = demo_sample(config.facts, seed=config.seed)
    for column, wanted in (("lang", config.langs), ("relation", config.relations)):
        if wanted:
            frame = frame.filter(pl.col(column).is_in(wanted))
    return "demo", hashlib.sha256(FACTS_CSV.read_bytes()).hexdigest(), frame, _templates(load_facts())


def check_store(store: Path, config: RunConfig, dataset_hash: str) -> None:
    """Raise UserError for what a run cannot ask of a store.

    That is a set that is no file that can be read and no list of any model of the store; and a method that starts from other facts where
    the store has its scores from those of other data: one prompt would have two scores by one method.
    """
    starting = {method for method in config.methods if needs_others(parse_method(method))}
    models = {model.source for model in config.models}
    for record in read_runs(store) if starting else ():
        same = starting.intersection(record.config.get("methods", ()))
        same = same if models.intersection(model.get("source") for model in record.config.get("models", ())) else set()
        if same and record.computed and record.provenance.get("dataset_hash", dataset_hash) != dataset_hash:
            raise UserError(
                f"--method {min(same)} starts from other facts of the data, and {store} holds its scores from those of "
                f"{record.config.get('data')} (run {record.run}); name another store"
            )
    for name in config.sets:
        if notes.names_file(name):
            NeuronSet.load(name)
            continue
        with open_store(store) as reader:
            known = {tag for model in reader.models() for tag in notes.lists(reader, model)}
        if name not in known:
            there = f"; its lists are {', '.join(sorted(known))}" if known else ""
            raise UserError(f"--set {name}: no file of that name, and no list of {store}{there}")


def load_sets(reader: Reader, model: str, config: RunConfig) -> dict[str, NeuronSet]:
    """The neuron sets that a run edits in a model, by file or list; a list that only other models have is left out.

    :raises UserError: a file that cannot be read, or that holds no set
    """
    here = notes.lists(reader, model)
    files = {name: NeuronSet.load(name) for name in config.sets if notes.names_file(name)}
    return files | {name: notes.set_of(reader, model, name) for name in config.sets if name in here}


def absolute_set(text: str, folder: Path = Path()) -> str:
    """A set's file with its path, which begins at `folder`, made absolute; the name of a list as it is."""
    place = folder / expanded(text)
    return str(place.resolve()) if notes.names_file(place) else text


def absolute_data(data: str, folder: Path = Path()) -> str:
    """The data's name with its path, which begins at `folder`, made absolute: `mlama:DIR`, a file; bundled data and `hf:…` as they are."""
    kind, found, path = data.partition(":")
    if data in ("demo", "agreement") or kind == "hf":
        return data
    if found and "/" not in kind and not (folder / data).exists():
        return f"{kind}:{(folder / expanded(path)).resolve()}"
    return str((folder / expanded(data)).resolve())
