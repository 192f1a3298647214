"""The bundled models are what figures.json and the README say they are."""

from __future__ import annotations

import pytest

from analysis.demo import measure
from analysis.demo.recipes import MODELS, RECIPES, Recipe

TOLERANCE = 0.02


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_committed_models_reach_their_stated_figures(recipe: Recipe) -> None:
    stated = {one.lang: one for one in measure.read_figures() if one.model == recipe.name}
    langs = recipe.langs[:2]
    for one in measure.measure(recipe, langs=langs):
        assert one.known_trained == pytest.approx(stated[one.lang].known_trained, abs=TOLERANCE)
        assert one.known_held_out == pytest.approx(stated[one.lang].known_held_out, abs=TOLERANCE)
        assert one.mean_p == pytest.approx(stated[one.lang].mean_p, abs=TOLERANCE)


def test_every_model_knows_most_of_what_it_was_taught_and_of_what_it_was_not() -> None:
    for one in measure.read_figures():
        assert one.known_trained >= 0.90, one
        assert one.known_held_out >= 0.75, one
        assert one.p10 < 0.9 < one.p90 or one.mean_p < 0.9, one  # not certain of everything
        assert one.several_tokens > 0.1, one


def test_the_folders_are_ordinary_safe_and_small() -> None:
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors"}
