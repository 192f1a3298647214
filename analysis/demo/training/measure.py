"""What the bundled models know: the figures they are shipped with, recomputed from their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

from knscope.analysis.demo.split import PROMPT_TEMPLATES
from knscope.analysis.demo.training.corpus import split_facts
from knscope.analysis.demo.training.recipes import RECIPES, Recipe
from knscope.analysis.engine.models import load_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.engine.sources import BUNDLED
from knscope.analysis.prompts.encode import Query, encode

FIGURES = BUNDLED / "figures.json"
SAMPLE = 400
"""Pairs measured per language and split."""


@dataclass(frozen=True)
class Figures:
    """One model in one language, on templates that end in [Y]: share of facts known on pairs it was trained on and on
    pairs it never saw; p of the answer on the latter, with its quantiles; share of answers of several tokens."""

    model: str
    lang: str
    known_trained: float
    known_held_out: float
    mean_p: float
    p10: float
    p50: float
    p90: float
    several_tokens: float


def measure(
    recipe: Recipe, langs: Sequence[str] | None = None, folder: Path | None = None, seed: int = 0
) -> list[Figures]:
    """Figures of a trained model, language by language (all of its own by default), on a seeded sample of pairs.

    Its folder is the bundled one unless another is given.
    """
    loaded = load_model(folder or recipe.folder)
    engine = Engine(loaded)
    found = []
    for lang in langs or recipe.langs:
        asked = split_facts([lang]).filter(pl.col("template_index") < PROMPT_TEMPLATES)
        known = {}
        for held_out in (False, True):
            part = asked.filter(pl.col("held_out") == held_out)
            part = part.sample(min(SAMPLE, part.height), seed=seed)
            columns = ("fact_id", "relation", "lang", "template", "subject", "object")
            queries = [encode(loaded, Query(*row)) for row in part.select(columns).iter_rows()]
            predictions = engine.predict(queries)
            known[held_out] = float(np.mean([one.known for one in predictions]))
        p = np.array([one.p for one in predictions])
        several = float(np.mean([len(query.steps) > 1 for query in queries]))
        low, middle, high = np.quantile(p, (0.1, 0.5, 0.9))
        found.append(
            Figures(
                recipe.name,
                lang,
                known[False],
                known[True],
                float(p.mean()),
                float(low),
                float(middle),
                float(high),
                several,
            )
        )
    return found


def write_figures() -> None:
    """Measure every bundled model that is there and write figures.json beside them."""
    figures = [asdict(one) for recipe in RECIPES if recipe.folder.is_dir() for one in measure(recipe)]
    rounded = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in one.items()} for one in figures
    ]
    FIGURES.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


def table(figures: list[Figures]) -> Table:
    """The figures for reading."""
    shown = Table(title=figures[0].model if figures else None)
    for name in ("lang", "known, trained", "known, held out", "mean p", "p 10/50/90 %", "answers of several tokens"):
        shown.add_column(name, justify="left" if name == "lang" else "right")
    for one in figures:
        quantiles = f"{one.p10:.2f} / {one.p50:.2f} / {one.p90:.2f}"
        shown.add_row(
            one.lang,
            f"{one.known_trained:.1%}",
            f"{one.known_held_out:.1%}",
            f"{one.mean_p:.2f}",
            quantiles,
            f"{one.several_tokens:.0%}",
        )
    return shown
