"""Words, answer tokens and positions, in scripts with and without spaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from knscope.analysis.errors import UnusableQuery
from knscope.analysis.prompts.encode import Query, encode, encode_statement
from knscope.analysis.prompts.words import has_spaced_slot, word_spans
from tests.random_models import byte_level, pieces, wordpiece


@dataclass(frozen=True)
class Pretend:
    """What encoding needs of a model."""

    tokenizer: Any
    kind: str
    context: int = 40
    vocabulary: int = 1 << 20


ENCODER = Pretend(wordpiece(), "encoder")
DECODER = Pretend(byte_level(), "decoder")


TOKENIZERS = {
    "byte-level": byte_level(),
    "SentencePiece with byte fallback": pieces(dummy_prefix=False),
    "with a dummy prefix": pieces(),
    "Unigram": pieces("unigram"),
    "Unigram without a dummy prefix": pieces("unigram", dummy_prefix=False),
    "word pieces": wordpiece(),
}
BLANKS = ("", " ", "\n", "\t", "   ", "\u3000", " \n")


def ids_of(tokenizer: Any, text: str, end: bool = True) -> list[int]:
    """All tokens of a text; without `end` those that a tokenizer puts behind every text are left out."""
    ids = list(tokenizer(text)["input_ids"])
    return ids if end or ids[-1:] != [tokenizer.convert_tokens_to_ids("</s>")] else ids[:-1]


def ask(template: str, subject: str = "Tanzania", answer: str = "Dodoma") -> Query:
    return Query("f", "P36", "en", template, subject, answer)


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The capital, of (Guinea-Bissau)...", ["The", "capital", "of", "Guinea-Bissau"]),
        ("坦桑尼亚的首都是", list("坦桑尼亚的首都是")),
        ("用Python写的。", ["用", "Python", "写", "的"]),
        ("コンゴ・共和国", list("コンゴ共和国")),
        ("ไทย ลาว", ["ไ", "ท", "ย", "ล", "า", "ว"]),
        ("น้ำ", ["น้", "ำ"]),
        ("서울은 수도", ["서울은", "수도"]),
        ("क्या है", ["क्या", "है"]),
        (" - . 。", []),
        ("", []),
    ],
)
def test_words_are_runs_without_space_or_characters_of_unspaced_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_word_spans_are_shifted_by_where_the_text_starts() -> None:
    assert word_spans("a b", 10) == [(10, 11), (12, 13)]


def test_an_encoder_gets_one_mask_per_answer_token_and_gold_ones_fill_in() -> None:
    found = encode(ENCODER, ask("[X] 的 首都 是 [Y]", "坦", "多马"))
    mask = ENCODER.tokenizer.mask_token_id
    assert found.answer_tokens == ("多", "马")
    first, second = found.steps
    assert [first.ids[first.position], first.ids[first.position + 1]] == [mask, mask]
    assert second.ids[first.position] == first.gold and second.ids[second.position] == mask
    assert second.position == first.position + 1
    assert found.prompt == "坦 的 首都 是 [MASK] [MASK]"


def test_encoder_prompt_keeps_words_on_both_sides_of_the_answer() -> None:
    found = encode(ENCODER, ask("[Y] is the capital of [X] ."))
    tokens = ENCODER.tokenizer.convert_ids_to_tokens(list(found.steps[0].ids))
    assert [w.text for w in found.words] == ["is", "the", "capital", "of", "Tanzania"]
    assert tokens[found.steps[0].position] == "[MASK]"
    assert all(found.steps[0].position not in word.tokens for word in found.words)


def test_words_own_all_their_tokens_but_no_punctuation_or_special_ones() -> None:
    found = encode(ENCODER, ask("[X] ' s capital is [Y] .", "Dodoma Tanzania", "Paris"))
    tokens = ENCODER.tokenizer.convert_ids_to_tokens(list(found.steps[0].ids))
    owned = {place for word in found.words for place in word.tokens}
    assert [w.text for w in found.words] == ["Dodoma", "Tanzania", "s", "capital", "is"]
    assert {tokens[place] for place in range(len(tokens)) if place not in owned} == {
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "'",
        ".",
    }


def test_subject_and_template_never_share_a_word() -> None:
    found = encode(ENCODER, ask("[X]的首都是[Y]", "Kenya法国", "巴"))
    assert [w.text for w in found.words] == ["Kenya", "法", "国", "的", "首", "都", "是"]


def test_a_decoders_answer_has_its_leading_space_and_the_prompt_is_a_prefix() -> None:
    found = encode(DECODER, ask("The capital of [X] is [Y]"))
    assert found.answer_tokens == ("ĠDodoma",)
    assert found.prompt == "The capital of Tanzania is"
    (step,) = found.steps
    assert DECODER.tokenizer.decode(list(step.ids)) == "The capital of Tanzania is"
    assert step.position == len(step.ids) - 1


def test_decoder_step_t_follows_the_gold_tokens_before_it() -> None:
    found = encode(DECODER, ask("[X]'s is [Y]", "Kenya", "Dodomabi"))
    first, second = found.steps
    assert second.ids == (*first.ids, first.gold)
    assert second.position == first.position + 1


def test_punctuation_after_the_answer_is_cut_for_a_decoder_and_text_is_refused() -> None:
    assert encode(DECODER, ask("[X] is [Y] .")).steps == encode(DECODER, ask("[X] is [Y]")).steps
    with pytest.raises(UnusableQuery) as caught:
        encode(DECODER, ask("[Y] is the capital of [X]"))
    assert caught.value.reason == "answer-not-last"
    assert "fact f (P36, en)" in str(caught.value)


def test_han_answers_have_no_space_and_bytes_of_one_character_go_together() -> None:
    found = encode(DECODER, ask("[X]的首都是[Y]", "法国", "巴黎"))
    assert len(found.steps) >= 2
    assert DECODER.tokenizer.decode([step.gold for step in found.steps]) == "巴黎"
    assert [w.text for w in found.words] == list("法国的首都是")


def test_encode_statement_fills_every_mask_and_reads_at_the_answer() -> None:
    for loaded, answer in ((ENCODER, "Dodoma"), (DECODER, "Dodomabi")):
        found = encode_statement(loaded, ask("The capital of [X] is [Y]", answer=answer))
        assert all(step.ids[step.position] == step.gold for step in found.steps)
        assert loaded.tokenizer.mask_token_id not in found.steps[0].ids


@pytest.mark.parametrize(
    ("loaded", "query", "reason"),
    [
        (ENCODER, ask("The capital of [X] is Dodoma"), "no-answer-slot"),
        (ENCODER, ask("[Y] of [X] is [Y]"), "no-answer-slot"),
        (ENCODER, ask("The capital is [Y]"), "no-subject-slot"),
        (ENCODER, ask("[X] is [Y]", subject=" "), "empty-subject"),
        (ENCODER, ask("[X] is [Y]", subject="\u200b"), "empty-subject"),
        (ENCODER, ask("[X] is [Y]", answer=""), "empty-answer"),
        (ENCODER, ask("[X] is [Y]", answer="\u200b"), "empty-answer"),
        (ENCODER, ask("[X] is [Y]", answer="Xyzzy"), "unknown-answer"),
        (replace(DECODER, vocabulary=70), ask("[X] is [Y]"), "unknown-token"),
        (ENCODER, ask("[X] is [MASK] [Y]"), "literal-mask"),
        (ENCODER, ask("[X] is [Y]" + " is" * 60), "too-long"),
        (ENCODER, ask(". [X] . [Y] .", subject="'"), "no-words"),
        (ENCODER, ask("[X] is Do[Y]", answer="doma"), "token-straddles"),
        (DECODER, ask("The capital of [X] is Pa[Y]", answer="ris"), "token-straddles"),
    ],
)
def test_encode_gives_each_unusable_row_a_reason(loaded: Pretend, query: Query, reason: str) -> None:
    with pytest.raises(UnusableQuery) as caught:
        encode(loaded, query)
    assert caught.value.reason == reason


def test_encode_refuses_prompts_that_tokenise_differently_without_the_answer() -> None:
    """A tokenizer that cuts `ab c` as `a`, `b`, `c` but `ab` as one token."""
    bpe = models.BPE({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "<e>": 5}, [("b", "c"), ("a", "b")])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>")
    with pytest.raises(UnusableQuery) as caught:
        encode(Pretend(fast, "decoder"), ask("[X]b[Y]", "a", "c"))
    assert caught.value.reason in ("token-straddles", "prompt-not-prefix")
    assert encode(Pretend(fast, "decoder"), ask("[X]b [Y]", "a", "c")).answer_tokens == ("c",)


def test_query_id_depends_on_every_field_and_nothing_else() -> None:
    base = ask("[X] is [Y]")
    changed = [Query(*(f"{v}x" if i == n else v for i, v in enumerate(vars(base).values()))) for n in range(6)]
    assert len({base.id, *(query.id for query in changed)}) == 7
    assert base.id == ask("[X] is [Y]").id and len(base.id) == 16


@pytest.mark.parametrize("model", [ENCODER, DECODER], ids=["encoder", "decoder"])
def test_a_prefix_is_read_before_the_template_and_changes_neither_words_nor_answer(model: Pretend) -> None:
    plain = ask("The capital of [X] is [Y]")
    few = replace(plain, prefix="[X] is [Y]. The capital of Kenya is Nairobi.\n")
    before, after = encode(model, plain), encode(model, few)
    shift = after.steps[0].position - before.steps[0].position
    assert shift > 0 and after.prompt.startswith(few.prefix)
    assert [word.text for word in after.words] == [word.text for word in before.words]
    assert [word.tokens for word in after.words] == [tuple(t + shift for t in w.tokens) for w in before.words]
    assert [step.gold for step in after.steps] == [step.gold for step in before.steps]
    tail = [step.ids[before.steps[0].position :] for step in before.steps]
    assert [step.ids[after.steps[0].position :] for step in after.steps] == tail


def test_query_id_includes_the_prefix_only_if_there_is_one() -> None:
    plain = ask("The capital of [X] is [Y]")
    assert replace(plain, prefix="Answer briefly. ").id != plain.id
    assert replace(plain, prefix="").id == plain.id


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "word pieces"])
def test_decoder_prompt_tokens_are_the_printed_prompt_and_the_rest_is_the_answer(name: str) -> None:
    tokenizer, refused = TOKENIZERS[name], set()
    for blank, answer in product(BLANKS, ("1879", "Paris", "法国", "Apollo 11")):
        whole = ids_of(tokenizer, f"Kenya is{blank}{answer}", end=False)
        try:
            found = encode(Pretend(tokenizer, "decoder"), ask(f"[X] is{blank}[Y]", "Kenya", answer))
        except UnusableQuery as error:
            refused.add((blank, answer, error.reason))
            continue
        assert found.prompt == "Kenya is"
        assert list(found.steps[0].ids) == ids_of(tokenizer, found.prompt, end=False)
        assert [*found.steps[0].ids, *(step.gold for step in found.steps)] == whole
        asked = [whole[: len(whole) - left] for left in range(len(found.steps), 0, -1)]
        assert [list(step.ids) for step in found.steps] == asked
    assert all(blank == "" or reason == "unknown-answer" for blank, _, reason in refused)
    assert len(refused) <= 8


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if TOKENIZERS[name].mask_token])
def test_an_encoder_masks_the_white_space_before_the_answer_and_reads_the_printed_prompt(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    afters = ("", " .", " is French") if name != "with a dummy prefix" else ("",)  # it adds one behind a mask as well
    for blank, after in product(BLANKS, afters):
        found = encode(Pretend(tokenizer, "encoder"), ask(f"[X] is{blank}[Y]{after}", "Kenya", "法国"))
        whole, first = ids_of(tokenizer, f"Kenya is{blank}法国{after}"), found.steps[0].ids
        assert list(first) == ids_of(tokenizer, found.prompt)
        places = [place for place, token in enumerate(first) if token == tokenizer.mask_token_id]
        assert places == [step.position for step in found.steps]
        assert [step.gold for step in found.steps] == [whole[place] for place in places]
        before = tokenizer.decode(first[: places[0]], skip_special_tokens=True)
        assert before == before.rstrip() and before.endswith("is"), "white space is left unmasked before the answer"


def test_white_space_inside_a_prompt_token_stays_in_the_prompt() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([":\n"])
    found = encode(Pretend(tokenizer, "decoder"), ask("[X] is:\n[Y]", "Kenya", "Paris"))
    assert found.prompt == "Kenya is:\n" and list(found.steps[0].ids) == tokenizer(found.prompt)["input_ids"]


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_special_tokens_that_a_prefix_writes_out_are_not_added_a_second_time(kind: str) -> None:
    model = Pretend(TOKENIZERS["Unigram"], kind)
    plain, query = ask("The capital of [X] is [Y]", "Kenya", "Paris"), "The capital of Kenya is"
    bare = encode(model, replace(plain, prefix="is "))
    found = encode(model, replace(plain, prefix="<s>is "))
    start = model.tokenizer.convert_tokens_to_ids("<s>")
    assert found.prompt.startswith(f"<s>is {query}")
    assert found.steps[0].ids.count(start) == bare.steps[0].ids.count(start) == 1


def test_words_covered_by_another_words_token_are_counted() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["首都是"])
    found = encode(Pretend(tokenizer, "decoder"), ask("[X]的首都是[Y]", "法国", "Paris"))
    assert [word.text for word in found.words] == ["法", "国", "的", "首"]
    assert found.words_without_path == 2
    assert encode(DECODER, ask("The capital of [X] is [Y]")).words_without_path == 0


@pytest.mark.parametrize(
    ("template", "spaced"),
    [
        ("[X] 的首都是[Y]", True),
        ("[X]的首都是 [Y]", True),
        ("[X]的首都是\u3000[Y]", True),
        ("[X]の首都は[Y]", False),
        ("[X] 由 Apple 公司 发行于[Y]", True),
        ("The capital of [X] is [Y]", False),
        ("[X] means 人 in [Y]", False),
        ("[X] 의 수도는 [Y]", False),
        ("[X]: [Y]", True),
        ("[X]：[Y]", False),
    ],
)
def test_spaces_beside_a_slot_are_found_in_scripts_written_without_spaces(template: str, spaced: bool) -> None:
    assert has_spaced_slot(template, "法国", "巴黎") is spaced
