"""A store that fills while one looks on: a real run on a tiny model, a real workbench, and no key pressed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from knscope.analysis.runs import protocol
from knscope.analysis.runs.config import ModelSource, RunConfig
from knscope.analysis.runs.status import Observer
from knscope.store.runs import ACTIVE
from tests.analysis.runs.inline_job import execute
from tests.end_to_end.conftest import NewTerminal


def test_rows_appear_in_an_open_workbench_as_the_run_writes_them(
    new_terminal: NewTerminal, tiny_models: Mapping[str, Path], tiny_facts: Path, tmp_path: Path
) -> None:
    place = tmp_path / "filling.knstore"
    model = ModelSource(str(tiny_models["encoder"]))
    every = RunConfig((model,), str(tiny_facts), what=("attribution",), device="cpu", processes=1)
    execute(place, replace(every, facts=1, engine="inline"))
    terminal = new_terminal(80, 24)
    rows = lambda: int(match[1]) if (match := re.search(r"─ (\d+) ─╯", terminal.screen)) else 0  # noqa: E731
    terminal.knscope("open", str(place)).until(rows, "the rows of the first run are shown")
    seen = [rows()]
    run = protocol.start_job(place, every)

    def full() -> bool:
        seen.append(rows() or seen[-1])
        return seen[-1] == 24

    terminal.until(full, f"all rows are shown; so far {seen}")
    assert 0 < seen[0] < 24 and seen == sorted(seen)
    terminal.until(lambda: not re.search(r"  –  +–", terminal.screen), "their neurons are counted too")
    observer, end = Observer(place), time.monotonic() + 60
    while any(one.run == run and one.status in ACTIVE for one in observer.look()) and time.monotonic() < end:
        time.sleep(0.1)
    terminal.sees("last run done").do("quit").prompt()
