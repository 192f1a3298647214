"""A line for every shard that a run commits (+), a compaction replaces (-) or is set aside (!): one that somebody deleted is missed.

`runs/<run>/committed` is only ever appended to. A writer killed between the rename and its line leaves a shard without one: that does no
harm, since the ledger never decides what is read.
"""

from __future__ import annotations

import os
from pathlib import Path

LEDGER = "committed"


def note(run_folder: Path, shard: str, sign: str = "+") -> None:
    """Append one line in one write."""
    descriptor = os.open(
        run_folder / LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666
    )  # the umask says who else may
    try:
        os.write(descriptor, f"{sign}{shard}\n".encode())
    finally:
        os.close(descriptor)


def replaced(run_folder: Path) -> set[str]:
    """Shards that a compaction replaced. Ledgers of old say the same of shards that were set aside."""
    return _signed(run_folder, "-")


def _signed(run_folder: Path, signs: str) -> set[str]:
    return {line[1:] for line in _lines(run_folder) if line[:1] in signs}


def deleted(store: Path) -> dict[str, str]:
    """Shards that were committed, not replaced, and are not there: their paths, and what to do."""
    found = {}
    for run in sorted(path.parent for path in (store / "runs").glob(f"*/{LEDGER}")):
        committed = [line[1:] for line in _lines(run) if line.startswith("+")]
        try:
            gone = [name for name in committed if not (run / "shards" / name).is_dir()]
        except PermissionError:
            continue  # they may be whole: who can look says
        if gone:
            taken = _signed(run, "-!")  # read after looking: a compaction notes what it replaces before it removes it
            for name in gone:
                if name not in taken:
                    found[str(run / "shards" / name)] = "deleted; run again to compute again what it held"
    return found


def _lines(run_folder: Path) -> list[str]:
    try:
        return (run_folder / LEDGER).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
