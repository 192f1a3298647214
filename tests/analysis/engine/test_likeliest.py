"""The likeliest words against a slow literal reading: one forward of the whole model a token, no batch."""

from __future__ import annotations

import pytest
import torch

from knscope.analysis.engine.likeliest import MOST, _ends, likeliest
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.replay import Engine
from knscope.analysis.prompts.encode import EncodedQuery, Query, encode
from tests import families, random_models

FACTS = (
    Query("a", "r", "en", "The capital of [X] is [Y]", "Tanzania", "Dodoma"),
    Query("b", "r", "en", "[X]'s capital is [Y]", "Kenya", "Nairobi"),
    Query("c", "r", "zh", "[X]的首都是[Y]", "坦桑尼亚", "多多马"),
)


def _p(loaded: LoadedModel, ids: list[int], place: int) -> torch.Tensor:
    """p (vocabulary,) at a place of one sequence; of an encoder-decoder, of its decoder's."""
    with torch.no_grad():
        return torch.as_tensor(loaded.model(input_ids=torch.tensor([ids])).logits[0, place]).double().softmax(-1)


def _literal(loaded: LoadedModel, query: EncodedQuery, count: int) -> list[tuple[str, float]]:
    first = query.steps[0]
    start = _p(loaded, list(first.ids), first.position)
    words = []
    for token in start.argsort(descending=True)[:count].tolist():
        tokens, p, ids, place = [token], float(start[token]), list(first.ids), first.position
        read = lambda some: loaded.tokenizer.decode(some, clean_up_tokenization_spaces=False)  # noqa: E731
        if loaded.kind == "encoder":
            for step in query.steps[1:]:
                ids[place] = tokens[-1]
                place = step.position
                chances = _p(loaded, ids, place)
                tokens.append(int(chances.argmax()))
                p *= float(chances.max())
        else:
            while len(tokens) < MOST and tokens[-1] not in loaded.tokenizer.all_special_ids:
                ids, place = [*ids, tokens[-1]], place + 1
                chances = _p(loaded, ids, place)
                more = int(chances.argmax())
                if _ends(read(tokens), read([*tokens, more])):
                    break
                tokens.append(more)
                p *= float(chances.max())
        words.append((read(tokens).strip(), p))
    return sorted(words, key=lambda word: -word[1])


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_likeliest_words_equal_those_of_one_forward_a_token(name: str) -> None:
    make = {"bert": random_models.bert, "gpt2": random_models.gpt2, "t5": lambda dtype: families.load("t5", dtype)}[
        name
    ]
    loaded = make(dtype=torch.float64)
    queries = [encode(loaded, fact) for fact in FACTS]
    found = likeliest(Engine(loaded), queries)
    for query, words in zip(queries, found, strict=True):
        expected = _literal(loaded, query, 5)
        assert [word.p for word in words] == pytest.approx([p for _, p in expected], rel=1e-10)
        assert sorted(word.text for word in words) == sorted(text for text, _ in expected)
        assert len(words) == 5 and all(0 < word.p <= 1 for word in words)


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        ("Do", "Dodoma", False),
        ("Dodoma", "Dodoma is", True),
        ("Paris", "Paris.", True),
        ("", "Paris", False),
        (" ", " Paris", False),
        ("\n", "\nIt", False),
        ("(", "(a", True),
        ("巴", "巴黎", False),
        ("巴黎", "巴黎。", True),
        ("\N{REPLACEMENT CHARACTER}", "坦", False),
        ("l'", "l'Italie", False),
        ("Paris", "Paris", True),
    ],
)
def test_likeliest_words_end_before_the_next_non_letter(before: str, after: str, ends: bool) -> None:
    assert _ends(before, after) == ends
