"""The pages about the Python interface: what they show runs, and the reference is that of the docstrings."""

from __future__ import annotations

import ast
import doctest
import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import knscope
from knscope.analysis.api import page
from knscope.analysis.api.progress import Progress
from knscope.analysis.runs.status import RunStatus
from knscope.store.runs import RunRecord

DOCUMENTED = [name for name in knscope.__all__ if name != "__version__"]
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


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads((DOCS / "from_python.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    names: dict[str, object] = {}
    for cell in cells:
        values: list[object] = []
        monkeypatch.setattr(sys, "displayhook", values.append)
        whole = ast.Interactive(ast.parse("".join(cell["source"])).body)
        exec(compile(whole, "from_python.ipynb", "single"), names)
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                assert repr(values[-1]).splitlines()[0] == output["data"]["text/plain"][0].rstrip("\n")
                assert ("text/html" in output["data"]) == hasattr(values[-1], "_repr_html_")
    assert {path.name for path in tmp_path.iterdir()} >= {"nairobi.svg", "nairobi.json", "kenya.knstore", "layers.svg"}


def test_the_examples_in_docstrings_hold() -> None:
    tried = [doctest.testmod(sys.modules[getattr(knscope, name).__module__]) for name in DOCUMENTED]
    assert sum(one.failed for one in tried) == 0 < sum(one.attempted for one in tried)


def run_seen(status: str, done: int) -> RunStatus:
    record = RunRecord("r", status=status, done=done, total=200)
    return RunStatus(record, status, 10.0, 75.0 if status == "running" else None)


def test_a_notebook_shows_one_bar_of_a_run_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []

    def display(thing: Progress, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append([thing._repr_html_()])
        return SimpleNamespace(update=lambda one: shown[-1].append(one._repr_html_()))

    shell = SimpleNamespace(kernel="a kernel")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    bar = Progress()
    for seen in (run_seen("queued", 0), run_seen("running", 50), run_seen("done", 200)):
        bar(seen)
    (steps,) = shown
    assert steps[1] == '<div><progress value="50" max="200"></progress> 50 of 200 results, running, 75 s left</div>'
    assert "200 of 200 results, done" in steps[2] and len(steps) == 3
    del shell.kernel
    bar(run_seen("done", 200))
    assert len(shown[0]) == 3, "IPython on a terminal is no notebook"


def test_a_terminal_shows_one_line_of_a_run_and_a_pipe_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    for terminal in (True, False):
        written = io.StringIO()
        written.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stderr", written)
        bar = Progress()
        bar(run_seen("running", 50))
        bar(run_seen("done", 200))
        lines = "\r\x1b[K50 of 200 results, running, 75 s left\r\x1b[K200 of 200 results, done\n"
        assert written.getvalue() == (lines if terminal else "")
