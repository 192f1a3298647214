"""What a person names as a model: a folder, or a hub id with or without `@revision`. Knows no torch."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from knscope.analysis.errors import ModelError

INDEX = ".safetensors.index.json"
SITE = "#site="
_GGUF = (
    "is GGUF, a format of quantised weights for llama.cpp; use the model's safetensors checkpoint, or write one: "
    "AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE).save_pretrained(NEW), and the tokenizer likewise"
)
BUNDLED = Path(__file__).parents[1] / "demo" / "models"
"""Folders of the models that come with knscope, each by its name."""


def with_site(source: str, pattern: str | None) -> str:
    """A source whose neurons are named by a regular expression: the paths of its second MLP linears. It is part of what the
    model is called, so that whoever loads it again finds the same neurons. Raises ModelError for what is no expression."""
    if not pattern:
        return source
    try:
        re.compile(pattern)
    except re.error as error:
        raise ModelError(f"--site {pattern}: is no regular expression ({error})") from None
    return f"{source}{SITE}{pattern}"


def split_site(source: str) -> tuple[str, str | None]:
    """The source itself, and the expression that `with_site` added."""
    name, found, pattern = source.partition(SITE)
    return name, pattern if found else None


def split_revision(source: str) -> tuple[str, str | None]:
    """`org/name@v1.0` -> ("org/name", "v1.0"); a folder, or an id without a revision, -> (source, None)."""
    source, _ = split_site(source)
    name, found, revision = source.rpartition("@")
    if not found or not name or is_path(source):
        return source, None
    return name, revision


def is_path(source: str) -> bool:
    """Whether a folder is meant, there or not; a hub id has at most one slash and no dot before it."""
    source, _ = split_site(source)
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists()


def folder_of(source: str) -> Path:
    """The folder of that very name, else with `~` spelled out. Raises ModelError where it names a user that there is not."""
    source, _ = split_site(source)
    try:
        return Path(source) if os.path.lexists(source) else Path(source).expanduser()
    except RuntimeError:
        raise ModelError(f"{source}: there is no user of that name here; write the whole path") from None


def absolute_source(source: str) -> str:
    """A folder's absolute path, so that a job started elsewhere finds it; a bundled model's is known by its name, and a hub id
    stays as it is. Raises ModelError.
    """
    name, pattern = split_site(source)
    bundled = BUNDLED / name
    if not is_path(name) and (bundled / "config.json").is_file():
        return with_site(str(bundled), pattern)
    text = str(folder_of(name).resolve()) if is_path(name) else name
    check_folder(text)
    return with_site(text, pattern)


def check_folder(text: str) -> None:
    """Raise ModelError where a folder is named that cannot be a model's, before anything is loaded or started."""
    text, _ = split_site(text)
    if not is_path(text):
        return
    folder = Path(text)
    if not folder.exists():
        raise ModelError(f"{text}: no such folder")
    if folder.suffix == ".gguf":
        raise ModelError(f"{text}: {_GGUF}")
    if not folder.is_dir():
        raise ModelError(f"{text}: is a file; give the folder that holds config.json and the weights")
    check_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{text}: {_no_model(folder)}")
    check_weights(folder)
    if any(file.is_file() for file in folder.glob("*.safetensors")):
        check_tokenizer(folder)
        return
    if any(folder.glob("*.gguf")):
        raise ModelError(f"{text}: {_GGUF}")
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]):
        raise ModelError(
            f"{text}: its weights are a pickle ({pickles[0].name}), which can run code when opened; "
            "convert it with save_pretrained(..., safe_serialization=True) on a machine you trust it on"
        )
    raise ModelError(f"{text}: holds no weights (model.safetensors)")


def _no_model(folder: Path) -> str:
    """What a folder without a config.json is instead."""
    if any(folder.glob("*.gguf")):
        return _GGUF
    found = sorted(file.parent for file in folder.glob("snapshots/*/config.json"))
    if found:
        name = folder.name.removeprefix("models--").replace("--", "/")
        return f"is where the hub's cache keeps {name}; name the model {name}, or its folder {found[-1]}"
    return "holds no config.json; give a folder saved by transformers"


def check_tokenizer(folder: Path) -> None:
    """Raise ModelError where a folder holds no vocabulary, or one that takes a package to be read which is not there."""
    if (folder / "tokenizer.json").is_file():
        return
    pieces = sorted([*folder.glob("*.model"), *folder.glob("*.tiktoken")])
    if not pieces and not any(folder.glob("vocab*")):
        raise ModelError(
            f"{folder}: holds no tokenizer (tokenizer.json, tokenizer.model or vocab files); copy it from the checkpoint, "
            "or AutoTokenizer.from_pretrained(...).save_pretrained() it there"
        )
    package = "tiktoken" if pieces and pieces[0].suffix == ".tiktoken" else "sentencepiece"
    if pieces and importlib.util.find_spec(package) is None:
        raise ModelError(
            f"{folder}: its tokenizer comes as {pieces[0].name} alone, which {package} reads: pip install 'knscope[{package}]'"
        )


