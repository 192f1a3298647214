"""Forms complete what is typed, refuse what cannot be right, and keep what was typed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Static

from knscope.tui.app import Knscope
from knscope.tui.dialogs.completing import either, path, words
from knscope.tui.dialogs.form import FormScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.workbench import run_form, runs
from knscope.tui.workbench.bench import LEAST
from tests.tui.driver import Driver

Make = Callable[..., Knscope]
VALUES = {"model": "bert-en", "data": "demo", "langs": "", "facts": "all", "method": "amig", "what": "attribution"}


def test_completion_goes_on_with_the_last_word_and_with_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = words(("amig", "amig-paper", "bkn"))
    assert [some(text) for text in ("am", "amig", "bkn, a", "x", "bkn,")] == [
        "amig",
        "amig-paper",
        "bkn, amig",
        None,
        None,
    ]
    (tmp_path / "models").mkdir()
    (tmp_path / "facts.csv").touch()
    (tmp_path / ".hidden").touch()
    at = str(tmp_path)
    assert path(f"{at}/mo") == f"{at}/models/" and path(f"a, {at}/f") == f"a, {at}/facts.csv"
    assert path(f"mlama:{at}/") == f"mlama:{at}/facts.csv" and path(f"{at}/nothing") is None and path("") is None
    monkeypatch.chdir(tmp_path)
    assert path("fac") == "facts.csv" and either(words(("demo",)), path)("de") == "demo"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, None),
        ({"model": "./nothing"}, "model"),
        ({"data": "nothing.csv"}, "data"),
        ({"data": "mlama:nothing"}, "data"),
        ({"facts": "few"}, "facts"),
        ({"facts": "0"}, "facts"),
        ({"method": "amig,nope"}, "method"),
        ({"what": "attribution,cooking"}, "what"),
    ],
)
def test_trouble_names_the_field_that_cannot_be_right(changes: dict[str, str], field: str | None) -> None:
    found = run_form.trouble({**VALUES, **changes})
    assert (found[0] if found else None) == field


def test_run_form_names_bundled_models_and_keeps_other_places() -> None:
    sources = (
        "/elsewhere/knscope/analysis/demo/models/bert-en",
        "/my/models/bert-en",
        "org/name@v1",
        "/x/analysis/demo/models/none",
    )
    written = run_form.models_of({"models": [{"source": source} for source in sources]})
    assert written == ",".join(("bert-en", *sources[1:]))


async def test_run_form_stays_with_its_values_after_an_error(workbench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runs,
        "start",
        lambda *_, **__: subprocess.Popen(
            ["sh", "-c", "echo the model is ill >&2; exit 2"], stderr=-1, stdout=-1, text=True
        ),
    )
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("R")
        await driver.until(lambda: isinstance(pilot.app.screen, FormScreen), "the form")
        values = lambda: [field.value for field in pilot.app.screen.query(Input)]  # noqa: E731
        for place, text in enumerate(("bert-en", "demo", "", "some", "amig", "attribution")):
            pilot.app.screen.query(Input)[place].value = text
        await pilot.press(*["enter"] * 6)
        await pilot.pause()
        bad = lambda: str(pilot.app.screen.query_one(".bad", Static).render())  # noqa: E731
        assert "how many, or all" in bad() and pilot.app.screen.query_one("#field-facts").has_focus
        pilot.app.screen.query(Input)[3].value = "3"
        await pilot.press(*["enter"] * 3)
        await driver.until(lambda: isinstance(pilot.app.screen, FormScreen) and "ill" in bad(), "it comes back")
        assert values() == ["bert-en", "demo", "", "3", "amig", "attribution"]


async def test_key_that_answers_a_dialog_does_nothing_behind_it(workbench: Make) -> None:
    async with workbench().run_test(size=(80, 24)) as pilot:
        driver = await Driver(pilot).ready()
        told = list[str | None]()
        driver.app.push_screen(TextScreen("asks", "text", [("enter", "yes", "answers")]), told.append)
        await pilot.press("enter")
        await driver.until(lambda: told, "it is answered")
        await pilot.pause(0.1)
        assert told == ["yes"] and driver.app.session.selection.level == "everything"


async def test_a_terminal_that_is_too_small_says_so(workbench: Make) -> None:
    async with workbench().run_test(size=(50, 12)) as pilot:
        driver = Driver(pilot)
        notice: Any = driver.bench.query_one("#tiny")
        await driver.until(lambda: notice.display and f"{LEAST[0]}×{LEAST[1]}" in str(notice.render()), "the notice")
        assert not driver.bench.query_one("#body").display
        await pilot.resize_terminal(80, 24)
        await driver.until(lambda: driver.bench.query_one("#body").display and not notice.display, "there is room")
        bar: Any = driver.bench.query_one("ThresholdBar")
        await driver.until(lambda: "drops relative" in str(bar.render()), "how drops are measured is said")
        assert "counts above this share" in str(bar.render())
        driver.bench.change(langs=("en",))
        await driver.until(lambda: "τ fr" not in str(bar.render()), "one language is left")
        assert all(text in str(bar.render()) for text in ("counts above this share", "drops relative"))


async def test_set_that_is_not_found_leads_back_to_its_form(workbench: Make) -> None:
    async with workbench().run_test(size=(80, 24)) as pilot:
        await Driver(pilot).ready()
        await pilot.press("I")
        driver = Driver(pilot)
        await driver.until(lambda: pilot.app.screen.query("#field-file"), "the form is there")
        first = pilot.app.screen
        pilot.app.screen.query_one("#field-file", Input).value = "nosuch"
        await pilot.press("enter")
        await driver.until(
            lambda: pilot.app.screen is not first and pilot.app.screen.query("#field-file"), "it is back"
        )
        said: Any = pilot.app.screen.query_one(".bad")
        assert "no list of neurons" in str(said.render())
        assert pilot.app.screen.query_one("#field-file", Input).value == "nosuch"
