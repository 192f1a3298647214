"""A line for every shard that a run commits (+), a compaction replaces (-) or is set aside (!): one that somebody deleted is missed.

`runs/<run>/committed` is only ever appended to. A writer killed between the rename and its line leaves a shard without one: that does no
harm, since the ledger never decides what is read.
"""

from __future__ import annotations

from pathlib import Path

from knscope.store import files
from knscope.store.layout import RUNS

LEDGER = "committed"
_BYTES = 64 << 20
"""Bytes of the largest ledger that is read: a million lines."""
_REMOVE = "remove the file: shards are read without it"


def note(run_folder: Path, shard: str, sign: str = "+") -> None:
    """Append one line in one write."""
    files.append(run_folder, LEDGER, f"{sign}{shard}\n")


def replaced(run_folder: Path) -> set[str]:
    """Shards that a compaction replaced. Ledgers of old say the same of shards that were set aside."""
    return _signed(run_folder, "-")


def _signed(run_folder: Path, signs: str) -> set[str]:
    try:
        return {line[1:] for line in _lines(run_folder) if line[:1] in signs and files.is_plain(line[1:])}
    except (OSError, ValueError):
        return set()


def deleted(store: Path) -> dict[str, str]:
    """Shards that were committed, not replaced, and are not there, and ledgers that cannot be read: their paths, and what to do."""
    found = {}
    for run in (store / RUNS / name for name in files.folders(store / RUNS)):
        try:
            lines = _lines(run)
            committed = [line[1:] for line in lines if line.startswith("+")]
            gone = [name for name in committed if files.is_plain(name) and not (run / "shards" / name).is_dir()]
        except (FileNotFoundError, PermissionError):
            continue  # the shards may be whole: who can look says
        except (OSError, ValueError) as error:
            found[str(run / LEDGER)] = f"{getattr(error, 'strerror', None) or error}; {_REMOVE}"
            continue
        if strange := sum(not files.is_plain(line[1:]) for line in lines):
            found[str(run / LEDGER)] = f"{strange:,} of its lines name no shard; {_REMOVE}"
        if gone:
            taken = _signed(run, "-!")  # read after looking: a compaction notes what it replaces before it removes it
            for name in gone:
                if name not in taken:
                    found[str(run / "shards" / name)] = "deleted; run again to compute again what it held"
    return found


def _lines(run_folder: Path) -> list[str]:
    """Raises OSError and ValueError where it cannot be read."""
    return files.read(run_folder, LEDGER, _BYTES).decode().splitlines()
