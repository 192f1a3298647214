"""What the tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from knscope.analysis.engine.replay import Engine

TINY_TEXT = (
    "the capital of france is paris . germany berlin spain madrid people in speak french german spanish "
    "la capitale de la est l' on parle en , [ ] ' - a b c d e f g h i j k l m n o p q r s t u v w x y z"
)


def build_tiny_model(folder: Path, kind: str, seed: int = 0, width: int = 48) -> Path:
    """A random BERT (`encoder`) or GPT-2 (`decoder`) of 2 layers x `width` neurons with a word tokenizer, in a folder."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<eos>"]
    vocabulary = {word: place for place, word in enumerate([*special, *dict.fromkeys(TINY_TEXT.split())])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(vocabulary)}
    if kind == "encoder":
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "mask", "cls", "sep", "pad")}
        config = transformers.BertConfig(
            **sizes, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=width,
            max_position_embeddings=40, initializer_range=0.4,
        )  # fmt: skip
        model = transformers.BertForMaskedLM(config)
    else:
        names = {"unk_token": "[UNK]", "eos_token": "<eos>", "pad_token": "[PAD]"}
        config = transformers.GPT2Config(
            **sizes, n_embd=24, n_layer=2, n_head=2, n_inner=width, n_positions=40, initializer_range=0.4,
            bos_token_id=5, eos_token_id=5,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    model.eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Proofs are remembered in the user's cache folder: no test finds another's, nor leaves any there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders of two random models, by kind: `encoder` and `decoder`."""
    place = tmp_path_factory.mktemp("tiny")
    return {kind: build_tiny_model(place / f"tiny-{kind}", kind) for kind in ("encoder", "decoder")}


@pytest.fixture(scope="session")
def tiny_facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV in the project's own format: six facts of two relations, two languages, two templates."""
    lines = ["fact_id,relation,lang,template,subject,object"]
    capital = ("the capital of [X] is [Y]", "[X] capital is [Y]"), ("la capitale de [X] est [Y]", "[X] est [Y]")
    speak = ("people in [X] speak [Y]", "in [X] people speak [Y]"), ("en [X] on parle [Y]", "on parle en [X] [Y]")
    for relation, (english, french) in (("P36", capital), ("P37", speak)):
        for subject, city, language in (
            ("france", "paris", "french"),
            ("germany", "berlin", "german"),
            ("spain", "madrid", "spanish"),
        ):
            answer = city if relation == "P36" else language
            for lang, templates in (("en", english), ("fr", french)):
                lines += [f"{relation}-{subject},{relation},{lang},{t},{subject},{answer}" for t in templates]
    path = tmp_path_factory.mktemp("facts") / "tiny.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- random models in float64 for numeric claims (analysis) ---


@pytest.fixture(scope="session")
def bert_engine() -> Engine:
    """A random encoder."""
    import torch

    from knscope.analysis.engine.replay import Engine
    from tests.random_models import bert

    return Engine(bert(torch.float64))


@pytest.fixture(scope="session")
def gpt2_engine() -> Engine:
    """A random decoder."""
    import torch

    from knscope.analysis.engine.replay import Engine
    from tests.random_models import gpt2

    return Engine(gpt2(torch.float64))
