"""What a person names as a model: a folder, or a hub id with or without `@revision`. Knows no torch."""

from __future__ import annotations

import json
from pathlib import Path

from knscope.analysis.errors import ModelError

BUNDLED = Path(__file__).parents[1] / "demo" / "models"
"""Folders of the models that come with knscope, each by its name."""


def split_revision(source: str) -> tuple[str, str | None]:
    """`org/name@v1.0` -> ("org/name", "v1.0"); a folder, or an id without a revision, -> (source, None)."""
    name, found, revision = source.rpartition("@")
    if not found or not name or is_path(source):
        return source, None
    return name, revision


def is_path(source: str) -> bool:
    """Whether a folder is meant, there or not; a hub id has at most one slash and no dot before it."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists()


def absolute_source(source: str) -> str:
    """A folder's absolute path, so that a job started elsewhere finds it; a bundled model's is known by its name, and a hub id
    stays as it is. Raises ModelError.
    """
    bundled = BUNDLED / source
    if not is_path(source) and (bundled / "config.json").is_file():
        return str(bundled)
    try:
        text = str(Path(source).expanduser().resolve()) if is_path(source) else source
    except RuntimeError:
        raise ModelError(f"{source}: there is no user of that name here; write the whole path") from None
    check_folder(text)
    return text


def check_folder(text: str) -> None:
    """Raise ModelError where a folder is named that cannot be a model's, before anything is loaded or started."""
    if not is_path(text):
        return
    folder = Path(text)
    if not folder.exists():
        raise ModelError(f"{text}: no such folder")
    if not folder.is_dir():
        raise ModelError(f"{text}: is a file; give the folder that holds config.json and the weights")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{text}: holds no config.json; give a folder saved by transformers")
    if list(folder.glob("*.safetensors")):
        return
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]):
        raise ModelError(
            f"{text}: its weights are a pickle ({pickles[0].name}), which can run code when opened; "
            "convert it with save_pretrained(..., safe_serialization=True) on a machine you trust it on"
        )
    raise ModelError(f"{text}: holds no weights (model.safetensors)")


def local_folder(source: str) -> Path | None:
    """The folder itself, or where the local cache keeps the revision of a hub id; None where it is not there."""
    if is_path(source):
        return Path(source).expanduser()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, revision = split_revision(source)
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


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
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") if folder else ()
    except (OSError, ValueError):
        return False
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in named or ())
