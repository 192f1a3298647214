"""The pages about the Python interface: what they show runs, and the reference is that of the docstrings."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from knscope.analysis.api import neuron_set, page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_page_is_made_from_the_docstrings() -> None:
    told = "run: python -m knscope.analysis.api.page > docs/api.md"
    assert (DOCS / "api.md").read_text(encoding="utf-8") == page.page(), told


def test_the_scripts_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "svg")
    scripts = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        exec(compile(script, "docs/python.md", "exec"), {})
    assert (tmp_path / "nairobi.svg").stat().st_size > 1000


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(neuron_set).failed == 0
