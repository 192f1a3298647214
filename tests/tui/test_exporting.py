"""What is taken away as files from a pane: its rows in every format, its figure, and a refusal that leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from knscope.store import UserError
from knscope.tui.app import Knscope
from knscope.tui.printing import writing
from tests.tui.driver import Driver

Make = Callable[..., Knscope]
WIDE = (120, 40)


def rows_of_json(path: Path) -> pl.DataFrame:
    [table] = json.loads(path.read_text("utf-8"))["tables"]
    assert ", amig; τ en 0.3" in table["title"], "a file says of what it is"
    return pl.DataFrame(table["rows"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
async def test_export_writes_the_rows_shown(workbench: Make, tmp_path: Path, ending: str) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("e")
        await pilot.pause()
        field = pilot.app.screen.query_one("#field-file")
        field.value = str(tmp_path / f"out.{ending}")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await driver.until(driver.said, "it is told")
        read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "json": rows_of_json}[ending]
        written = read(tmp_path / f"out.{ending}")
        assert written["fact"].to_list() == driver.table("queries").frame["fact"].to_list()
        assert written.columns[:2] == ["model", "method"] and set(written["method"]) == {"amig"}


async def test_refused_export_says_why_and_leaves_no_file(
    workbench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await pilot.press("e")
        await pilot.pause()
        pilot.app.screen.query_one("#field-file").value = str(tmp_path / "none" / "out.csv")  # type: ignore[attr-defined]
        await pilot.press("enter")
        bad: Any = pilot.app.screen.query_one(".bad")
        await driver.until(lambda: "there is no folder" in str(bad.render()), "it is told, and the form stays")
        assert not list(tmp_path.iterdir())
        wanted = tmp_path / "out.csv"
        wanted.write_text("mine")
        field: Any = pilot.app.screen.query_one("#field-file")
        field.value = str(wanted)
        await pilot.press("enter")
        await driver.until(
            lambda: "enter again replaces it" in str(bad.render()), "a file is replaced when asked twice"
        )

        def full(*_: object) -> str:
            raise UserError("the disk is full")

        monkeypatch.setattr(writing, "write", full)
        first = pilot.app.screen
        await pilot.press("enter")
        await driver.until(lambda: pilot.app.screen not in (first, driver.bench), "the form is back")
        again: Any = pilot.app.screen
        assert "the disk is full" in str(again.query_one(".bad").render())
        assert again.query_one("#field-file").value == str(wanted) and wanted.read_text() == "mine"


async def test_export_writes_the_figure_of_a_pane_that_has_one(workbench: Make, tmp_path: Path) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()

        async def export(name: str) -> str:
            await pilot.press("e")
            await driver.until(lambda: pilot.app.screen.query("#field-file"), "the form is there")
            pilot.app.screen.query_one("#field-file").value = str(tmp_path / name)  # type: ignore[attr-defined]
            driver.app.clear_notifications()
            await pilot.press("enter")
            refused = pilot.app.screen.query(".bad")
            await driver.until(lambda: driver.said() or any(str(each.render()) for each in refused), "it is told")
            told = (driver.said() or [str(each.render()) for each in refused])[-1]
            if pilot.app.screen is not driver.bench:
                await pilot.press("escape")
            return told

        assert "no figure of queries" in await export("queries.pdf")
        for tab in ("layers", "likn", "dkn"):
            await driver.do(f"tab.{tab}")
            assert f"figure written to {tmp_path / tab}.pdf" == await export(f"{tab}.pdf")
            assert (tmp_path / f"{tab}.pdf").read_bytes().startswith(b"%PDF")
        assert "rows written" in await export("pairs.tex")
        pairs = (tmp_path / "pairs.tex").read_text("utf-8")
        assert r"fact & lang & a & b & $\Delta$p a" in pairs and r"$\tau$ en 0.3" in pairs, "as the pane shows them"
        await driver.do("tab.layers")
        assert "rows written" in await export("layers.csv")
        rows = pl.read_csv(tmp_path / "layers.csv")
        assert rows["kind"].unique().sort().to_list()[-3:] == ["en", "fr", "zh"]
        assert rows["method"].unique().to_list() == ["amig"] and "model" in rows.columns
        assert "rows written" in await export("layers.tex")
        assert "\\begin{tabular}" in (tmp_path / "layers.tex").read_text("utf-8")
        assert "unknown format" in await export("layers.doc")
        assert not (tmp_path / "queries.pdf").exists() and not (tmp_path / "layers.doc").exists()
