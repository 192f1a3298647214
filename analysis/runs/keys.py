"""The keys that name stored results, each a hash of everything its value depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from knscope.analysis.attribution.method import NUMERICS_VERSION


def model_hash(model: Mapping[str, Any]) -> str:
    """What makes two loads of a model the same: weights, tokenizer, dtype, attention implementation (a row of table
    `model`).
    """
    return ":".join(str(model[name]) for name in ("weights_hash", "tokenizer_hash", "dtype", "attention"))


def result_key(kind: str, model: str, query: str, **depends: Any) -> str:
    """32 hex naming a stored result by everything its value depends on.

    :param model: what `model_hash` returns
    :param query: the query's id, which stands for prompt and answer
    """
    text = json.dumps([kind, model, NUMERICS_VERSION, query, depends], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def prediction_key(model: str, query: str) -> str:
    return result_key("prediction", model, query)


def attribution_key(model: str, query: str, method: str) -> str:
    return result_key("attribution", model, query, method=method)


def vocabulary_key(model: str, layer: int) -> str:
    """What the neurons of a layer write into the vocabulary: it depends on no query."""
    return result_key("vocabulary", model, "", layer=layer)


def wiring_key(model: str, neuron: int) -> str:
    """What a flat neuron reads and lies near to: it depends on no query."""
    return result_key("wiring", model, "", neuron=neuron)


def activation_key(model: str, query: str, neurons: Iterable[int]) -> str:
    return result_key("activation", model, query, neurons=_named(neurons))


def scan_key(model: str, query: str, method: str, role: str, seed: int, chosen: Iterable[int]) -> str:
    """Controls are drawn by their rule from `chosen`, those of the same layers with the seed: these stand for the neurons of every role.

    `outside`: a control's neurons are outside N by the highest rel over templates; those drawn by the mean have other keys.
    """
    drawn: dict[str, Any] = {} if role == "kn" else {"outside": "highest rel"}
    if role == "layer_control":
        drawn["seed"] = seed
    return result_key("scan", model, query, method=method, role=role, chosen=sorted(chosen), operation="zero", **drawn)


def edit_key(model: str, query: str, neurons: Iterable[int], operation: str) -> str:
    """`neurons`: the flat multiset; its order does not matter."""
    return result_key("edit", model, query, neurons=sorted(neurons), operation=operation)


def claim_key(model: str, query: str, method: str, neurons: Iterable[int]) -> str:
    """`query`: id of the query with the claimed object; `neurons`: the flat neurons that are read."""
    return result_key("claim", model, query, method=method, neurons=_named(neurons))


def _named(neurons: Iterable[int]) -> str:
    return hashlib.sha256(",".join(map(str, sorted(neurons))).encode()).hexdigest()
