"""The order of a fact's neurons, against every score there is."""

from __future__ import annotations

import numpy as np
import pytest

from knscope import store
from knscope.analysis.stored.ranked import ranked
from knscope.store.view import View
from tests.store import made


def share(scores: np.ndarray) -> np.ndarray:
    """rel of every neuron of a query."""
    return scores.astype(np.float64) / scores.max()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> made.Made:
    """Two templates a fact and language, scores of both signs."""
    return made.make(tmp_path_factory.mktemp("ranked") / "made.knstore", facts=5)


def keys_of(stored: made.Made, fact: str, lang: str, known: bool) -> list[str]:
    """Of the attributions that count, from the rows the store was made of."""
    knows = {row["query"] for row in stored.rows["prediction"] if row["known"]}
    of_place = [row["query"] for row in stored.rows["query"] if (row["fact"], row["lang"]) == (fact, lang)]
    return [f"a-{made.MODEL}-{query}" for query in of_place if query in knows or not known]


@pytest.mark.parametrize("known", [False, True])
def test_neurons_are_ranked_by_their_mean_over_templates_also_where_one_is_below_the_floor(
    stored: made.Made, known: bool
) -> None:
    with store.open(stored.path) as reader:
        found = ranked(reader, View(made.MODEL, made.METHOD, made.LANGS, known=known))
    moved = 0
    for (fact, lang), part in found.group_by("fact", "lang"):
        keys = keys_of(stored, str(fact), str(lang), known)
        literal = np.mean([share(stored.dense[key]) for key in keys], axis=0)
        flat = part["layer"].to_numpy() * made.WIDTH + part["neuron"].to_numpy()
        assert part["rel"].to_numpy() == pytest.approx(literal[flat], rel=1e-6, abs=1e-9)
        assert part["rel"].is_sorted(descending=True)
        in_rows = np.mean(
            [np.where(d / d.max() >= 0.05, d / d.max(), 0.0) for d in (stored.dense[k] for k in keys)], axis=0
        )
        moved += list(np.argsort(-in_rows)[:10]) != list(flat[:10])
    assert moved or known, "rows alone, which end at the floor, would give another order"


def test_ranking_is_limited_to_the_view_and_kept_while_nothing_is_new(
    stored: made.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View(made.MODEL, made.METHOD, ("en", "fr"), facts=("f1", "f2"))
    with store.open(stored.path) as reader:
        found = ranked(reader, view)
        assert set(found["fact"]) == {"f1", "f2"} and set(found["lang"]) == {"en", "fr"}
        one = ranked(reader, view.with_(queries=("q-1-en-t2",)))
        literal = share(stored.dense[f"a-{made.MODEL}-q-1-en-t2"])
        assert one["rel"].to_list() == pytest.approx(np.sort(literal[literal >= 0.05])[::-1].tolist(), rel=1e-6)
        assert ranked(reader, view.with_(taus=(("en", 0.9), ("fr", 0.9)))) is found
        reader.generation += 1
        again = ranked(reader, view)
        assert again is not found and again.equals(found)
