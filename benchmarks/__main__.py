"""Run every benchmark, one process each, one after the other: what one leaves in memory or caches does not help the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run all, or those named on the command line; the exit code is that of the worst."""
    here = Path(__file__).parent
    there = sorted(path.stem for path in here.glob("[a-z]*.py"))
    wanted = sys.argv[1:] or there
    strange = [name for name in wanted if name not in there]
    if strange:
        print(f"no benchmark named {', '.join(strange)}; there is {', '.join(there)}", file=sys.stderr)
        return 2
    worst = 0
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
