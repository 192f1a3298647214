"""Random tiny models of real architectures, with tokenizers that cut like the real ones. Weights are scaled up so that
edits and words matter; nothing is loaded or saved."""

from __future__ import annotations

import copy

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from knscope.analysis.engine.models import LoadedModel, wrap_model

TEXT = """The capital of Tanzania is Dodoma . France Paris ' s Kenya Nairobi official language Swahili French Do ##do ##ma
坦 桑 尼 亚 的 首 都 是 多 马 法 国 巴 黎 肯 内 罗 毕"""
WORDS = TEXT.split()
LINES = ["The capital of Tanzania is Dodoma", "The capital of France is Paris", "Kenya's capital is Nairobi"] * 20


def wordpiece() -> PreTrainedTokenizerFast:
    """Like m-BERT's: Chinese cut into characters, [CLS] and [SEP] around a text."""
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def byte_level() -> PreTrainedTokenizerFast:
    """Like GPT-2's: bytes, a leading space as part of a word's token; short words stay in several pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=310,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def pieces(model: str = "bpe", dummy_prefix: bool = True) -> PreTrainedTokenizerFast:
    """Like SentencePiece's: ▁ for a space. `bpe` is like Llama's and Gemma's, rare characters as bytes; `unigram` like
    XLM-R's, white space of any kind made one space, <s> and </s> around a text, and a mask that takes the space before it."""
    special, characters = (
        ["<unk>", "<s>", "</s>", "<mask>"],
        sorted({*" ".join([*LINES, TEXT, "0123456789"]).replace(" ", "▁"), "▁"}),
    )
    if model == "bpe":
        special += [f"<0x{byte:02X}>" for byte in range(256)]
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        spaces = [normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if dummy_prefix else spaces)
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, initial_alphabet=characters, show_progress=False
        )
        tokenizer.train_from_iterator(LINES, trainer)
    else:
        learned = ["▁" + word for word in LINES[0].split()]
        scored = (
            [(token, 0.0) for token in special] + [(token, -2.0) for token in learned] + [(c, -8.0) for c in characters]
        )
        tokenizer = Tokenizer(models.Unigram(scored, unk_id=0))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if dummy_prefix else "never")
        ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "mask_token": AddedToken("<mask>", lstrip=True, special=True),
    }
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def sentinels() -> PreTrainedTokenizerFast:
    """Like T5's: an end token after every text, and sentinels for spans that are left out."""
    bare = byte_level().backend_tokenizer
    special = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>"]
    bare.add_special_tokens(special)
    end = bare.token_to_id("</s>")
    bare.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=bare, additional_special_tokens=special[3:], **names)


torch.set_num_threads(1)  # two threads on tiny tensors only wait for each other


def bert(dtype: torch.dtype = torch.float32, layers: int = 3, gain: float = 12.0, hidden: int = 16) -> LoadedModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=hidden * 3 // 2,
        max_position_embeddings=40,
    )  # fmt: skip
    return wrap_model(scaled(BertForMaskedLM(config), gain).to(dtype), wordpiece(), "encoder", name="tiny-bert")


def gpt2(dtype: torch.dtype = torch.float32, layers: int = 3, gain: float = 12.0, hidden: int = 16) -> LoadedModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=320,
        n_embd=hidden,
        n_layer=layers,
        n_head=2,
        n_inner=hidden * 3 // 2,
        n_positions=40,
        bos_token_id=0,
        eos_token_id=0,
    )
    return wrap_model(scaled(GPT2LMHeadModel(config), gain).to(dtype), byte_level(), "decoder", name="tiny-gpt2")


def scaled(model: torch.nn.Module, gain: float) -> torch.nn.Module:
    """Random initial weights are nearly linear; larger ones give curved paths and answers of varied probability."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(gain)
    return model


def rounded(loaded: LoadedModel, dtype: torch.dtype) -> LoadedModel:
    """A copy of the model in another precision."""
    model = copy.deepcopy(loaded.model).to(dtype)
    return wrap_model(model, loaded.tokenizer, loaded.kind, name=loaded.identity.name)
