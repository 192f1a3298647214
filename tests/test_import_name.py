"""`import knscope`: one name, quick, and nothing heavy behind it until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import knscope
from knscope import store


def test_import_knscope_loads_no_library_of_the_project() -> None:
    heavy = ["torch", "transformers", "textual", "duckdb", "polars", "numpy", "typer"]
    code = f"import sys, knscope; sys.exit(', '.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported: {done.stderr}"


def test_knscope_open_is_the_stores_open() -> None:
    assert knscope.open is store.open


def test_the_layers_have_no_top_level_names() -> None:
    code = "import importlib.util as u, sys; sys.exit(', '.join(m for m in ('tui', 'analysis', 'store') if u.find_spec(m)) or 0)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=Path.home()
    )
    assert done.returncode == 0, f"importable at the top: {done.stderr}"
