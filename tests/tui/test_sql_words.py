"""What completes a statement: columns through aliases first, names where a name belongs, and what there is on one key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.widgets import OptionList

from knscope import store
from knscope.tui import state
from knscope.tui.app import Knscope
from knscope.tui.dialogs.find import FindScreen
from knscope.tui.panes.sql import SqlPane
from knscope.tui.widgets.sql_editor import Candidates, SqlEditor
from knscope.tui.widgets.sql_words import Names, Word, fitting, named
from tests.tui.driver import Driver

Make = Callable[..., Knscope]
NAMES = Names(
    (Word("query", "prompts", "table"), Word("prediction", "answers", "table")),
    {
        "query": (Word("query", "VARCHAR", "column"), Word("lang", "VARCHAR", "column")),
        "prediction": (Word("p", "DOUBLE", "column"), Word("p_root", "DOUBLE", "column")),
    },
    (Word("view.kn", "neurons", "view"), Word("kn(", "(model, method)", "macro"), Word("log_odds(", "(p)", "function")),
)


def _fits(text: str, view: Callable[[str], list[Word]] = lambda name: []) -> list[str]:
    return [word.text for word in fitting(NAMES, text, text.partition("|")[0].replace("|", ""), view)[1]]


def test_named_finds_tables_and_their_aliases() -> None:
    assert named("FROM query q JOIN prediction AS p USING (query) WHERE 1") == {"q": "query", "p": "prediction"}
    assert named("select * from query where x") == {"query": "query"}
    assert named("FROM view.kn k JOIN kn('m', 'amig') USING (fact)") == {"k": "view.kn", "kn": "kn"}


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("SELECT * FROM pre", "prediction"),
        ("SELECT * FROM query q JOIN prediction p USING (query) WHERE p.", "p"),
        ("SELECT * FROM prediction p WHERE p.p_", "p_root"),
        ("SELECT la", "lang"),
        ("SELECT q.la", "lang"),
        ("SELECT * FROM query WHERE la", "lang"),
        ("SELECT * FROM query ORD", "ORDER BY"),
        ("SELECT lo", "log_odds("),
        ("SELECT lang FROM query GROUP BY al", "ALL"),
        ("SELECT * FROM vi", "view.kn"),
        ("SELECT * FROM view.kn k WHERE k.ne", "neuron"),
        ("SELECT x", None),
    ],
)
def test_fitting_offers_what_belongs_at_the_cursor_first(text: str, first: str | None) -> None:
    found = _fits(text, lambda name: [Word("neuron", "INTEGER", "column")] if name == "view.kn" else [])
    assert (found[0] if found else None) == first


async def test_sql_pane_completes_a_join_with_tab_alone_and_lists_what_there_is(workbench: Make) -> None:
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        await driver.do("tab.sql")
        editor, listed = driver.bench.query_one(SqlEditor), driver.bench.query_one(Candidates)
        await pilot.press("ctrl+a")
        await driver.type("SELECT count(")
        await driver.type("*) AS n FROM pred")
        assert listed.display and listed.words[0].text == "prediction"
        await pilot.press("tab")
        await driver.type(" p JOIN que")
        await pilot.press("tab")
        await driver.type(" q USING (query) WHERE p.kno")
        await pilot.press("tab")
        assert editor.text == "SELECT count(*) AS n FROM prediction p JOIN query q USING (query) WHERE p.known"
        await driver.type(" AND p.")
        await pilot.press("down", "escape")
        assert not listed.display and editor.has_focus, "escape hides the list first"
        editor.text = "SELECT * FROM view.kn k WHERE k.la"
        editor.move_cursor(editor.document.end)
        editor.update_suggestion()
        assert {word.text for word in listed.words} >= {"lang", "layer"}
        editor.text = "x\n" * 40
        await driver.until(
            lambda: editor.size.height >= driver.bench.query_one(SqlPane).size.height // 2 - 1, "it grows"
        )

        long = f"SELECT {', '.join(str(n) for n in range(40))} AS ends"
        state.remember_statement(long)
        state.remember_statement("SELECT 42")
        editor.text = ""
        await pilot.press("f9")
        await driver.until(lambda: isinstance(pilot.app.screen, FindScreen), "the history")
        drawn = lambda: "".join(strip.text for strip in pilot.app.screen._compositor.render_strips())  # noqa: E731
        await driver.until(lambda: "AS ends" in drawn(), "a long statement is read to its end")
        await driver.type("42")
        await pilot.press("enter")
        await driver.until(lambda: editor.text == "SELECT 42", "a statement run elsewhere")
        editor.text = ""
        await pilot.press("f2")
        await driver.until(lambda: isinstance(pilot.app.screen, FindScreen), "what there is")
        names = pilot.app.screen.query_one(OptionList)
        await driver.until(lambda: names.virtual_size.height == names.option_count, "a name stays in one line")
        await driver.type("residual attribution")
        await pilot.press("enter")
        await driver.until(lambda: editor.text == "attribution.max_residual", "the column")
        editor.text = "SELECT 1 AS one"
        await pilot.press("ctrl+q")
    async with workbench().run_test(size=(120, 40)) as pilot:
        driver = await Driver(pilot).ready()
        assert driver.bench.query_one(SqlEditor).text == "SELECT 1 AS one", "each store has its own statement"


def test_names_of_a_store_have_types_comments_and_signatures(made_store: object) -> None:
    from knscope.tui.widgets.sql_words import names_of

    names = names_of(store.open(made_store))  # type: ignore[arg-type]
    every = {word.text: word for word in names.all()}
    assert "INTEGER" in every["prediction.rank"].about and "from 1" in every["prediction.rank"].about
    assert every["kn("].kind == "macro" and every["kn("].about.startswith("(")
    assert any(word.text == "median(" for word in names.others)
