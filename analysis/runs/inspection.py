"""What a model is and what it can do with given facts, as plain documents. Imports torch; runs in a process of its
own.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from analysis import attribution, models, prompts, replay
from analysis.errors import UnusableQuery
from analysis.method import parse_method
from analysis.prompts import Query
from analysis.runs import plan
from analysis.runs.plan import ModelSource, RunConfig
from analysis.runs.worker import resolve_device

PROBE = Query("probe", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma")


def inspect_model(source: str, device: str, dtype: str) -> dict[str, Any]:
    """Sites, the proof of replay, and what one query costs: seconds, and the process's memory at its peak."""
    loaded = models.load_model(source, dtype=dtype, device=resolve_device(device), threads=1)
    started = time.perf_counter()
    engine = replay.Engine(loaded)
    proving = time.perf_counter() - started
    document: dict[str, Any] = {
        "model": loaded.label,
        "kind": loaded.kind,
        **{name: value for name, value in asdict(loaded.identity).items() if name != "name"},
        "device": str(loaded.device),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "layers": len({site.layer for site in loaded.sites}),
        "neurons": loaded.n_neurons,
        "passes": "replay from the edited layer" if engine.replay else "full forward for every edit",
        "proof": str(engine.proof),
        "proving_seconds": round(proving, 3),
        **_cost(loaded, engine),
        "sites": [asdict(site) for site in loaded.sites],
    }
    return document


def _cost(loaded: models.LoadedModel, engine: replay.Engine) -> dict[str, Any]:
    try:
        encoded = prompts.encode(loaded, PROBE)
    except UnusableQuery as error:
        return {"probe": str(error)}
    cost: dict[str, Any] = {"probe": f"{encoded.prompt} → {' '.join(encoded.answer_tokens)}"}
    started = time.perf_counter()
    engine.predict([encoded])
    cost["prediction_seconds"] = round(time.perf_counter() - started, 4)
    for method in ("amig", "bkn"):
        started = time.perf_counter()
        list(attribution.attribute(engine, [encoded], parse_method(method)))
        cost[f"{method}_seconds"] = round(time.perf_counter() - started, 4)
    unit = 1 if sys.platform == "darwin" else 1024
    cost["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
    return cost


def check_data(config: RunConfig) -> dict[str, Any]:
    """Of the facts, which rows the model can use, why not the others, and how many it knows; by relation and
    language.
    """
    loaded = models.load_model(
        config.models[0].source, dtype=config.dtype, device=resolve_device(config.device), threads=1
    )
    engine = replay.Engine(loaded)
    facts = plan.load_facts(config)
    counts: Counter[tuple[str, str, str]] = Counter()
    details: dict[str, str] = {}
    usable = []
    for row in facts.rows:
        counts[row.relation, row.lang, "rows"] += 1
        try:
            usable.append(prompts.encode(loaded, row))
        except UnusableQuery as error:
            counts[row.relation, row.lang, error.reason] += 1
            details.setdefault(error.reason, str(error))
    for encoded, prediction in zip(usable, engine.predict(usable), strict=True):
        place = encoded.query.relation, encoded.query.lang
        counts[*place, "usable"] += 1
        counts[*place, "known"] += bool(prediction.known)
    places = dict.fromkeys((row.relation, row.lang) for row in facts.rows)
    reasons = sorted(details)
    table = [
        {
            "relation": relation,
            "lang": lang,
            **{name: counts[relation, lang, name] for name in ("rows", "usable", "known", *reasons)},
        }
        for relation, lang in places
    ]
    return {"model": loaded.label, "table": table, "reasons": details}


def check_config(
    source: str, data: str, facts: int | None, langs: tuple[str, ...], relations: tuple[str, ...]
) -> RunConfig:
    return RunConfig((ModelSource(source),), data, langs=langs, relations=relations, facts=facts, templates="all")
