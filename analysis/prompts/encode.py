"""From a fact and a template to token ids, answer tokens, positions and words (METHOD: query, answer, position).

    encode(loaded, Query("tz", "P36", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma"))

Everything comes from ONE tokenisation, that of the filled sentence, through the offsets of a fast tokenizer. The answer's
tokens are those that overlap it, and every token of white space alone directly before them: the model has to predict the
space between prompt and answer. So the printed prompt has exactly the tokens that the model reads. Encoding needs only the
attributes of `Encodable`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts.words import Span, word_spans

BLANK, HIDDEN = "<extra_id_0>", "<extra_id_1>"
"""Sentinels of encoder-decoders: for the answer, and for a hidden word of eq. 3."""


class Token(NamedTuple):
    id: int
    span: Span
    """Its characters in the text, without the white space around them."""
    added: bool
    """Whether the tokenizer puts it around every text ([CLS], <bos>)."""

    @property
    def blank(self) -> bool:
        """White space alone."""
        return not self.added and self.span[0] == self.span[1]


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
    words_without_path: int = 0
    """Words of eq. 3 that have no token of their own: another word's tokens cover them."""

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
    def vocabulary(self) -> int: ...
    @property
    def start(self) -> int: ...


@dataclass(frozen=True)
class _Filled:
    """The filled sentence, its tokens, the places of the answer's tokens, and its words as spans."""

    text: str
    answer: Span
    tokens: list[Token]
    places: range
    words: list[Span]

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def encode(loaded: Encodable, query: Query) -> EncodedQuery:
    """Token ids of every step of a query.

    Raises UnusableQuery, whose `reason` is one of no-subject-slot, no-answer-slot, answer-not-last, empty-subject,
    empty-answer, unknown-answer, unknown-token, literal-mask, token-straddles, prompt-not-prefix, too-long, no-words.
    """
    filled = _fill(loaded, query)
    ids, places, tokenizer = filled.ids, filled.places, loaded.tokenizer
    gold = ids[places.start : places.stop]
    if loaded.kind == "encoder-decoder":
        return _with_source(loaded, query, filled)
    if loaded.kind == "encoder":
        masked = [tokenizer.mask_token_id if place in places else token for place, token in enumerate(ids)]
        prompt = _text_with(tokenizer, filled, [tokenizer.mask_token] * len(places), masked)
        steps = []
        for place, token in zip(places, gold, strict=True):
            steps.append(Step(tuple(masked), place, token))
            masked[place] = token
        return _encoded(loaded, query, filled, prompt, steps, filled.tokens)
    prompt = _prompt_before(loaded, filled, query)
    steps = [Step(tuple(ids[:place]), place - 1, token) for place, token in zip(places, gold, strict=True)]
    return _encoded(loaded, query, filled, prompt, steps, filled.tokens[: places.start])


def encode_statement(loaded: Encodable, query: Query) -> EncodedQuery:
    """The filled sentence as a statement: no mask left, one step per answer token, positioned AT that token.

    Only activations are meant to be read on it; `gold` is the token itself.
    """
    filled = _fill(loaded, query)
    if loaded.kind == "encoder-decoder":
        return _with_source(loaded, query, filled, stated=True)
    ids = tuple(filled.ids)
    steps = [Step(ids, place, ids[place]) for place in filled.places]
    return _encoded(loaded, query, filled, filled.text, steps, filled.tokens)


def _with_source(loaded: Encodable, query: Query, filled: _Filled, stated: bool = False) -> EncodedQuery:
    """The encoder reads the text with a sentinel for the answer, the decoder a start token, the sentinel and the answer's
    tokens so far; places of steps are the decoder's. `stated`: at each token of the answer, read in."""
    ids, tokenizer = filled.ids, loaded.tokenizer
    first, after = filled.places.start, filled.places.stop
    gold, blank = tuple(ids[first:after]), tokenizer.convert_tokens_to_ids(BLANK)
    if blank in ids or loaded.start in ids:
        raise _unusable(
            "literal-mask", query, f"the text itself holds {BLANK} or padding; write [Y] where the answer goes"
        )
    source = [*ids[:first], blank, *ids[after:]]
    front = (*source, loaded.start, blank)
    if stated:
        steps = [Step((*front, *gold), 2 + place, token) for place, token in enumerate(gold)]
    else:
        steps = [Step((*front, *gold[:place]), 1 + place, token) for place, token in enumerate(gold)]
    found = _encoded(loaded, query, filled, _text_with(tokenizer, filled, [BLANK], source), steps, filled.tokens)
    moved = after - first - 1  # what follows the answer stands so much earlier
    words = tuple(Word(w.text, tuple(t if t < first else t - moved for t in w.tokens)) for w in found.words)
    return replace(found, words=words)


def _encoded(
    loaded: Encodable, query: Query, filled: _Filled, prompt: str, steps: Sequence[Step], tokens: Sequence[Token]
) -> EncodedQuery:
    """The query with the words that have tokens of their own among the prompt's `tokens`."""
    words = _words(filled, tokens)
    if not words:
        raise _unusable("no-words", query, "the prompt has no word to mask; use a template with at least one word")
    gold = tuple(loaded.tokenizer.convert_ids_to_tokens([filled.tokens[place].id for place in filled.places]))
    return EncodedQuery(query, prompt, gold, tuple(steps), words, len(filled.words) - len(words))


