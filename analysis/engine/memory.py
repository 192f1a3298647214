"""Choose how many rows a pass holds, and halve them when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from knscope.analysis.errors import ModelError

_SHARE = 0.5
"""Of the memory found free, what passes may fill when no limit is given."""


def free_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _cgroup_free())
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _cgroup_free() -> int:
    """What a container's limit leaves; a very large number where there is none."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):
        return 1 << 62


def budget(limit: int | None, device: torch.device) -> int:
    """Bytes that the passes themselves may use."""
    return limit if limit is not None else int(free_bytes(device) * _SHARE)


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def spans(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Split 0..total into even ranges of at most `size`."""
    pieces = max(1, -(-total // max(1, size)))
    for piece in range(pieces):
        start, end = total * piece // pieces, total * (piece + 1) // pieces
        if start < end:
            yield start, end


def halving(start: int, end: int, work: Callable[[int, int], None]) -> None:
    """Call work(start, end), in halves if memory runs out. Raises ModelError if a single row does not fit."""
    try:
        work(start, end)
        return
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if end - start <= 1:
            raise ModelError(
                "out of memory with a single row; use a smaller model, a smaller dtype or more memory"
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (start + end) // 2
    halving(start, middle, work)
    halving(middle, end, work)
