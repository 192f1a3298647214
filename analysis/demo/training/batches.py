"""Training batches: which tokens are hidden, and which the loss asks for."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from knscope.analysis.demo.training.corpus import Sentence
from knscope.analysis.demo.training.recipes import Recipe

IGNORED = -100
MASKED_SHARE = 0.15
OTHER_TOKENS = 0.4
"""Share of a decoder's other tokens that the loss asks for: enough to learn the language, cheaper than all."""
FIRST_COUNTRIES = 0.1
"""Share of the countries in the first batches."""
GROWING = 0.4
"""Share of the steps after which all countries are there."""
_POOL = 16


@dataclass(frozen=True)
class Encoded:
    """Token ids of a sentence, and the places of its answer's tokens (none in a plain sentence)."""

    ids: list[int]
    answer: tuple[int, ...]
    weight: int
    country: str


@dataclass(frozen=True)
class Batch:
    """ids, attention and labels (rows, tokens); labels are IGNORED where the loss does not look."""

    ids: Tensor
    attention: Tensor
    labels: Tensor


def encode_all(sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> list[Encoded]:
    """Tokenise; a decoder's sentences end with its end token."""
    end = [tokenizer.eos_token_id] if recipe.kind == "decoder" else []
    encoded = []
    for sentence in sentences:
        tokens = tokenizer(sentence.text, return_offsets_mapping=True)
        start, stop = sentence.answer
        places = tuple(i for i, (a, b) in enumerate(tokens["offset_mapping"]) if a < stop and b > start and a < b)
        weight = recipe.chinese if sentence.lang == "zh" and places else 1
        encoded.append(Encoded([*tokens["input_ids"], *end], places, weight, sentence.country))
    return encoded


class Batches:
    """An endless stream of batches of sentences of similar length, drawn in random order.

    It begins with a few countries and takes in the others one by one: from all at once a model long learns nothing but
    which answers a relation has, and only late that the answer depends on the country.
    """

    def __init__(self, encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> None:
        self._tokenizer, self._recipe = tokenizer, recipe
        self._random = random.Random(recipe.seed)
        countries = sorted({one.country for one in encoded})
        place = {country: i for i, country in enumerate(self._random.sample(countries, len(countries)))}
        self._encoded = sorted((one for one in encoded for _ in range(one.weight)), key=lambda one: place[one.country])
        self._ends = [0] * len(countries)
        for index, one in enumerate(self._encoded):
            self._ends[place[one.country]] = index + 1

    def __iter__(self) -> Iterator[Batch]:
        size, drawn = self._recipe.batch, 0
        while True:
            known = self._ends[self._countries(drawn) - 1]
            order = self._random.sample(range(known), known)
            for start in range(0, known - size + 1, size * _POOL):
                pool = sorted(order[start : start + size * _POOL], key=lambda i: len(self._encoded[i].ids))
                parts = [pool[low : low + size] for low in range(0, len(pool) - size + 1, size)]
                drawn += len(parts)
                for part in self._random.sample(parts, len(parts)):
                    yield self._batch([self._encoded[i] for i in part])

    def _countries(self, drawn: int) -> int:
        """How many countries there are after so many batches."""
        progress = min(1.0, FIRST_COUNTRIES + (1 - FIRST_COUNTRIES) * drawn / (GROWING * self._recipe.steps))
        return max(1, round(progress * len(self._ends)))

    def _batch(self, sentences: Sequence[Encoded]) -> Batch:
        hide = self._masked if self._recipe.kind == "encoder" else self._asked
        rows = [hide(sentence) for sentence in sentences]
        width = max(len(ids) for ids, _ in rows)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row, _ in rows])
        labels = torch.tensor([[*row, *[IGNORED] * (width - len(row))] for _, row in rows])
        lengths = torch.tensor([len(row) for row, _ in rows])
        return Batch(ids, (torch.arange(width) < lengths[:, None]).long(), labels)

    def _masked(self, sentence: Encoded) -> tuple[list[int], list[int]]:
        """An encoder sees masks from a random answer token on, as it will when asked; plain text at random places."""
        ids, labels = list(sentence.ids), [IGNORED] * len(sentence.ids)
        if sentence.answer and self._random.random() < 1 - MASKED_SHARE:
            hidden = sentence.answer[self._random.randrange(len(sentence.answer)) :]
        else:
            inner = range(1, len(ids) - 1)
            hidden = tuple(i for i in inner if self._random.random() < MASKED_SHARE) or (self._random.choice(inner),)
        for place in hidden:
            labels[place], ids[place] = ids[place], self._tokenizer.mask_token_id
        return ids, labels

    def _asked(self, sentence: Encoded) -> tuple[list[int], list[int]]:
        """A decoder is asked for every answer token and for some of the others."""
        answer = set(sentence.answer)
        labels = [
            token if i in answer or self._random.random() < OTHER_TOKENS else IGNORED
            for i, token in enumerate(sentence.ids)
        ]
        return sentence.ids, [IGNORED, *labels[1:]]