def _fill(loaded: Encodable, query: Query) -> _Filled:
    """Put subject and object into the template, tokenise once, and find the answer's tokens."""
    decoder, tokenizer = loaded.kind == "decoder", loaded.tokenizer
    text, answer, words, subjects = _sentence(query, cut=decoder)
    tokens = tokenise(tokenizer, text)
    if decoder:
        tokens = without_end(tokens)
    if not any(_overlap(token.span, subject) for token in tokens for subject in subjects):
        raise _unusable("empty-subject", query, f"the tokenizer makes no token of the subject {query.subject!r}")
    filled = _Filled(text, answer, tokens, _answer_places(text, answer, tokens, query), words)
    unknown, mask = tokenizer.unk_token_id, tokenizer.mask_token_id
    gold = filled.ids[filled.places.start : filled.places.stop]
    if unknown is not None and unknown != tokenizer.eos_token_id and unknown in gold:
        raise _unusable(
            "unknown-answer", query, f"the object {query.object!r} holds tokens unknown to the model's tokenizer"
        )
    if mask is not None and mask in filled.ids:
        raise _unusable("literal-mask", query, "the text itself holds the mask token; write [Y] where the answer goes")
    beyond = [token for token in filled.ids if token >= loaded.vocabulary]
    if beyond:
        raise _unusable(
            "unknown-token",
            query,
            f"the token {loaded.tokenizer.convert_ids_to_tokens(beyond[0])!r} was added to the tokenizer, and the model does not know it",
        )
    if len(tokens) > loaded.context:
        raise _unusable("too-long", query, f"{len(tokens)} tokens, and the model reads at most {loaded.context}")
    return filled


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


def tokenise(tokenizer: Any, text: str) -> list[Token]:
    """Tokens with spans trimmed of white space: some tokenizers count the space before a word as part of its token.

    A special token that the text itself begins with (`<bos>` of a rendered chat template) is not added a second time.
    """
    encoded = tokenizer(
        text,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    names = ("input_ids", "offset_mapping", "special_tokens_mask")
    tokens = [
        Token(int(token), _trimmed(text, *span), bool(added))
        for token, span, added in zip(*(encoded[name] for name in names), strict=True)
    ]
    start = sum(1 for _ in takewhile(lambda token: token.added, tokens))
    begin = [token.id for token in tokens[:start]]
    if start < len(tokens) and tokens[start].id in begin:
        del tokens[begin.index(tokens[start].id) : start]
    return tokens


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def without_end(tokens: list[Token]) -> list[Token]:
    """Without what the tokenizer appends (an end token): it is not part of a prompt."""
    end = next((place for place in range(len(tokens), 0, -1) if not tokens[place - 1].added), 0)
    return tokens[:end]


def _overlap(token: Span, part: Span) -> bool:
    return token[0] < part[1] and token[1] > part[0] and token[0] < token[1]


def _answer_places(text: str, answer: Span, tokens: list[Token], query: Query) -> range:
    """From the white space directly before the answer to its last token."""
    places = [place for place, token in enumerate(tokens) if _overlap(token.span, answer)]
    if not places:
        raise _unusable("empty-answer", query, f"the tokenizer makes no token of the object {query.object!r}")
    for place in places:
        start, end = tokens[place].span
        if start < answer[0] or end > answer[1]:
            raise _unusable(
                "token-straddles", query, f"the token {text[start:end]!r} covers both the object and its neighbour"
            )
    first = places[0]
    while first and tokens[first - 1].blank:
        first -= 1
    return range(first, places[-1] + 1)


def _prompt_before(loaded: Encodable, filled: _Filled, query: Query) -> str:
    """The text before the answer whose tokens are exactly those before the answer in the filled sentence: without the
    white space at its end, or with as much of it as the last of these tokens holds."""
    text, wanted = filled.text[: filled.answer[0]], filled.ids[: filled.places.start]
    for end in range(len(text.rstrip()), len(text) + 1):
        tokens = without_end(tokenise(loaded.tokenizer, text[:end]))
        if wanted and [token.id for token in tokens] == wanted:
            return text[:end]
    raise _unusable(
        "prompt-not-prefix", query, "the prompt's tokens change when the object follows; the answer cannot be predicted"
    )


def _text_with(tokenizer: Any, filled: _Filled, marks: Sequence[str], ids: Sequence[int]) -> str:
    """The text with marks (masks, a sentinel) for the answer, spaced or not, whichever the tokenizer reads as `ids`."""
    before, after = filled.text[: filled.answer[0]], filled.text[filled.answer[1] :]
    spaced, tight = before + " ".join(marks) + after, before.rstrip() + "".join(marks) + after
    read = [token.id for token in tokenise(tokenizer, spaced)]
    if read != list(ids) and [token.id for token in tokenise(tokenizer, tight)] == list(ids):
        return tight
    return spaced


def _words(filled: _Filled, tokens: Sequence[Token]) -> tuple[Word, ...]:
    """Words with their tokens among those of the prompt; a token covering several words belongs to the first."""
    owned: dict[Span, list[int]] = {}
    for place, token in enumerate(tokens):
        if place not in filled.places:
            owner = next((word for word in filled.words if _overlap(token.span, word)), None)
            if owner:
                owned.setdefault(owner, []).append(place)
    return tuple(
        Word(filled.text[start:end], tuple(owned[start, end])) for start, end in filled.words if (start, end) in owned
    )


def _unusable(reason: str, query: Query, text: str) -> UnusableQuery:
    where = f"fact {query.fact} ({query.relation}, {query.lang}), template {query.template!r}"
    return UnusableQuery(reason, f"{where}: {text}")
