"""Contenders measured fairly: a process each, taken in turn, several rounds; CPU seconds at one thread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]


@dataclass
class Result:
    """What one contender did: CPU seconds of each round, and whatever else it told in the last."""

    seconds: list[float] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:,.2f} s ({min(self.seconds):,.2f}-{max(self.seconds):,.2f})"


def rounds(module: str, contenders: Mapping[str, Path | None], n: int, folder: Path) -> dict[str, Result]:
    """Run `python -m MODULE --child NAME FOLDER` for each contender, n times in turn; None is this interpreter."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    results = {name: Result() for name in contenders}
    for number in range(n):
        for name, python in contenders.items():
            print(f"  round {number + 1} of {n}: {name}", file=sys.stderr, flush=True)
            command = [str(python or sys.executable), "-m", module, "--child", name, str(folder)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            told = json.loads(done.stdout.splitlines()[-1])
            results[name].seconds.append(told["cpu"])
            results[name].told = told
    return results


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """CPU seconds of this process into `cpu`."""
    found: dict[str, float] = {}
    start = time.process_time()
    yield found
    found["cpu"] = time.process_time() - start


def child(contenders: Mapping[str, Callable[[Path], Mapping[str, Any]]]) -> bool:
    """Be the contender that the command line names, and tell what it did; False where it names none."""
    if sys.argv[1:2] != ["--child"]:
        return False
    print(json.dumps(contenders[sys.argv[2]](Path(sys.argv[3]))))
    return True


def error(folder: Path, name: str, reference: str) -> float:
    """Largest difference of two contenders' scores over the largest of the reference."""
    found, expected = np.load(folder / f"{name}.npy"), np.load(folder / f"{reference}.npy")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=118).print(table)


def verdict(ratio: float, wanted: float) -> str:
    return f"{ratio:.1f}x (at least {wanted:g}x{'' if ratio >= wanted else ': MISSED'})"
