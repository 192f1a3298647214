"""One function chooses the main query of a fact."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import polars as pl
import pytest

from knscope.store.main_query import main_queries, template_order

Place = tuple[str, str]


def mains(
    asked: Iterable[Place], known: Collection[Place], data: Iterable[str] = (), scanned: Collection[Place] = ()
) -> dict[str, str]:
    """Fact -> template of its main query; `asked`, `known` and `scanned` hold (fact, template)."""
    order = template_order(("P", "en", template) for template in data)
    rows = [
        {
            "query": f"{fact} {template}", "fact": fact, "relation": "P", "lang": "en", "template": template,
            "prefix": "", "known": (fact, template) in known, "scanned": (fact, template) in scanned,
        }
        for fact, template in asked
    ]  # fmt: skip
    queries = pl.DataFrame(rows).join(order, on=order.columns[:3], how="left", maintain_order="left")
    return dict(main_queries(queries).select("fact", "template").iter_rows())


BOTH = [(fact, template) for fact in "bac" for template in ("t1", "t2")]


def test_main_query_has_the_template_on_which_most_facts_are_known() -> None:
    found = mains(BOTH, {("a", "t2"), ("b", "t2"), ("c", "t1")}, data=("t1", "t2"))
    assert found == dict.fromkeys("bac", "t2") and list(found) == list("bac")


@pytest.mark.parametrize(("data", "first"), [(("t2", "t1"), "t2"), (("t1", "t2"), "t1"), ((), "t1")])
def test_main_query_on_a_tie_has_the_first_template_of_the_data(data: Collection[str], first: str) -> None:
    for known in (set(), set(BOTH)):
        assert set(mains(BOTH, known, data).values()) == {first}
        assert set(mains(BOTH[::-1], known, data).values()) == {first}


def test_main_query_of_a_fact_without_the_best_template_is_its_own_best() -> None:
    asked = [("1", "t1"), ("1", "t2"), ("2", "t1"), ("2", "t2"), ("3", "t1"), ("3", "t3")]
    assert mains(asked, {place for place in asked if place[1] != "t1"}) == {"1": "t2", "2": "t2", "3": "t3"}


def test_main_query_of_a_scanned_fact_stays_the_scanned_one() -> None:
    known = {("a", "t2"), ("b", "t2")}
    assert mains(BOTH, known, scanned={("a", "t1")}) == {"b": "t2", "a": "t1", "c": "t2"}
    assert mains(BOTH, known, scanned={("a", "t1"), ("a", "t2")})["a"] == "t2"


def test_template_order_counts_each_template_once_within_its_relation_and_language() -> None:
    given = [("P", "en", "b"), ("Q", "en", "a"), ("P", "en", "a"), ("P", "fr", "a")]
    assert template_order(given)["position"].to_list() == [0, 0, 1, 0]
    assert template_order([]).height == 0
