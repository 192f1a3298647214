"""The packages compared against, in a virtual environment of their own that borrows this one's torch and transformers."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PLACE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "knscope" / "bench-peers"
PACKAGES = ("knowledge-neurons==0.0.2", "captum==0.9.0")
NEEDED = ("einops", "tqdm", "seaborn")


def python() -> Path:
    """The interpreter that sees the peers; made on first use. Raises CalledProcessError where pip cannot install them."""
    interpreter = PLACE / "bin" / "python"
    ready = PLACE / "ready"
    if ready.exists():
        return interpreter
    print(f"installing {', '.join(PACKAGES)} into {PLACE} (once)", file=sys.stderr)
    venv.create(PLACE, with_pip=True, clear=True)
    site = next((PLACE / "lib").glob("python*")) / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDED], check=True)
    subprocess.run([*pip, "--no-deps", *PACKAGES], check=True)
    ready.touch()
    return interpreter
