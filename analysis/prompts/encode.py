"""From a fact and a template to token ids, answer tokens, positions and words (METHOD: query, answer, position).

    encode(loaded, Query("tz", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma"))

Everything is read off ONE tokenisation, that of the filled sentence, through the offsets of a fast tokenizer: so
spacing, leading spaces and scripts without spaces need no rule of their own. The core asks of `loaded` only
`tokenizer`, `kind` and `context`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts.words import Span, word_spans

BLANK, HIDDEN = "<extra_id_0>", "<extra_id_1>"
"""Sentinels of encoder-decoders: for the answer, and for a hidden word of eq. 3."""

Token = tuple[int, Span]
"""Id and span in the text (empty for special tokens) of one token."""


@dataclass(frozen=True)
class Query:
    """One row of the facts frame: `[X]` in the template is the subject's place, `[Y]` the object's."""

    fact: str
    relation: str
    lang: str
    template: str
    subject: str
    object: str
    prefix: str = ""
    """Text before the template, as it stands: an instruction, solved examples. It is context, not the query: its words
    are no words of eq. 3, and slots in it are not filled."""
    alternatives: tuple[str, ...] = field(default=(), compare=False)
    """The subject's other right objects, as far as the data know them: never to be taken for a wrong one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "alternatives", tuple(self.alternatives or ()))

    @cached_property
    def id(self) -> str:
        """16 hex digits of what the query says, whatever the model."""
        text = "\x1f".join((self.fact, self.relation, self.lang, self.template, self.subject, self.object))
        if self.prefix:
            text += f"\x1f{self.prefix}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Word:
    text: str
    tokens: tuple[int, ...]
    """Places of its tokens in the sequence; the same at every step."""


@dataclass(frozen=True)
class Step:
    """Prediction of one answer token with the gold tokens before it filled in."""

    ids: tuple[int, ...]
    position: int
    """The answer position: where the prediction is read and neurons are edited."""
    gold: int


@dataclass(frozen=True)
class EncodedQuery:
    query: Query
    prompt: str
    """What the model is asked, as text: with its masks (encoders) or cut before the answer (decoders)."""
    answer_tokens: tuple[str, ...]
    steps: tuple[Step, ...]
    words: tuple[Word, ...]

    @property
    def n_words(self) -> int:
        return len(self.words)


class Encodable(Protocol):
    """What encoding needs of a loaded model."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def kind(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def start(self) -> int: ...


@dataclass(frozen=True)
class _Filled:
    """The filled sentence, its tokens, the places of the answer's tokens, and its words as spans."""

    text: str
    answer: Span
    tokens: list[Token]
    places: list[int]
    words: list[Span]


def encode(loaded: Encodable, query: Query) -> EncodedQuery:
    """Token ids of every step of a query.

    Raises UnusableQuery, whose `reason` is one of no-subject-slot, no-answer-slot, answer-not-last, empty-subject,
    empty-answer, unknown-answer, literal-mask, token-straddles, prompt-not-prefix, too-long, no-words.
    """
    filled = _fill(loaded, query)
    ids = [token for token, _ in filled.tokens]
    places, tokenizer = filled.places, loaded.tokenizer
    gold = tuple(ids[place] for place in places)
    if loaded.kind == "encoder-decoder":
        return _with_source(loaded, query, filled)
    if loaded.kind == "encoder":
        masked = [tokenizer.mask_token_id if place in places else token for place, token in enumerate(ids)]
        steps = []
        for place, token in zip(places, gold, strict=True):
            steps.append(Step(tuple(masked), place, token))
            masked[place] = token
        prompt = _between(filled.text, filled.answer, " ".join([tokenizer.mask_token] * len(places)))
        n_prompt = len(ids)
    else:
        n_prompt = places[0]
        _check_prefix(loaded, filled, ids[:n_prompt], query)
        steps = [Step(tuple(ids[:place]), place - 1, token) for place, token in zip(places, gold, strict=True)]
        prompt = filled.text[: filled.answer[0]].rstrip()
    words = _words(filled, n_prompt)
    if not words:
        raise _unusable("no-words", query, "the prompt has no word to mask; use a template with at least one word")
    return EncodedQuery(query, prompt, tuple(tokenizer.convert_ids_to_tokens(list(gold))), tuple(steps), words)


