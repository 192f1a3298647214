"""The bundled models' tokenizers: words and pieces of words in Latin script, recurring parts of names in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "encoder": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "decoder": {"pad": "<pad>", "unk": "<unk>", "eos": "<eos>"},
}
CONTEXT = 48
_HAN = "[\u2e80-\u9fff\uf900-\ufaff]"
_CHINESE_PARTS = 2_000
_MIN_PART_COUNT = 2


def train_tokenizer(
    texts: Iterable[str], names: Iterable[str], kind: str, size: int, min_frequency: int
) -> PreTrainedTokenizerFast:
    """A word-piece tokenizer for an `encoder` (adds [CLS] and [SEP]) or a `decoder` (adds nothing).

    White space only parts words and belongs to no token, so a prompt's tokens never change when its answer follows.
    In Chinese the parts that recur among `names` are words, every other character is one.
    """
    special = SPECIAL[kind]
    tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"], max_input_chars_per_word=60))
    han = "|".join([*chinese_parts(names), _HAN])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(han), "isolated"), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=list(special.values()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if kind == "encoder":
        ends = [(special[name], tokenizer.token_to_id(special[name])) for name in ("cls", "sep")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special['cls']} $A {special['sep']}", special_tokens=ends
        )
    names = {f"{name}_token": token for name, token in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=CONTEXT, **names)  # type: ignore[no-untyped-call]


def chinese_parts(names: Iterable[str]) -> list[str]:
    """Parts of several characters that recur among Chinese names (byte-pair merges of these alone), longest first.

    A part comes from names only, so it can hardly join the end of a template to the start of an answer.
    """
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=_CHINESE_PARTS, min_frequency=_MIN_PART_COUNT, show_progress=False)
    tokenizer.train_from_iterator((name for name in names if re.fullmatch(f"{_HAN}+", name)), trainer)
    return sorted((part for part in tokenizer.get_vocab() if len(part) > 1), key=lambda part: (-len(part), part))
