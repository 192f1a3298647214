"""What a model says by itself where the answer goes: the likeliest first tokens, each continued greedily to a word.

A decoder goes on to the end of the word, at most `MOST` tokens; an encoder fills as many masks as the answer has tokens, the
first with the token, then one after the other. p is the product of the tokens' probabilities, as p of the answer is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from knscope.analysis.engine import memory
from knscope.analysis.engine.edits import Edit, FlatEdits
from knscope.analysis.engine.logits import probabilities
from knscope.analysis.engine.replay import Engine, shapes
from knscope.analysis.prompts.encode import EncodedQuery, Step
from knscope.analysis.types import Ints

COUNT = 5
MOST = 8
"""Tokens of a word at most: in languages without spaces a word ends at the next sign, which may be far."""
GOES_ON = 6
"""Tokens that a model goes on with at most."""
_CUT = "\N{REPLACEMENT CHARACTER}"
"""What stands for a character of which some bytes are still to come."""


@dataclass(frozen=True)
class Word:
    """A word that a model may say, and its probability."""

    text: str
    p: float


@dataclass
class _Begun:
    """A word under way: its tokens, and the step at which the next one is read."""

    query: EncodedQuery
    tokens: list[int]
    p: float
    step: Step
    done: bool = False
    texts: list[str] = field(default_factory=lambda: [""])
    """What the tokens read as, after each of them."""


def likeliest(
    engine: Engine, queries: Sequence[EncodedQuery], count: int = COUNT, edit: Edit | None = None
) -> list[tuple[Word, ...]]:
    """The `count` likeliest words of each query, likeliest first; under an edit at each of their tokens."""
    begun: list[list[_Begun]] = []
    for query, (p, tokens) in zip(
        queries, _next(engine, queries, [query.steps[0] for query in queries], count, edit), strict=True
    ):
        begun.append([_Begun(query, [], 1.0, query.steps[0]) for _ in tokens])
        for one, chance, token in zip(begun[-1], p, tokens, strict=True):
            _take(engine, one, token, chance)
    while going := [one for of_query in begun for one in of_query if not one.done]:
        found = _next(engine, [one.query for one in going], [one.step for one in going], 1, edit)
        for one, (p, tokens) in zip(going, found, strict=True):
            _take(engine, one, tokens[0], p[0])
    words = [[Word(one.texts[-1].strip(), one.p) for one in of_query] for of_query in begun]
    return [tuple(sorted(of_query, key=lambda word: -word.p)) for of_query in words]


def continued(
    engine: Engine, query: EncodedQuery, edit: Edit | None = None, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """What the model goes on with, token by token the likeliest: GOES_ON tokens, or as many as an encoder has masks; under an edit at
    each of their tokens. It ends early, maybe with nothing, once `cancelled` says so."""
    one = _Begun(query, [], 1.0, query.steps[0])
    while not one.done and not cancelled():
        ((_, (token,)),) = _next(engine, [query], [one.step], 1, edit)
        if engine.loaded.kind == "encoder":
            _take(engine, one, token, 1.0)
            continue
        _append(engine, one, token, GOES_ON)
    return one.texts[-1].strip()


def _next(
    engine: Engine, queries: Sequence[EncodedQuery], steps: Sequence[Step], count: int, edit: Edit | None
) -> list[tuple[list[float], list[int]]]:
    """The likeliest tokens at one step of each query, and their probabilities."""
    asked = [replace(query, steps=(step,)) for query, step in zip(queries, steps, strict=True)]
    found: dict[int, tuple[list[float], list[int]]] = {}
    for indices in shapes(asked):
        rows = engine.capacity(len(asked[indices[0]].steps[0].ids), gradient=False)
        for start, end in memory.spans(len(indices), max(1, rows)):
            part = indices[start:end]
            logits = _logits(engine, [asked[index] for index in part], edit)
            found |= zip(part, _best(logits, count), strict=True)
    return [found[index] for index in range(len(asked))]


def _logits(engine: Engine, queries: Sequence[EncodedQuery], edit: Edit | None) -> Tensor:
    """(queries, vocabulary) of queries of one shape and one step."""
    prepared = engine.prepare(queries, replayed=edit is not None)
    if edit is None:
        return prepared.logits
    found = torch.empty_like(prepared.logits)

    def keep(rows: Ints, _states: Tensor, logits: Tensor) -> None:
        found[rows] = logits

    engine.run_edits(prepared, np.arange(len(queries)), FlatEdits.of([edit] * len(queries)), keep)
    return found


def _best(logits: Tensor, count: int) -> list[tuple[list[float], list[int]]]:
    """Probabilities and token ids of the `count` largest logits (rows, vocabulary) of every row, the largest first."""
    best = []
    for row in logits:
        p = probabilities(row[None] if row.dtype == torch.float64 else row[None].float())[0]
        top = p.topk(min(count, len(p)))
        best.append((top.values.double().tolist(), top.indices.tolist()))
    return best


def _take(engine: Engine, one: _Begun, token: int, p: float) -> None:
    """Add a token to a word, unless the word ends before it."""
    loaded, step = engine.loaded, one.step
    if loaded.kind == "encoder":
        one.tokens.append(token)
        one.p *= p
        ids = (*step.ids[: step.position], token, *step.ids[step.position + 1 :])
        one.texts.append(_read(loaded.tokenizer, one.tokens))
        one.done = len(one.tokens) == len(one.query.steps)
        if not one.done:
            one.step = Step(ids, one.query.steps[len(one.tokens)].position, 0)
        return
    text = _read(loaded.tokenizer, [*one.tokens, token])
    if one.tokens and _ends(one.texts[-1], text):
        one.done = True
        return
    one.p *= p
    _append(engine, one, token, MOST)


def _append(engine: Engine, one: _Begun, token: int, most: int) -> None:
    """Add a decoder's token, after which the next one is read; done at `most`, at the end of the context, and at a special token."""
    loaded, step = engine.loaded, one.step
    one.tokens.append(token)
    one.texts.append(_read(loaded.tokenizer, one.tokens))
    one.step = Step((*step.ids, token), step.position + 1, 0)
    ends = token in loaded.tokenizer.all_special_ids
    one.done = len(one.tokens) == most or len(one.step.ids) > loaded.context or ends


def _read(tokenizer: Any, tokens: Sequence[int]) -> str:
    text = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    return str(text)


def _ends(before: str, after: str) -> bool:
    """Whether a word that reads `before` ends where with one more token it reads `after`."""
    if not before.strip() or before.endswith(_CUT):
        return False
    return not (_is_letter(before[-1]) and after[len(before) :] and _is_letter(after[len(before)]))


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M" or character in f"'’-{_CUT}"