def encode_statement(loaded: Encodable, query: Query) -> EncodedQuery:
    """The filled sentence as a statement: no mask left, one step per answer token, positioned AT that token.

    Only activations are meant to be read on it; `gold` is the token itself.
    """
    filled = _fill(loaded, query)
    if loaded.kind == "encoder-decoder":
        return _with_source(loaded, query, filled, stated=True)
    ids = tuple(token for token, _ in filled.tokens)
    steps = tuple(Step(ids, place, ids[place]) for place in filled.places)
    tokens = tuple(loaded.tokenizer.convert_ids_to_tokens([ids[place] for place in filled.places]))
    return EncodedQuery(query, filled.text, tokens, steps, _words(filled, len(ids)))


def _with_source(loaded: Encodable, query: Query, filled: _Filled, stated: bool = False) -> EncodedQuery:
    """The encoder reads the text with a sentinel for the answer, the decoder a start token, the sentinel and the answer's
    tokens so far; places of steps are the decoder's. `stated`: at each token of the answer, read in."""
    ids, tokenizer = [token for token, _ in filled.tokens], loaded.tokenizer
    gold, blank = tuple(ids[place] for place in filled.places), tokenizer.convert_tokens_to_ids(BLANK)
    if blank in ids or loaded.start in ids:
        raise _unusable(
            "literal-mask", query, f"the text itself holds {BLANK} or padding; write [Y] where the answer goes"
        )
    first, after = filled.places[0], filled.places[-1] + 1
    front = (*ids[:first], blank, *ids[after:], loaded.start, blank)
    if stated:
        steps = [Step((*front, *gold), 2 + place, token) for place, token in enumerate(gold)]
    else:
        steps = [Step((*front, *gold[:place]), 1 + place, token) for place, token in enumerate(gold)]
    moved = after - first - 1  # what follows the answer stands so much earlier
    found = _words(filled, len(ids))
    words = tuple(Word(w.text, tuple(t if t < first else t - moved for t in w.tokens)) for w in found)
    if not words:
        raise _unusable("no-words", query, "the prompt has no word to mask; use a template with at least one word")
    prompt = _between(filled.text, filled.answer, BLANK)
    return EncodedQuery(query, prompt, tuple(tokenizer.convert_ids_to_tokens(list(gold))), tuple(steps), words)


def _fill(loaded: Encodable, query: Query) -> _Filled:
    """Put subject and object into the template, tokenise once, and find the answer's tokens."""
    text, answer, words, subjects = _sentence(query, cut=loaded.kind == "decoder")
    tokens = _tokenise(loaded.tokenizer, text)
    if loaded.kind == "decoder":  # what a tokenizer appends (an end token) is no part of a prompt
        last = max((place for place, (_, span) in enumerate(tokens) if span[0] < span[1]), default=-1)
        tokens = tokens[: last + 1]
    if not any(_overlap(span, subject) for _, span in tokens for subject in subjects):
        raise _unusable("empty-subject", query, f"the tokenizer makes no token of the subject {query.subject!r}")
    places = _answer_places(text, answer, tokens, query)
    unknown = loaded.tokenizer.unk_token_id
    if (
        unknown is not None
        and unknown != loaded.tokenizer.eos_token_id
        and any(tokens[place][0] == unknown for place in places)
    ):
        raise _unusable(
            "unknown-answer", query, f"the object {query.object!r} holds tokens unknown to the model's tokenizer"
        )
    if loaded.tokenizer.mask_token_id is not None and any(
        token == loaded.tokenizer.mask_token_id for token, _ in tokens
    ):
        raise _unusable("literal-mask", query, "the text itself holds the mask token; write [Y] where the answer goes")
    if len(tokens) > loaded.context:
        raise _unusable("too-long", query, f"{len(tokens)} tokens, and the model reads at most {loaded.context}")
    return _Filled(text, answer, tokens, places, words)


