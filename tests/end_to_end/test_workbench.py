"""The workbench in a real terminal, at the least size it promises and at the usual one, by the keys a person presses."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import NewTerminal
from tests.end_to_end.terminal import Terminal

WIDE, NARROW = (120, 40), (80, 24)


@pytest.fixture(scope="module", params=[NARROW, pytest.param(WIDE, marks=pytest.mark.soak)], ids=["80x24", "120x40"])
def opened(request: pytest.FixtureRequest, new_terminal: NewTerminal, filled_store: Path) -> Iterator[Terminal]:
    """One sitting that the tests of a size share; `at_home` brings it back to its beginning."""
    terminal: Terminal = new_terminal(*request.param)
    terminal.knscope("open", str(filled_store)).sees("Dodoma", "τ en 0.30")
    yield terminal
    terminal.resize(*request.param)
    at_home(terminal).do("quit").prompt()


@pytest.fixture
def workbench(opened: Terminal) -> Terminal:
    return at_home(opened)


def at_home(terminal: Terminal) -> Terminal:
    """Nothing open, everything selected, the defaults, LIKN beside the queries, the cursor on the first of them."""
    # Away from the first row and back: the screen may look like home already while keys are still on their way.
    terminal.keys(*["escape"] * 6).do("focus.queries", "cursor.last").misses("▌P30-01")
    terminal.do("cursor.first", "threshold.reset-all", "tab.likn", "focus.queries")
    return terminal.sees("queries · everything ─", "▌P30-01", "τ en 0.30 ", "shared ", "/ filter")


@pytest.mark.parametrize(
    ("tab", "shows"),
    [
        ("layers", ("layers · share", "L0 ", "L3 ", "DKN")),
        ("likn", ("LIKN · everything", "shared", "at thresholds", "English, French and Chinese share")),
        ("dkn", ("DKN · paper pairs", "Δp_ab", "same layers", "matched drops", " pairs")),
        ("edits", ("No edits are stored. r computes",)),
        ("checks", ("No claims are stored. r computes",)),
        ("neuron", ("neurons · everything", "of max", "hub")),
        ("sql", ("SELECT layer, neuron, count(DISTINCT fact)", "^r runs")),
        ("runs", ("✓ done", "bert-made · amig")),
    ],
)
def test_tab_shows_what_is_stored_or_says_how_to_compute_it(
    workbench: Terminal, tab: str, shows: tuple[str, ...]
) -> None:
    workbench.do(f"tab.{tab}").sees(*shows)
    assert all(len(line) <= workbench.columns for line in workbench.lines)
    workbench.keys("escape", "escape")


@pytest.mark.parametrize(("tab", "shows"), [("layers", "L3 "), ("likn", "at thresholds"), ("dkn", "matched drops")])
def test_threshold_key_changes_the_pane_and_reset_restores_the_screen(
    workbench: Terminal, tab: str, shows: str
) -> None:
    def pane() -> str:
        """The pane, from its title to its lower edge, without the cursor of its table."""
        screen = workbench.screen.rpartition("\n")[0]
        return screen[screen.index({"likn": "─ LIKN", "dkn": "─ DKN"}.get(tab, "─ layers")) :].replace("›", " ")

    workbench.do(f"tab.{tab}", "focus.queries").sees(shows, "▌P30-01", "/ filter").settled()
    before = pane()
    workbench.do(*["threshold.up"] * 30).sees("τ en 0.60*").until(lambda: pane() != before, f"{tab} follows")
    workbench.do("threshold.reset-all").until(lambda: pane() == before, f"{tab} is as it was:\n{before}")


def test_title_names_the_selection_that_enter_narrows_and_escape_widens(workbench: Terminal) -> None:
    workbench.do("go.in").sees("everything › P30 ─")
    workbench.do("go.in").sees("everything › P30 › P30-01 ─", "LIKN · Tanzania → Dodoma")
    workbench.do("go.in").sees("P30-01 › query")
    workbench.do("go.out", "go.out", "go.out").sees("queries · everything ─")
    workbench.do("go.back").sees("everything › P30 ─")


def test_query_filter_narrows_while_typing_and_escape_clears_it(workbench: Terminal) -> None:
    workbench.do("queries.filter").type("日本").sees("2 of 30", "日本 → 东京").misses("法国 → 巴黎")
    workbench.keys("enter").sees("/日本").do("go.out").sees("法国 → 巴黎").misses("2 of 30")


def test_sql_pane_runs_a_typed_statement_and_refuses_a_write(workbench: Terminal) -> None:
    workbench.do("tab.sql").sees("^r runs").keys("pagedown", "end", *["backspace"] * 120)
    workbench.type("SELECT lang, count(*) AS n FROM query GROUP BY ALL ORDER BY lang").do("sql.run")
    workbench.sees("3 rows ·", "lang").matches(r"en\s+12")
    workbench.keys(*["backspace"] * 80).type("DELETE FROM query").do("sql.run").sees("not allowed")
    workbench.do("sql.older", "sql.older").sees("SELECT lang, count(*)")


def test_export_writes_to_the_typed_file_name(workbench: Terminal) -> None:
    workbench.do("take.export").sees("export 30 rows of queries").keys(*["backspace"] * 20)
    workbench.type("out.csv").keys("enter").sees("30 rows written to", "out.csv")
    with (workbench.place / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30 and rows[1]["subject"] == "坦桑尼亚"


def test_copy_key_copies_the_row_into_the_tmux_buffer(workbench: Terminal) -> None:
    workbench.do("take.copy").sees("row copied", "set-clipboard")
    assert workbench.tmux("show-buffer").startswith("P30-01\tP30\tfr\tTanzania → Dodoma")


def test_help_key_explains_the_pane_and_lists_the_keys(workbench: Terminal) -> None:
    workbench.do("help").sees("One row a stored prompt", "Move").keys("escape").misses("One row a stored prompt")


def test_palette_finds_an_action_and_runs_it(workbench: Terminal) -> None:
    workbench.sees("· known only")
    workbench.do("palette").type("known").sees("Look at: known only").misses("Move: ").keys("enter")
    # The open palette covers the title and would take the next key.
    workbench.sees("queries · everything ─").misses("· known only", "Look at:")
    workbench.do("queries.known").sees("· known only")


def test_live_resize_places_the_panes_again(workbench: Terminal) -> None:
    columns, rows = workbench.columns, workbench.rows
    for width, height in (WIDE, NARROW, (columns, rows)):
        workbench.resize(width, height)
        tab = "│ 2 LIKN 3 DKN" if width == WIDE[0] else " 1 layers  2 LIKN"
        workbench.until(
            lambda tab=tab, height=height: tab in workbench.screen and len(workbench.lines) == height,
            f"drawn at {width}×{height}",
        )
        workbench.sees("▌P30-01", "LIKN · everything", "verdict", "q quit")
        assert all(len(line) <= width for line in workbench.lines)


def test_click_moves_the_cursor_and_wheel_scrolls(workbench: Terminal) -> None:
    line = next(place for place, text in enumerate(workbench.lines) if re.search("P30-03 +P30 +en", text))
    press, release = (f"\x1b[<0;10;{line + 1}{end}" for end in "Mm")
    workbench.type(press + release).sees("▌P30-03")
    workbench.type(f"\x1b[<65;10;{line + 1}M" * 3).misses("坦桑尼亚")
    assert re.search("P30-0[57]", workbench.screen)
