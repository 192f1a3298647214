"""Where a person chooses or reads of methods, a sentence says which one the measured effects point to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knscope import store
from knscope.analysis.faithfulness import stored
from knscope.tui.app import Knscope
from knscope.tui.cli import run_app
from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.widgets.line import PlainText
from tests.tui.driver import Driver


def keep(place: Path, model: str, subjects: int = 44) -> None:
    """What `faithfulness --store` keeps: a fact a file, on which bkn's neurons matter more than amig's."""
    (place / stored.FOLDER).mkdir()
    rng = np.random.default_rng(0)
    unknown = dict.fromkeys(("area_relation", "area_answer", "spearman", "overlap", "chance"))
    for i in range(subjects):
        about = {"fact": f"f{i}", "subject": f"s{i}", "lang": "en", "ablation": "zero", "drop": 1.0, "neurons": 0}
        areas = {"amig": 1 + rng.normal(0, 0.1), "bkn": 2 + rng.normal(0, 0.1)}
        rows = [{**about, **unknown, "method": name, "area": area} for name, area in areas.items()]
        item = {"model": model, "methods": ["amig", "bkn"], "seed": 0, "rows": rows, "groups": []}
        (place / stored.FOLDER / f"{i}.json").write_text(json.dumps(item))


@pytest.mark.parametrize("kept", [False, True])
async def test_the_list_of_methods_says_which_one_is_right(
    workbench: Callable[..., Knscope], made_store: Path, tmp_path: Path, kept: bool
) -> None:
    place = shutil.copytree(made_store, tmp_path / "a.knstore")
    async with workbench(place).run_test(size=(80, 24)) as pilot:
        driver = await Driver(pilot).ready()
        assert driver.app.session.view is not None
        if kept:
            keep(place, driver.app.session.view.model)
        await driver.do("choose.method")
        screen = driver.app.screen
        assert isinstance(screen, ChooseScreen)
        line = screen.query_one("#told", PlainText)
        await driver.until(lambda: str(line.render()), "the list says which method")
        said = str(line.render())
        assert ("bkn is better than amig on this model" in said and "22 subjects" in said) == kept
        assert (said == stored.NONE) == (not kept)
        assert line.region.bottom <= 24, "all of it is seen"


def test_a_report_says_which_method_is_right(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knscope.analysis.figures.drawing.is_drawn", lambda _: False)
    place = shutil.copytree(made_store, tmp_path / "a.knstore")
    with store.open(place) as reader:
        keep(place, reader.models()[0])
    assert run_app(["report", str(place), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Which method: bkn is better than amig on this model" in page
    assert f"Which method: {stored.NONE}" in page, "of the other model"
    assert list((tmp_path / "report" / "tables").glob("*faithfulness*.csv"))
