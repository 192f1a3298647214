"""The bundled models are what figures.json, circuits.json and docs/demo.md say they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from knscope.analysis.demo.split import demo_sample
from knscope.analysis.demo.training import circuits, train
from knscope.analysis.demo.training import measure as demo_measure
from knscope.analysis.demo.training.recipes import RECIPES, Recipe
from knscope.analysis.engine.models import load_model
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.prompts.encode import Query, encode

TOLERANCE = 0.02
STATED = [demo_measure.Figures(**one) for one in json.loads(demo_measure.FIGURES.read_text(encoding="utf-8"))]
MULTILINGUAL = [recipe for recipe in RECIPES if len(recipe.langs) > 1]


def stated_circuits() -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in json.loads(circuits.CIRCUITS.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_committed_models_reach_their_stated_figures(recipe: Recipe) -> None:
    stated = {one.lang: one for one in STATED if one.model == recipe.name}
    assert set(stated) == set(recipe.langs)
    for one in demo_measure.measure(recipe, langs=recipe.langs[:2]):
        assert one.known_trained == pytest.approx(stated[one.lang].known_trained, abs=TOLERANCE)
        assert one.known_held_out == pytest.approx(stated[one.lang].known_held_out, abs=TOLERANCE)
        assert one.mean_p == pytest.approx(stated[one.lang].mean_p, abs=TOLERANCE)
        assert one.several_tokens == pytest.approx(stated[one.lang].several_tokens)


@pytest.mark.parametrize("one", STATED, ids=lambda one: f"{one.model}-{one.lang}")
def test_every_model_knows_most_of_what_it_was_taught_and_of_what_it_was_not(one: demo_measure.Figures) -> None:
    assert one.known_trained >= 0.90
    assert one.known_held_out >= 0.75
    assert one.p10 < 0.5 < one.p90  # neither certain nor ignorant of everything
    assert one.several_tokens >= (0.40 if one.lang == "zh" else 0.15)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_model_has_a_thousand_neurons_and_stays_in_float16_on_disk(recipe: Recipe) -> None:
    loaded = load_model(recipe.folder)
    assert recipe.layers * recipe.mlp >= 1_000
    assert json.loads((recipe.folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "float16"
    assert {str(value.dtype) for value in loaded.model.parameters()} == {"torch.float32"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_query_of_the_demo_can_be_asked(recipe: Recipe) -> None:
    """No Chinese part of a name joins the end of a template to the start of an answer."""
    loaded = load_model(recipe.folder)
    for row in demo_sample(60).filter(pl.col("lang").is_in(recipe.langs)).iter_rows():
        encode(loaded, Query(*row))  # raises UnusableQuery where a token straddles


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_circuits_stated_are_those_of_the_committed_weights(recipe: Recipe) -> None:
    assert stated_circuits()[recipe.name]["folder"] == circuits.fingerprint(recipe.folder)


@pytest.mark.parametrize("recipe", MULTILINGUAL, ids=lambda recipe: recipe.name)
def test_english_and_chinese_share_more_neurons_than_chance(recipe: Recipe) -> None:
    at_thresholds, equal_size = stated_circuits()[recipe.name]["likn"]
    for row in (at_thresholds, equal_size):
        assert row["observed"] > row["chance"]
        assert row["a"] is not None and row["b"] is not None  # never stated without mismatched facts


@pytest.mark.parametrize("recipe", MULTILINGUAL, ids=lambda recipe: recipe.name)
def test_degenerate_pairs_are_many_and_rare_among_both_controls(recipe: Recipe) -> None:
    roles = stated_circuits()[recipe.name]["dkn"]
    own = roles.pop("knowledge neurons")
    assert own["paper"] >= 50
    assert own["strict"] > 0
    assert len(roles) == 2
    for control in roles.values():
        for count in ("paper", "strict"):
            assert own[count] / own["pairs"] > 3 * control[count] / control["pairs"]


def test_the_folders_are_ordinary_safe_and_small() -> None:
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors"}


@pytest.mark.soak
def test_training_from_the_seed_reaches_the_stated_figures_again(tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == "gpt2-en")
    train.save(*train.train(recipe, Console(stderr=True)), tmp_path)
    stated = next(one for one in STATED if one.model == recipe.name)
    (again,) = demo_measure.measure(recipe, folder=tmp_path)
    assert again.known_trained == pytest.approx(stated.known_trained, abs=TOLERANCE)
    assert again.known_held_out == pytest.approx(stated.known_held_out, abs=TOLERANCE)


@pytest.mark.soak
def test_demo_results_hold_the_stated_circuits() -> None:
    stated = stated_circuits()
    for row in circuits.measure(write=False):
        assert row["folder"] == stated[row["model"]]["folder"]
        for name, found in row["dkn"].items():
            assert found["pairs"] == pytest.approx(stated[row["model"]]["dkn"][name]["pairs"], rel=0.02)
            assert found["paper"] == pytest.approx(stated[row["model"]]["dkn"][name]["paper"], rel=0.05, abs=5)
        for mine, theirs in zip(row.get("likn", []), stated[row["model"]].get("likn", []), strict=True):
            assert mine["observed"] == pytest.approx(theirs["observed"], rel=0.02)
