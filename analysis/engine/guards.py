"""What surrounds a load: silence, no search for cycles, and the library's errors as sentences."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

from knscope.analysis.errors import ModelError


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars or chatter of the library on a terminal that is not its own."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles while a vocabulary's millions of small objects are made: it takes as long as making them."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def explained(source: str) -> Iterator[None]:
    """What the library raises for a bad source, as one sentence that says what to do."""
    try:
        yield
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            why = (
                "wants to run code of its own, which is never done here; use a model that transformers supports itself"
            )
        elif isinstance(error, SafetensorError):
            why = f"holds weights that are damaged or incomplete ({first}); copy or download them again"
        elif "mismatched_sizes" in str(error):
            why = "holds weights of other shapes than its config.json says; take both from the same checkpoint"
        elif "safetensors" in str(error):
            why = f"has no safetensors weights ({first})"
        elif not Path(source).is_dir():
            why = f"is no folder here, not in the local cache, and could not be had from the hub ({first})"
        else:
            why = f"cannot be loaded by transformers {transformers.__version__} ({first})"
        raise ModelError(f"{source}: {why}") from error