def _sentence(query: Query, cut: bool) -> tuple[str, Span, list[Span], list[Span]]:
    """Prefix and filled sentence, the answer's span, the words of template and subject (never sharing one), and where
    the subject stands."""
    template = query.template
    if template.count("[Y]") != 1:
        raise _unusable("no-answer-slot", query, "the template needs [Y], exactly once, where the object goes")
    if "[X]" not in template:
        raise _unusable("no-subject-slot", query, "the template needs [X] where the subject goes")
    if not query.subject.strip():
        raise _unusable("empty-subject", query, "the subject is empty")
    if not query.object.strip():
        raise _unusable("empty-answer", query, "the object is empty")
    before, after = template.split("[Y]")
    if cut:
        if any(unicodedata.category(character)[0] not in "PZ" for character in after.strip()):
            raise _unusable(
                "answer-not-last", query, "a decoder reads nothing after [Y]; use a template that ends in [Y]"
            )
        after = ""
    text, words, answer, subjects = query.prefix, [], (0, 0), []
    for part in (before, "[Y]", after):
        if part == "[Y]":
            answer = (len(text), len(text) + len(query.object))
            text += query.object
            continue
        for index, piece in enumerate(part.split("[X]")):
            if index:
                subjects.append((len(text), len(text) + len(query.subject)))
            for string in ([query.subject] if index else []) + [piece]:
                words += word_spans(string, len(text))
                text += string
    return text, answer, words, subjects


def _tokenise(tokenizer: Any, text: str) -> list[Token]:
    """Ids with spans trimmed of white space: some tokenizers count the space before a word as part of its token."""
    encoded = tokenizer(text, return_offsets_mapping=True, return_attention_mask=False, return_token_type_ids=False)
    tokens: list[Token] = []
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        tokens.append((int(token), (start, end)))
    return tokens


def _overlap(token: Span, part: Span) -> bool:
    return token[0] < part[1] and token[1] > part[0] and token[0] < token[1]


def _answer_places(text: str, answer: Span, tokens: list[Token], query: Query) -> list[int]:
    places = [place for place, (_, span) in enumerate(tokens) if _overlap(span, answer)]
    if not places:
        raise _unusable("empty-answer", query, f"the tokenizer makes no token of the object {query.object!r}")
    for place in places:
        start, end = tokens[place][1]
        if start < answer[0] or end > answer[1]:
            raise _unusable(
                "token-straddles", query, f"the token {text[start:end]!r} covers both the object and its neighbour"
            )
    return places


def _check_prefix(loaded: Encodable, filled: _Filled, prompt: list[int], query: Query) -> None:
    """The prompt alone must tokenise to what stands before the answer in the filled sentence, or the model is asked
    something else."""
    text = filled.text[: filled.answer[0]]
    for candidate in (text.rstrip(), text):
        tokens = [token for token, _ in _tokenise(loaded.tokenizer, candidate)] if candidate else []
        if (
            prompt
            and tokens[: len(prompt)] == prompt
            and set(tokens[len(prompt) :]) <= set(loaded.tokenizer.all_special_ids)
        ):
            return
    raise _unusable(
        "prompt-not-prefix", query, "the prompt's tokens change when the object follows; the answer cannot be predicted"
    )


def _words(filled: _Filled, n_prompt: int) -> tuple[Word, ...]:
    """Words with their tokens among the first `n_prompt`; a token covering several words belongs to the first."""
    answer = set(filled.places)
    owned: dict[Span, list[int]] = {}
    for place, (_, (start, end)) in enumerate(filled.tokens[:n_prompt]):
        if place not in answer and start < end:
            owner = next((word for word in filled.words if word[0] < end and word[1] > start), None)
            if owner:
                owned.setdefault(owner, []).append(place)
    return tuple(
        Word(filled.text[start:end], tuple(owned[start, end])) for start, end in filled.words if (start, end) in owned
    )


def _between(text: str, span: Span, middle: str) -> str:
    return text[: span[0]] + middle + text[span[1] :]


def _unusable(reason: str, query: Query, text: str) -> UnusableQuery:
    where = f"fact {query.fact} ({query.relation}, {query.lang}), template {query.template!r}"
    return UnusableQuery(reason, f"{where}: {text}")
