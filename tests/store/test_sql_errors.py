"""What is said of a statement that names something that is not there: what it is, and which names are near."""

from __future__ import annotations

import duckdb
import pytest

from knscope.store import database
from knscope.store.sql_errors import explained


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT facct FROM query", "there is no column facct; did you mean fact, "),
        ("SELECT q.facts FROM query q", "there is no column facts in q; did you mean fact?"),
        (
            "SELECT q.sub FROM query q JOIN prediction p USING (query)",
            "there is no column sub in q; did you mean subject",
        ),
        ("FROM qery", "there is no table qery; did you mean query?"),
        ("SELECT p.p FROM query q", "there is no table p; did you mean q?"),
        ("SELECT cout(*) FROM query", "there is no function cout; did you mean count?"),
        ("FROM knn('a')", "there is no function knn; did you mean kn, dkn?"),
        ("FROM kn", "kn is a macro and takes arguments: kn(the_model, the_method, "),
        ("FROM view.kn", "view.kn is spelled out in the workbench only; "),
        ('FROM query WHERE lang = "en"', "A text stands in single quotes: 'en'"),
    ],
)
def test_unknown_name_is_told_with_the_names_near_it(sql: str, said: str) -> None:
    with duckdb.connect() as connection:
        database.prepare(connection)
        with pytest.raises(duckdb.Error) as raised:
            connection.execute(sql)
    assert said in explained(raised.value, sql)


def test_long_message_is_cut_and_its_kind_left_out() -> None:
    error = duckdb.BinderException("Binder Error: No function matches\n" + "\n".join(f"  f({n})" for n in range(30)))
    lines = explained(error).splitlines()
    assert lines[0] == "No function matches" and len(lines) == 7 and lines[-1] == "…"
