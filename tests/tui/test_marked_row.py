"""What is marked is what is shown: whatever replaces the rows of the query table, the panes speak of the row under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Static

from knscope import store
from knscope.store import runs
from knscope.tui.app import Knscope
from knscope.tui.panes.asked import chance, prompt_text, says_text
from knscope.tui.panes.queries import QueriesPane
from knscope.tui.selection import Selection
from tests.tui.driver import Driver
from tests.tui.made_store import CONFIG, write_shards

Make = Callable[..., Knscope]
WIDE = (120, 40)


async def _go_to(driver: Driver, level: str, fact: str, lang: str) -> None:
    """Select a fact's row of a language at a level."""
    table = driver.table("queries")
    found = table.frame.with_row_index("row").filter(fact=fact, lang=lang)
    table.cursor = int(found["row"][0])
    driver.app.session.select(Selection(level).at(found.row(0, named=True)))
    driver.bench.follow()
    await driver.settled()


async def _agrees(driver: Driver) -> dict[str, object]:
    """The row under the cursor, once the session and every pane seen speak of it."""
    await driver.settled()

    def agree() -> bool:
        row, selection = driver.table("queries").current, driver.app.session.selection
        named = row is not None and all(row[name] == getattr(selection, name) for name in ("query", "fact", "relation"))
        painted = [pane.painted.selection.scope for pane in driver.bench.seen_panes() if pane.painted]
        return named and set(painted) == {selection.scope}

    await driver.pilot.pause(0.06)
    await driver.until(agree, "the panes speak of the marked row")
    await driver.settled()
    row = driver.table("queries").current
    assert row is not None and agree()
    table = driver.table("queries")
    assert table.scroll_offset.y <= table.cursor < table.scroll_offset.y + table.size.height - 1
    return row


def _langs(driver: Driver) -> None:
    driver.bench.change(langs=("en", "fr"))


def _model(driver: Driver) -> None:
    from knscope.tui.session import look

    session = driver.app.session
    assert session.reader is not None
    other = next(one for one in session.stored.models if session.view and one != session.view.model)
    session.choose_model(other, look(session.reader, other))
    driver.bench.follow()


def _filter(text: str) -> Callable[[Driver], None]:
    return lambda driver: driver.bench.query_one(QueriesPane).set_filter(text)


ACTS: tuple[tuple[Callable[[Driver], object], str], ...] = (
    (_filter("en"), "P30-07"),
    (_filter("P30 !P30-07"), "P30-01"),
    (_filter("P36-04"), "P36-04"),
    (_langs, "P30-07"),
    (_model, "P30-07"),
    (lambda driver: driver.bench.change(relations=("P36",)), "P36-06"),
    (lambda driver: driver.bench.change(known=True), "P30-07"),
    (lambda driver: driver.table("queries").sort_by("p", True), "P30-07"),
    (lambda driver: driver.table("queries").action_sort(0), "P30-07"),
    (lambda driver: driver.table("queries").sort_by(None), "P30-07"),
)
"""What replaces the rows, and the fact marked afterwards where P30-07 in Chinese was before."""


