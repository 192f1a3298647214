"""Where things lie in a store folder, and which format version it has."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from knscope.store import files
from knscope.store.errors import UserError
from knscope.store.text import is_utf8

FORMAT = 2
"""1: without the sums of dense rows, and `amig` left out the path of a decoder's last word."""
STORE_FILE = "store.json"
SNAPSHOT = "results.duckdb"
RUNS = "runs"
"""The folder of a store's runs."""
SHARDS = "shards"
"""A run's folder of them."""
JSON_BYTES = 16 << 20
"""Bytes of the largest JSON file that is read: a manifest of 100,000 dense rows has two million."""
CLOSED = "not readable for this user; its owner can run chmod -R a+rX on it"


def create(path: Path | str) -> Path:
    """Make a store, or leave the one that is there. Raises UserError where something else is in the way."""
    folder = _open_to_this_user(_named(path))
    if folder.exists() and not _may_become_a_store(folder):
        if (folder / STORE_FILE).exists():
            return check(folder)
        raise UserError(f"{folder} exists and is no store of results; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # First of all: two may begin at once, or one be killed here.
        write_json(folder / STORE_FILE, {"format": FORMAT})
        (folder / RUNS).mkdir(exist_ok=True)
        files.flush(folder)
        with suppress(OSError):  # a parent that this user may not list
            files.flush(folder.absolute().parent)
    except OSError as error:
        raise UserError(f"{folder}: a store cannot be made there ({error.strerror}); name another folder") from error
    return folder


def _may_become_a_store(folder: Path) -> bool:
    """An empty folder, or one whose making was begun: its file is not there yet, only a draft of it."""
    return folder.is_dir() and all(entry.name.startswith(f".{STORE_FILE}.") for entry in folder.iterdir())


def check(path: Path | str) -> Path:
    """The folder of an existing store. Raises UserError where there is none, or one of another format."""
    folder = _open_to_this_user(_named(path))
    if not folder.exists():
        raise UserError(f"{folder} does not exist; make a store with `knscope run {folder} …` or `knscope demo`")
    if not (folder / STORE_FILE).is_file():
        raise UserError(f"{folder} is no store of results (it holds no {STORE_FILE}); name a folder made by knscope")
    found = read_json(folder / STORE_FILE).get("format")
    if found != FORMAT:
        raise UserError(
            f"{folder} has store format {found!r:.40}, and this knscope reads format {FORMAT}; "
            "open it with the version that wrote it, or run the analysis again into a new folder"
        )
    if (folder / RUNS).is_symlink():
        raise UserError(f"{folder / RUNS} {files.A_LINK}")
    return folder


def expanded(path: Path | str) -> Path:
    """With `~` spelled out, unless something is there by that very name. Raises UserError where it names a user that there is not."""
    try:
        return Path(path) if os.path.lexists(path) else Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no user of that name here; write the whole path") from None


def _named(path: Path | str) -> Path:
    """The database and JSON files write the path down, so it has to be text."""
    folder = expanded(path)
    if not is_utf8(str(folder.absolute())):
        raise UserError(f"{str(folder)!r}: the name of a store's folder must be UTF-8; rename it or name another")
    return folder


def _open_to_this_user(folder: Path) -> Path:
    """Refused here, or a store of somebody with a strict umask looks like an empty one."""
    try:
        os.scandir(folder / RUNS).close()
    except PermissionError:
        raise UserError(f"{folder} is {CLOSED}") from None
    except OSError:
        pass  # there is none, and whoever asked says so
    return folder


def list_shards(store: Path) -> Iterator[Path]:
    """Committed shards of all runs, oldest first within a run. A folder that vanishes meanwhile is passed over, and so is one
    that may not be read, or lies elsewhere (`unreadable`)."""
    for run in files.folders(store / RUNS):
        yield from shards_of(store / RUNS / run)


def shards_of(run: Path) -> list[Path]:
    """Committed shards in a run's folder, oldest first."""
    return [run / SHARDS / name for name in files.folders(run / SHARDS)]


def unreadable(store: Path) -> dict[str, str]:
    """What a reader passes over: runs that this user may not look into (another one's, with a strict umask), links out of the store
    and the like. Their paths, and what to do."""
    found = {}
    for run in files.folders(store / RUNS):
        folder = store / RUNS / run / SHARDS
        try:
            os.scandir(folder).close()
        except PermissionError:
            found[str(folder.parent)] = CLOSED
        except OSError:
            continue
        if folder.is_symlink():
            found[str(folder)] = files.A_LINK
        found |= {str(folder / name): why for name, why in files.strange(folder).items()}
    return found | {str(store / RUNS / name): why for name, why in files.strange(store / RUNS).items()}


def place_of(shard: Path) -> str:
    """run/shard"""
    return f"{shard.parent.parent.name}/{shard.name}"


def time_of(folder: Path) -> float:
    """Now, by the clock that gives files in `folder` their times: on a shared disk another host's."""
    touched = folder / f".now-{uuid.uuid4().hex[:8]}"
    try:
        touched.touch(exist_ok=False)
        return touched.stat().st_mtime
    finally:
        touched.unlink(missing_ok=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a JSON file atomically: a reader sees the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError where the file cannot be read, whatever it is."""
    try:
        text = files.read(path.parent, path.name, JSON_BYTES).decode()
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair can be neither stored nor shown
    except (OSError, ValueError, RecursionError) as error:
        why = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else getattr(error, "strerror", None) or error
        )
        raise UserError(f"{path} cannot be read ({why}); the store may be damaged: knscope store verify") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; the store may be damaged: knscope store verify")
    return value
