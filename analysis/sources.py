"""What a person names as a model: a folder, or a hub id with or without `@revision`. Knows no torch."""

from __future__ import annotations

import json
from pathlib import Path


def split_revision(source: str) -> tuple[str, str | None]:
    """`org/name@v1.0` -> ("org/name", "v1.0"); a folder, or an id without a revision, -> (source, None)."""
    name, found, revision = source.rpartition("@")
    if not found or not name or is_path(source):
        return source, None
    return name, revision


def is_path(source: str) -> bool:
    """Whether a folder is meant, there or not; a hub id has at most one slash and no dot before it."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).expanduser().exists()


def absolute_source(source: str) -> str:
    """A folder's absolute path, so that a job started elsewhere finds it; a hub id stays as it is."""
    return str(Path(source).expanduser().resolve()) if is_path(source) else source


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
