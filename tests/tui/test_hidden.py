"""Characters that a terminal obeys or that nobody sees: shown as dots wherever a person looks, exact in files and pipes."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rich.segment import Segment
from rich.text import Text
from textual.color import Color

from knscope.analysis.statistics.table import Table
from knscope.store.text import duration
from knscope.tui.app import Knscope
from knscope.tui.cli import run_app
from knscope.tui.dialogs.choose import ChooseScreen
from knscope.tui.dialogs.form import Field, FormScreen
from knscope.tui.dialogs.text import TextScreen
from knscope.tui.printing import output, writing
from knscope.tui.printing.format import HIDDEN, cell, json_text, one_line, visible
from knscope.tui.terminal.driver import HARMLESS
from knscope.tui.widgets import cells
from knscope.tui.widgets.cells import Column
from tests.tui.driver import Driver

EVIL = (
    "\x1b]52;c;VFJJQUw=\x07\x1b[31mRED\x1b[2J\x9b31mC1\x00\u202eBIDI\u2066\u200b[red]x[/red]:smile:\ufeff\t\U000e0041."
)
SEEN = ("RED", "C1", "BIDI", "[red]x[/red]:smile:")
SHOWN_MARKS = "[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]"
"""Of category Cf, but with a shape of their own."""


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    """A terminal in place of stdout."""
    shown = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", shown)
    return shown


def test_hidden_are_all_controls_formats_and_separators_but_what_scripts_need() -> None:
    categories = ("Cc", "Cf", "Cs", "Zl", "Zp")
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    expected = {one for one in every if unicodedata.category(one) in categories and not re.match(SHOWN_MARKS, one)}
    expected -= set("\t\n\u200c\u200d")
    found = {one for one in every if HIDDEN.match(one)}
    assert not expected - found, sorted(map(hex, map(ord, expected - found)))
    assert all(
        (unicodedata.category(one)[0] in "CML" and not unicodedata.name(one, "").isascii()) or True for one in found
    )
    for text in ("坦桑尼亚", "می‌خواهم", "👩‍🔬", "é", "e\u0301", "नमस्ते", "❤️", "–·…"):
        assert visible(text) == text


def test_a_cell_is_one_line_and_a_text_keeps_its_lines() -> None:
    assert cell("a\nb\tc\rd") == one_line("a\nb\tc\rd") == "a·b·c·d" and visible("a\nb\tc\rd") == "a\nb\tc·d"
    assert cell(["\x1b[2J", "\udcff"]) == "·[2J ·" and cells.plain(["\x9b"]) == "[·]"
    assert Column("a", "a").text("\u202eb") == "·b" and cells.columns_of(pl.DataFrame({EVIL: [1]}))[
        0
    ].title == one_line(EVIL)


def test_durations_read_the_same_everywhere() -> None:
    assert [duration(seconds) for seconds in (None, 0.4, 119, 120, 3900)] == ["–", "0 s", "119 s", "2 min", "1 h 05"]


def test_json_escapes_what_is_hidden_and_says_the_same() -> None:
    every = " ".join(chr(code) for code in range(sys.maxunicode + 1) if HIDDEN.match(chr(code)))
    document = {EVIL: [every, "坦桑尼亚\n"]}
    assert not HIDDEN.search(json_text(document)) and json.loads(json_text(document)) == document
    assert "坦桑尼亚" in json_text(document)


@pytest.mark.parametrize("form", ["table", "csv", "spreadsheet", "json", "latex"])
def test_no_format_prints_hidden_characters_on_a_terminal(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch)
    table = Table("t", EVIL, pl.DataFrame({EVIL: [EVIL]}), (EVIL,))
    output.emit([table], form)
    shown.flush()
    printed = shown.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert not HIDDEN.search(printed.replace("\x1b[1m", "").replace("\x1b[0m", "")) and "RED" in printed


def test_csv_keeps_every_character_in_a_pipe_and_a_file(
    capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    frame = pl.DataFrame({"a": [EVIL, "=1"], "b": [1, 2]})
    output.emit([Table("t", "t", frame)], "csv")
    writing.write([Table("t", "t", frame)], tmp_path / "a.csv")
    assert capsysbinary.readouterr().out == (tmp_path / "a.csv").read_bytes() == frame.write_csv().encode()


def test_spreadsheet_has_no_formula_and_changes_nothing_else(tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "＝x", "plain", "a=1", None, "多多马"]
    frame = pl.DataFrame({"=a": texts, "n": [-1.5] * len(texts), "kind": pl.Series(texts, dtype=pl.Categorical)})
    said = writing.write([Table("t", "t", frame)], tmp_path / "a.csv", "spreadsheet")
    written = (tmp_path / "a.csv").read_bytes()
    assert written.startswith("\ufeff".encode()) and f"{len(texts)} rows" in said
    back = pl.read_csv(written)
    assert back.columns == ["'=a", "n", "kind"] and back["n"].to_list() == [-1.5] * len(texts)
    expected = [f"'{text}" if text and text[0] in "=+-@\t＝" else text for text in texts]
    assert back["'=a"].to_list() == back["kind"].to_list() == expected


def test_messages_and_wrong_usage_print_no_markup_and_nothing_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(EVIL)
    for words in (["status", "a", EVIL], ["kn", "x.knstore", f"--{EVIL}"], ["run", EVIL], ["nosuch", EVIL], ["store"]):
        assert run_app(words) == 2
    said = capsys.readouterr().err
    assert not HIDDEN.search(said) and "[red]x[/red]:smile:" in said, said


def test_harmless_filter_keeps_the_width_of_a_line() -> None:
    line = [Segment("a\x1b[2Jb"), Segment("c\u202e\t"), Segment("    ")]
    length = Segment.get_line_length(line)
    shown = HARMLESS.apply(line, Color(0, 0, 0))
    assert "".join(segment.text for segment in shown) == "a·[2Jbc·· " and Segment.get_line_length(shown) == length
    clean = [Segment("坦桑尼亚")]
    assert HARMLESS.apply(clean, Color(0, 0, 0)) is clean


async def test_workbench_shows_data_unchanged_but_no_hidden_characters(workbench: Callable[..., Knscope]) -> None:
    async with workbench().run_test(size=(150, 40)) as pilot:
        driver = await Driver(pilot).ready()
        table, pane = driver.table("queries"), driver.pane("likn")
        frame = table.frame.with_columns(pl.lit(EVIL).alias("fact"))
        table.show(frame, [Column("fact", "fact", least=60, most=90)])
        pane.entitle(EVIL, EVIL)
        driver.bench.query_one("HeaderLine").store = EVIL  # type: ignore[attr-defined]
        driver.app.say(EVIL)

        def screen() -> str:
            lines = driver.app.screen._compositor.render_strips()
            return "\n".join(strip.text for strip in lines)

        async def shown(what: str) -> None:
            await pilot.pause(0.05)
            text = screen()
            assert not HIDDEN.search(text) and "\t" not in text, what
            assert all(part in text for part in SEEN), what

        await shown("table, titles, header, notification")
        driver.app.clear_notifications()
        table.show(table.frame.head(0), ())
        for what, dialog in (
            ("text", TextScreen(EVIL, EVIL)),
            ("rich text", TextScreen("t", Text(EVIL))),
            ("form", FormScreen("t", [Field("a", "a", EVIL)], EVIL)),
            ("value", FormScreen(EVIL, [Field("a", "a", EVIL)])),
            ("list", ChooseScreen("t", [("a", EVIL)], ["a"])),
            ("several", ChooseScreen("t", [("a", EVIL)], ["a"], several=True)),
        ):
            await driver.app.push_screen(dialog)
            await shown(what)
            driver.app.pop_screen()
        pane.say(EVIL)
        await shown("note")


@pytest.mark.parametrize(
    "words",
    [
        ["sql", "STORE", "SELECT '\udcff'"],
        ["run", "STORE", "--model", "bert-en", "--data", "/tmp/\udcff.csv"],
        ["run", "STORE", "--model", "bert-\udcff", "--data", "demo"],
        ["run", "STORE", "--model", "bert-en", "--data", "demo", "--prefix", "\udcff"],
        ["faithfulness", "\udcff"],
        ["status", "\udcff"],
    ],
)
def test_text_that_is_not_utf8_is_refused_in_a_sentence(
    words: list[str], made_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([str(made_store) if word == "STORE" else word for word in words]) == 2
    assert "UTF-8" in capsys.readouterr().err
