"""Proofs of earlier loads, in the user's cache folder: a small JSON file for each model as it was loaded.

A file counts for the very same weights, tokenizer, neurons, precision, attention implementation, device, libraries and
engine, and only where it belongs to the user and nobody else may write it. Without one, a model is proven anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from knscope.analysis.engine.circuit import Recipe
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.engine.ways import Case, Cost, Way

_LARGEST = 1 << 20
"""Bytes of a file; a longer one is none of ours."""


class Remembered:
    """What is known of one loaded model. Reading and writing never fail: what cannot be read counts as not there."""

    def __init__(self, file: Path, about: dict[str, Any]) -> None:
        """`about`: what the proof holds for, which the file must name."""
        self._file, self._about = file, about
        found = _read(file)
        self._found: dict[str, Any] = found if found.get("about") == about else {"about": about, "ways": {}}

    @classmethod
    def of(cls, loaded: LoadedModel) -> Remembered | None:
        """None where nothing is to be remembered: of a model made in memory or spread over devices, without a cache folder."""
        folder, about = cache_folder(), _about(loaded)
        if folder is None or about is None:
            return None
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        return cls(folder / "proofs" / f"{name}.json", about)

    def way(self, case: Case) -> Way | None:
        with suppress(LookupError, TypeError, ValueError, AttributeError):
            way = self._found["ways"][_name(case)]
            recipe = Recipe(**way["recipe"])
            types = (str, bool, str, bool, bool, bool)
            of_type = [type(each) is wanted for each, wanted in zip(asdict(recipe).values(), types, strict=True)]
            known = recipe.enter in ("own", "shared", "start") and recipe.cut in ("none", "block", "head")
            if all(of_type) and known and math.isfinite(error := float(way["error"])):
                return Way(recipe, error, tuple((str(name), str(why)) for name, why in way["refused"]))
        return None

    def cost(self) -> Cost | None:
        with suppress(LookupError, TypeError, ValueError):
            cost = Cost(**self._found["cost"])
            if all(type(each) is int and each >= 0 for each in asdict(cost).values()) and cost.token and cost.head:
                return cost
        return None

    def keep(self, ways: dict[Case, Way], cost: Cost) -> None:
        """Write down all that is proven by now."""
        self._found |= {"cost": asdict(cost), "ways": {_name(case): asdict(way) for case, way in ways.items()}}
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # a name of its own, readable by the user alone, then renamed: nobody sees half of it
            handle, path = tempfile.mkstemp(dir=self._file.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(self._found, file)
                Path(path).replace(self._file)
            except OSError:
                Path(path).unlink(missing_ok=True)
                raise


def cache_folder() -> Path | None:
    """`~/.cache/knscope`, or below XDG_CACHE_HOME; None where there is no home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "knscope"
    except RuntimeError:
        return None


def _about(loaded: LoadedModel) -> dict[str, Any] | None:
    identity = loaded.identity
    devices = {parameter.device for parameter in loaded.model.parameters()}
    if identity.source == "memory" or len(devices) > 1:
        return None
    gpu = torch.cuda.get_device_name(loaded.device) if loaded.device.type == "cuda" else ""
    sites = json.dumps([asdict(site) for site in loaded.sites])
    about = {
        **{name: getattr(identity, name) for name in ("architecture", "dtype", "attention", "weights_hash", "tokenizer_hash")},
        "sites": hashlib.sha256(sites.encode()).hexdigest(),
        "device": f"{loaded.device} {gpu}",
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "engine": _engine_hash(),
    }  # fmt: skip
    return {name: str(value) for name, value in about.items()}


@cache
def _engine_hash() -> str:
    """Of the code that is proven and that proves."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _name(case: Case) -> str:
    return " ".join(f"{name}={value}" for name, value in asdict(case).items())


def _read(file: Path) -> dict[str, Any]:
    """A JSON object that the user alone can have written; empty where there is none."""
    with suppress(OSError, ValueError, RecursionError):
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, encoding="utf-8") as text:
            about = os.fstat(handle)
            mine = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022
            found = json.loads(text.read()) if mine and about.st_size <= _LARGEST else None
            if isinstance(found, dict) and isinstance(found.get("ways"), dict):
                return found
    return {}