def check_token(source: str, token: str) -> None:
    """Raise ModelError for a token that the tokenizer of a model which is here has not: before the model is loaded."""
    folder = local_folder(source)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return
    try:
        whole = _json(folder / "tokenizer.json")
        vocabulary = whole["model"]["vocab"]
        known = token in vocabulary or any(token == one[0] for one in vocabulary if isinstance(one, list))
        known = known or any(token == one["content"] for one in whole.get("added_tokens", ()))
    except (ModelError, LookupError, TypeError):  # one that cannot be read: loading says why
        return
    if not known:
        raise no_token(token, source)


def no_token(token: str, model: str) -> ModelError:
    """Of a `substitute` that a model does not have."""
    return ModelError(
        f"method option substitute={token}: {model} has no token of that name; write one of its vocabulary as its tokenizer does, or "
        "leave the option out"
    )


def check_adapter(folder: Path) -> None:
    """Raise ModelError where a folder holds an adapter, which would be left out beside the weights that it changes."""
    if found := sorted([*folder.glob("adapter_config.json"), *folder.glob("adapter_model.*")]):
        raise ModelError(
            f"{folder}: holds an adapter ({found[0].name}), such as LoRA leaves: it changes another model's weights and is no model; "
            "merge it (peft: merge_and_unload(), then save_pretrained()) and name the folder of the merged model"
        )


def check_weights(folder: Path) -> None:
    """Raise ModelError unless all that config.json and the indexes name as weights are safetensors files of this folder."""
    config = folder / "config.json"
    stored = _json(config)
    if isinstance(how := stored.get("quantization_config"), dict):
        raise ModelError(
            f"{folder}: its weights are quantised ({how.get('quant_method', 'by a method that is not named')}), so that neither edits nor "
            "gradients would be those of the model; use the checkpoint that it was made from, or dequantise it (model.dequantize(), "
            "then save_pretrained()) and name that folder"
        )
    named = stored.get("transformers_weights")
    if named is not None and not _own(named, (".safetensors", INDEX)):
        raise ModelError(f"{config}: names {named!r} as weights; only *.safetensors in the same folder are read")
    for index in sorted(folder.glob(f"*{INDEX}")):
        places = _json(index).get("weight_map")
        if not isinstance(places, dict):
            raise ModelError(
                f"{index}: has no weight_map, which says what file holds a tensor; copy or download it again"
            )
        for file in places.values():
            if not _own(file, (".safetensors",)):
                raise ModelError(f"{index}: names {file!r} as weights; only *.safetensors in the same folder are read")
            if not (folder / file).is_file():
                raise ModelError(f"{index}: names {file}, which is not there; copy or download the model again")


def _own(name: object, suffixes: tuple[str, ...]) -> bool:
    """Whether a file of the same folder is named, with one of these endings."""
    return isinstance(name, str) and name.endswith(suffixes) and name == Path(name).name and "\0" not in name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy or download it again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object; copy or download it again")
    return value


def local_folder(source: str) -> Path | None:
    """The folder itself, or where the local cache keeps the revision of a hub id; None where it is not there."""
    if is_path(source):
        return folder_of(source)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, revision = split_revision(source)
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def check_cached(source: str, commit: str | None) -> None:
    """Of a hub id: look at what names the weights before any of them is fetched or read. Raises ModelError."""
    if is_path(source):
        return
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    name, _ = split_revision(source)
    if not isinstance(try_to_load_from_cache(name, "model.safetensors", revision=commit), str):
        for file in (f"model{INDEX}", "adapter_config.json"):
            with suppress(OSError, EntryNotFoundError):  # it has none, or cannot be reached: loading says so
                hf_hub_download(name, file, revision=commit)
    if folder := local_folder(f"{name}@{commit}" if commit else source):
        check_adapter(folder)
        check_weights(folder)


def cached_commit(source: str) -> str | None:
    """The commit that a hub id's revision stands for in the local cache; None for folders and where it is not there."""
    folder = None if is_path(source) else local_folder(source)
    return folder.name if folder else None


def weight_bytes(source: str) -> int | None:
    """Size of the weights on disk; None where they are still to be fetched."""
    folder = local_folder(source)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) or None if folder else None


def is_decoder(source: str) -> bool:
    """Whether the configuration names a causal model; False where that cannot be read before it is loaded."""
    folder = local_folder(source)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):
        return False
    seeing = "text_config" in config and not config.get("is_encoder_decoder")  # a model that sees, by its text tower
    ends = ("ForCausalLM", "LMHeadModel", *(("ForConditionalGeneration",) if seeing else ()))
    return any(name.endswith(ends) for name in config.get("architectures") or ())
