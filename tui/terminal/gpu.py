"""What the machine's memory and GPUs do, without torch: psutil, and nvidia-smi where there is one."""

from __future__ import annotations

import shutil
import subprocess

_QUERY = "--query-gpu=name,memory.used,memory.total,utilization.gpu"


def gpus() -> tuple[str, ...]:
    """One text a GPU: `H100 12.1/79.6 GB 34%`; empty where there is none, or it does not answer in a second."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        done = subprocess.run(
            [command, _QUERY, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=1.0, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(text for line in done.stdout.splitlines() if (text := described(line)))


def described(line: str) -> str:
    """One line of nvidia-smi in short; empty for one that says something else."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 4 or not parts[2].isdigit() or not parts[1].isdigit():
        return ""
    name = parts[0].removeprefix("NVIDIA").strip().split(" ")[0]
    busy = f" {parts[3]}%" if parts[3].isdigit() else ""
    return f"{name} {int(parts[1]) / 1024:.1f}/{int(parts[2]) / 1024:.1f} GB{busy}"


def memory() -> str:
    """`memory 5.2/16.0 GB`: in use on this machine."""
    import psutil

    found = psutil.virtual_memory()
    return f"memory {(found.total - found.available) / 2**30:.1f}/{found.total / 2**30:.1f} GB"
