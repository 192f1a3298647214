"""Which facts methods are held against truth on, and the measuring itself. Imports torch; runs in a process of its own."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import polars as pl

from knscope.analysis.attribution.method import parse_method
from knscope.analysis.attribution.others import draw_others, needs_others, used
from knscope.analysis.edits.measure import mean_activations
from knscope.analysis.edits.sets import KINDS, Kind, draw_alike, draw_irrelevant
from knscope.analysis.engine import models, replay
from knscope.analysis.errors import UnusableQuery
from knscope.analysis.faithfulness.compare import Item, compare
from knscope.analysis.prompts import encode
from knscope.analysis.prompts.encode import EncodedQuery
from knscope.analysis.runs.facts import Templates, load_facts, other_facts
from knscope.analysis.runs.kept import KeptItems, StoredScores
from knscope.analysis.runs.keys import model_hash
from knscope.analysis.runs.measuring import Task
from knscope.analysis.runs.worker import USER_ERRORS, resolve_device
from knscope.analysis.stored.facts import join_subjects
from knscope.store.main_query import main_queries, template_order

ALIKE = 2
"""Facts of the same relation that curves are read on too, of each of the two kinds."""
_ASKED = ("fact", "relation", "lang", "template", "prefix")


def serve(text: str, answer: TextIO, asked: int = 0) -> int:
    """Do one task and write its events to `answer`; ends early when the file descriptor `asked` reaches its end."""
    cancelled = threading.Event()

    def listen() -> None:
        while os.read(asked, 4096):
            pass
        cancelled.set()

    threading.Thread(target=listen, daemon=True).start()

    def send(event: str, **fields: Any) -> None:
        answer.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
        answer.flush()

    def progress(done: int, total: int) -> bool:
        send("progress", done=done, total=total)
        return not cancelled.is_set()

    try:
        send("result", document=measure(Task.from_json(json.loads(text)), progress))
    except USER_ERRORS as error:
        send("error", message=str(error))
    return 0


def measure(task: Task, progress: Callable[[int, int], bool]) -> dict[str, Any]:
    """One task's rows and groups, and the model's label.

    :raises UserError, ModelError: when the data or the model cannot be used
    """
    config = task.config
    facts = load_facts(config)
    loaded = models.load_model(
        config.models[0].source, dtype=config.dtype, device=resolve_device(config.device), threads=1
    )
    engine = replay.Engine(loaded, memory_bytes=config.memory)
    langs = config.models[0].langs
    rows = [row for row in facts.rows if not langs or row.lang in langs]
    mains, known = predicted_mains(engine, rows, facts.templates)
    items = make_items(task, mains, known)
    mine = items[task.part :: task.of]
    progress(0, len(mine))

    def others(method: str, queries: Sequence[EncodedQuery]) -> dict[str, list[EncodedQuery]]:
        wanted = parse_method(method)
        if not needs_others(wanted):
            return {}
        drawn = draw_others(wanted, [query.query for query in queries], other_facts(config))
        return {name: list(used(wanted, _readable(loaded, some))) for name, some in drawn.items()}

    found = compare(
        engine,
        mine,
        task.methods,
        singles=task.singles,
        scores=StoredScores(engine, others, task.store),
        kept=KeptItems(task, model_hash(asdict(loaded.identity)), loaded.label) if task.store else None,
        means=_means(engine, [item.query for item in items]),
        permutations=task.permutations,
        seed=config.seed,
        progress=lambda done: progress(done, len(mine)),
    )
    return {"model": loaded.label, **found.to_json()}


def _readable(loaded: models.LoadedModel, rows: Iterable[encode.Query]) -> list[EncodedQuery]:
    found = []
    for row in rows:
        with suppress(UnusableQuery):
            found.append(encode.encode(loaded, row))
    return found


def predicted_mains(
    engine: replay.Engine, rows: Sequence[encode.Query], templates: Templates
) -> tuple[dict[tuple[str, str], EncodedQuery], dict[str, bool]]:
    """The main query of each (fact, language), encoded, and whether each query (by id) is known."""
    encoded = {one.query.id: one for one in _readable(engine.loaded, rows)}
    predictions = engine.predict(list(encoded.values()))
    known = {name: bool(found.known) for name, found in zip(encoded, predictions, strict=True)}
    asked = [(name, *(getattr(one.query, column) for column in _ASKED), known[name]) for name, one in encoded.items()]
    columns = {**dict.fromkeys(("query", *_ASKED), pl.String), "known": pl.Boolean}
    queries = pl.DataFrame(asked, schema=columns, orient="row").with_columns(scanned=pl.lit(False))
    order = template_order(templates)
    mains = main_queries(queries.join(order, on=order.columns[:3], how="left", maintain_order="left"))
    return {(fact, lang): encoded[name] for name, fact, _, lang, *_ in mains.iter_rows()}, known


def make_items(task: Task, mains: Mapping[tuple[str, str], EncodedQuery], known: Mapping[str, bool]) -> list[Item]:
    """The known main queries, languages in turn, each beside its irrelevant facts' queries of the same language.

    The group truth is taken of `task.grouped` of them, evenly over facts and languages.
    """
    facts = list(dict.fromkeys(fact for fact, _ in mains))
    langs = list(dict.fromkeys(lang for _, lang in mains))
    relation = {query.query.fact: query.query.relation for query in mains.values()}
    subject = join_subjects((one.query.fact, one.query.lang, one.query.subject) for one in mains.values())
    tokens = {
        fact: {token for lang in langs if (fact, lang) in mains for token in mains[fact, lang].answer_tokens}
        for fact in facts
    }
    answers = [{lang: mains[fact, lang].query.object for lang in langs if (fact, lang) in mains} for fact in facts]
    shares = [np.mean([known[mains[fact, lang].query.id] for lang in langs if (fact, lang) in mains]) for fact in facts]
    labels = facts, [relation[fact] for fact in facts], [subject[fact] for fact in facts]
    flags, seed = [bool(share >= 0.5) for share in shares], task.config.seed
    drawn = draw_irrelevant(*labels, [tokens[fact] for fact in facts], flags, n=task.irrelevant + 1, seed=seed)
    alike: dict[Kind, dict[str, list[str]]] = {}
    for kind in KINDS[1:]:
        found = draw_alike(*labels, answers, flags, kind, n=ALIKE, seed=seed)
        for i, j in zip(found.fact.tolist(), found.other.tolist(), strict=True):
            alike.setdefault(kind, {}).setdefault(facts[i], []).append(facts[j])
    others: dict[str, list[str]] = {}
    for i, j in zip(drawn.fact.tolist(), drawn.other.tolist(), strict=True):
        others.setdefault(facts[i], []).append(facts[j])
    items: list[Item] = []
    for fact in facts:
        for lang in langs:
            query = mains.get((fact, lang))
            if query is not None and known[query.query.id]:
                aside = tuple(mains[other, lang] for other in others.get(fact, ()) if (other, lang) in mains)
                spared, source = (aside[:-1], aside[-1]) if len(aside) > 1 else (aside, None)
                near = {
                    kind: tuple(mains[other, lang] for other in of.get(fact, ()) if (other, lang) in mains)
                    for kind, of in alike.items()
                }
                items.append(Item(query, subject[fact], spared, source, near))
    chosen = set(np.linspace(0, len(items) - 1, min(task.grouped, len(items))).astype(int).tolist())
    return [replace(item, grouped=place in chosen) for place, item in enumerate(items)]


def _means(engine: replay.Engine, queries: list[EncodedQuery]) -> dict[str, npt.NDArray[np.float32]]:
    langs = dict.fromkeys(query.query.lang for query in queries)
    return {lang: mean_activations(engine, [q for q in queries if q.query.lang == lang]) for lang in langs}
