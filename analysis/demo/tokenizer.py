"""The bundled models' tokenizers: words and pieces of words in Latin script, single characters in Chinese."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "encoder": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "decoder": {"pad": "<pad>", "unk": "<unk>", "eos": "<eos>"},
}
CONTEXT = 48
_HAN = "[\u2e80-\u9fff\uf900-\ufaff]"


def train_tokenizer(texts: Iterable[str], kind: str, size: int, min_frequency: int) -> PreTrainedTokenizerFast:
    """A word-piece tokenizer for an `encoder` (adds [CLS] and [SEP]) or a `decoder` (adds nothing).

    White space only parts words and belongs to no token, so a prompt's tokens never change when its answer follows.
    """
    special = SPECIAL[kind]
    tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"], max_input_chars_per_word=60))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_HAN), "isolated"), pre_tokenizers.Punctuation()]
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