async def test_marked_row_falls_back_on_its_fact_then_its_relation_and_the_panes_follow(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        session = driver.app.session
        view, stored = session.view, session.stored
        assert view is not None
        for act, fact in ACTS:
            session.stored = stored
            session.set_view(view)
            _filter("")(driver)
            driver.bench.follow()
            await driver.settled()
            await _go_to(driver, "fact", "P30-07", "zh")
            act(driver)
            await pilot.pause()
            assert (await _agrees(driver))["fact"] == fact, f"act {ACTS.index((act, fact))}"


async def test_history_and_a_cleared_filter_bring_the_cursor_back_to_its_row(workbench: Make) -> None:
    async with workbench().run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await _go_to(driver, "fact", "P30-07", "zh")
        await _go_to(driver, "fact", "P36-10", "en")
        driver.bench.query_one(QueriesPane).set_filter("P36")
        await driver.do("go.back")
        assert (await _agrees(driver))["fact"] == "P30-07" and not driver.bench.query_one(QueriesPane).filter_text
        await driver.do("go.forward")
        assert (await _agrees(driver))["fact"] == "P36-10"
        queries = driver.bench.query_one(QueriesPane)
        queries.set_filter("nowhere")
        await pilot.pause(0.06)
        assert driver.table("queries").current is None
        queries.set_filter("")
        assert (await _agrees(driver))["fact"] == "P36-10"


async def test_restart_comes_back_to_the_row_and_scrolls_it_into_sight(workbench: Make) -> None:
    async with workbench().run_test(size=(80, 24)) as pilot:
        driver = await Driver(pilot).ready()
        await _go_to(driver, "query", "P36-10", "zh")
        await driver.do("quit")
    async with workbench().run_test(size=(80, 24)) as pilot:
        driver = await Driver(pilot).ready()
        row, table = driver.table("queries").current, driver.table("queries")
        assert row is not None and (row["fact"], row["lang"]) == ("P36-10", "zh") and table.cursor > table.size.height
        assert table.scroll_offset.y <= table.cursor < table.scroll_offset.y + table.size.height - 1
        await _agrees(driver)
        asked = driver.pane("queries").query_one("#asked", Static)
        await driver.until(lambda: "says" in str(asked.render()), "what the model says is read")
        assert "挪威的首都是奥斯陆" in str(asked.render()) and "奥斯陆" in str(asked.render()).partition("says")[2]
        driver.table("queries").cursor -= 1
        await driver.until(lambda: "Norway" in str(asked.render()), "another prompt")
        await driver.until(lambda: "Oslo" in str(asked.render()).partition("says")[2], "and what the model says there")
        driver.bench.query_one(QueriesPane).set_filter("nowhere")
        await driver.until(lambda: not asked.display, "no row, no prompt")


@pytest.mark.parametrize("width", [0, 1, 20])
def test_prompt_text_ends_where_the_answer_is_wider_than_the_line(width: int) -> None:
    row = {"template": "The answer to [X] is [Y].", "subject": "it", "object": "a long answer " * 10}
    assert prompt_text(row, width).plain.startswith("…a long answer")


def test_prompt_text_keeps_the_answer_in_sight_and_what_hides_is_shown() -> None:
    row = {"template": "[X]'s capital \x1b[Y] it is", "subject": "S" * 40, "object": "Dodoma", "p": 0.5, "rank": 2}
    assert prompt_text({**row, "subject": "A long name"}, 28).plain == "… name's capital ·Dodoma it is", (
        "no word is cut"
    )
    whole, cut = prompt_text(row, 100), prompt_text(row, 30)
    assert whole.plain == "S" * 40 + "'s capital ·Dodoma it is"
    assert cut.plain.startswith("…") and cut.plain.index("Dodoma") + len("Dodoma") <= 30


def test_says_text_underlines_the_right_answer_and_says_when_nothing_is_stored() -> None:
    row = {"object": "Dodoma", "p": 0.25, "rank": 2}
    words = (("Rome", 0.6), ("dodoma", 0.25), ("\n", 0.001))
    says = says_text(row, words, 80, known=True)
    assert says.plain == "says Rome .60 · dodoma .25 · · <.01  answer p 0.250, rank 2"
    assert [says.plain[span.start : span.end] for span in says.spans if "underline" in str(span.style)] == ["dodoma"]
    assert says_text(row, words, 50, known=True).plain == "says Rome .60 · dodoma .25 · · <.01"
    assert says_text(row, words, 22, known=True).plain == "says Rome .60", "no word is cut"
    assert says_text(row, words[:1], 20, known=True).plain == "answer p 0.250, rank 2  says Rome .60"
    assert "default" not in {str(span.style) for span in says.spans}, "the terminal's own colour is not the theme's"
    assert "not stored" in says_text(row, None, 80, known=True).plain
    assert "says" not in says_text(row, None, 80, known=False).plain
    assert [chance(p) for p in (0.0, 0.0001, 0.5, 0.999)] == [".00", "<.01", ".50", "1.0"]


async def test_new_results_never_move_the_mark_to_another_fact(workbench: Make, tmp_path: Path) -> None:
    path = store.create(tmp_path / "filling.knstore")
    run = runs.new_run(path, CONFIG)
    write_shards(path, run, 12, first=6)
    async with workbench(path).run_test(size=WIDE) as pilot:
        driver = await Driver(pilot).ready()
        await _go_to(driver, "fact", "P30-07", "zh")
        before = driver.table("queries").cursor
        write_shards(path, run, 6)
        await driver.until(lambda: driver.table("queries").row_count == 36, "all rows are there")
        assert (await _agrees(driver))["fact"] == "P30-07" and driver.table("queries").cursor > before
